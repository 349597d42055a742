"""What an experiment file may say about a protocol: `system: { protocol: NAME, NAME: { … } }`.

Every protocol's file has one class `Settings` on this base; nothing else has to know the protocol.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from lab.core.section import Section

Switch = Literal["on", "off"]

# Settings outside its own section that only some protocols read: setting one explicitly for another is refused.
CLIENT_REPEATS = ("workload.client.timeout", "workload.client.attempts")
WORKLOAD = ("workload.arrivals", "workload.keys", "workload.skew", "workload.spikes", "workload.client.deadline")


class ProtocolSettings(Section):
    """One protocol's own parameters, each with its unit and a default.

    `uses` are the settings elsewhere in the file that it reads (a path stands for all below it), `has_client` is
    whether it takes operations, `has_links` whether replicas send each other messages, `client_links` whether the
    network's links are those between the client and the replicas (else the client's links are ideal), `replicas_max`
    how many replicas it can have.
    """

    uses: ClassVar[tuple[str, ...]] = ()
    has_client: ClassVar[bool] = True
    has_links: ClassVar[bool] = True
    client_links: ClassVar[bool] = False
    replicas_max: ClassVar[int] = 62

    def problems(self, experiment: Any) -> list[tuple[str, str]]:
        """Return (key, sentence) for each contradiction between the settings, or with the rest of the experiment."""
        return []

    def parameters(self, experiment: Any) -> dict[str, int]:
        """Return the protocol's integer parameters, by the names of its class's `parameters`."""
        raise NotImplementedError

    @classmethod
    def accepts(cls, path: str) -> bool:
        """Return whether the protocol reads the setting at a dotted path outside its own section."""
        known = (*cls.uses, *(WORKLOAD if cls.has_client else ()))
        return any(path == used or path.startswith(f"{used}.") for used in known)
