"""A rollout's step: other programs are warmed beside the replicas in place, and all are switched over at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lab.core.units import PositiveDurationNs
from lab.faults.base import Fault, name_problem
from lab.model.disturbance import Replacement
from lab.model.effects import Keep, Outage

SWITCH_NS = 500_000_000  # in which another outage of the same replicas may not begin


class BlueGreen(Fault):
    """Start a green replica beside each of `nodes` at `at`, load it with the leader's snapshot, verify it and stop it;
    at `at` + `warm` switch all `nodes` over to the green ones and their stores.

    A green one has another `runtime`, another `schema_version`, or both. Unless all are verified in time nothing is
    switched, and the fault did not bite. Followers only.
    """

    kind: ClassVar[str] = "blue_green"
    summary: ClassVar[str] = "warms other programs beside followers and switches all over at once (rollout)"
    colour: ClassVar[str] = "#44AA99"
    hatch: ClassVar[str] = "xx"
    simulator: ClassVar[str] = (
        "simulated replicas have one store each, there is nothing to warm beside it; write replace, one a node"
    )

    nodes: Annotated[list[str], Field(min_length=1, max_length=32)]
    warm: PositiveDurationNs = Field(default=1_500_000_000)
    runtime: Literal["go", "rust"] | None = None
    schema_version: Literal[1, 2] | None = None

    @property
    def switch_ns(self) -> int:
        """When the green ones take the places, from the start of the run."""
        return self.at + self.warm

    @property
    def stop_ns(self) -> int:
        return self.switch_ns + SWITCH_NS

    def label(self) -> str:
        version = f"schema {self.schema_version}" if self.schema_version else ""
        return f"switch {', '.join(self.nodes)} to {' '.join(part for part in (self.runtime, version) if part)}"

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        found = []
        for index, node in enumerate(self.nodes):
            sentence = name_problem(node, names)
            if not sentence and node == names[0]:
                sentence = f"{node} leads, and a green leader would miss what is written while it is loaded; "
                sentence += "name followers, and replace the leader by itself"
            if not sentence and node in self.nodes[:index]:
                sentence = f"{node} is named twice; name each replica once"
            if sentence:
                found.append((f"nodes.{index}", sentence))
        if self.runtime is None and self.schema_version is None:
            found.append(("runtime", "neither runtime nor schema_version is given: nothing would be replaced"))
        return found

    def outages(self) -> list[Outage]:
        return [Outage(node, self.switch_ns, self.stop_ns, Keep.NOTHING) for node in self.nodes]

    def replacements(self) -> list[Replacement]:
        return [Replacement(node, self.runtime, self.schema_version, self.warm) for node in self.nodes]
