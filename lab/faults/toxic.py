"""One of Toxiproxy's own toxics, on real connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from lab.core.sizes import BytesPerS, SizeBytes, bytes_text
from lab.core.units import DurationNs, SharePpm, duration_text, share_text, shown
from lab.faults.base import LinkFault
from lab.model.disturbance import StockToxic

TIME_MAX_NS = 60_000_000_000
RATE_MAX = 1_000_000_000
SIZE_MAX = 1 << 30
_MS, _US, _KB, _B = "whole milliseconds", "whole microseconds", "whole KB/s", "bytes"  # the server's units
_SCALE = {_MS: 1_000_000, _US: 1_000, _KB: 1_000, _B: 1}  # how many of ours make one of them

# Per type: each key of ours, the server's name, and the server's unit; the first is needed.
_KEYS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "latency": (("latency", "latency", _MS), ("jitter", "jitter", _MS)),
    "bandwidth": (("rate", "rate", _KB),),
    "slow_close": (("delay", "delay", _MS),),
    "timeout": (("timeout", "timeout", _MS),),
    "reset_peer": (("timeout", "timeout", _MS),),
    "slicer": (("average_size", "average_size", _B), ("size_variation", "size_variation", _B), ("delay", "delay", _US)),
    "limit_data": (("bytes", "bytes", _B),),
}


class Toxic(LinkFault):
    """Put a stock toxic of Toxiproxy on the links, upstream, for `for`; docs/containers.md tells what each one does.

    The server checks no ranges and some values end it, so they are checked here: times up to 1m in its own units, and
    a rate above 0.
    """

    kind: ClassVar[str] = "toxic"
    summary: ClassVar[str] = "puts one of Toxiproxy's own toxics on the links"
    colour: ClassVar[str] = "#44aa99"
    hatch: ClassVar[str] = "**"
    simulator: ClassVar[str] = (
        "stock toxics act on TCP connections, which the simulator has none of; use delay, jitter, drop or partition"
    )
    evidence: ClassVar[str] = "carried"

    type: Literal["latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data"]
    share: SharePpm = 1_000_000
    latency: DurationNs | None = None
    jitter: DurationNs | None = None
    rate: BytesPerS | None = None
    delay: DurationNs | None = None
    timeout: DurationNs | None = None
    average_size: SizeBytes | None = None
    size_variation: SizeBytes | None = None
    bytes: SizeBytes | None = None

    def label(self) -> str:
        values = ", ".join(f"{name} {_text(unit, getattr(self, name))}" for name, _, unit in self._given())
        share = "" if self.share == 1_000_000 else f" on {share_text(self.share)} of the connections"
        return f"toxic {self.type} ({values}) on {self.where()}{share}"

    def _given(self) -> list[tuple[str, str, str]]:
        return [one for one in _KEYS[self.type] if getattr(self, one[0]) is not None]

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        own = {name for name, _, _ in _KEYS[self.type]}
        every = {name for keys in _KEYS.values() for name, _, _ in keys}
        found = super().problems(names)
        found += [
            (name, f"{name} is no attribute of {self.type}; it has {', '.join(sorted(own))}")
            for name in sorted(every - own)
            if getattr(self, name) is not None
        ]
        needed = _KEYS[self.type][0][0]
        if getattr(self, needed) is None:
            found.append((needed, f"{self.type} needs {needed}"))
        for name, _, unit in self._given():
            found += [(name, sentence) for sentence in _range(self.type, name, unit, getattr(self, name))]
        if (self.jitter or 0) > (self.latency or 0):
            found.append(("jitter", "jitter is above latency: the server would ask for negative delays"))
        if (self.size_variation or 0) >= (self.average_size or 1):
            found.append(("size_variation", "size_variation must be below average_size"))
        if self.share == 0:
            found.append(("share", "a share of 0% never acts"))
        return found

    def toxic(self, source: str, target: str) -> StockToxic | None:
        if not self.hits(source, target):
            return None
        attributes = tuple(
            (theirs, (getattr(self, ours) or 0) // _SCALE[unit]) for ours, theirs, unit in _KEYS[self.type]
        )
        return StockToxic(self.type, attributes, self.share)


def _text(unit: str, value: int) -> str:
    return duration_text(value) if unit in (_MS, _US) else bytes_text(value) + ("/s" if unit == _KB else "")


def _range(kind: str, name: str, unit: str, value: int) -> list[str]:
    """Return sentences for a value that the server must not get."""
    if value % _SCALE[unit]:
        return [f"{shown(_text(unit, value))} is not in {unit}, the server's unit"]
    most = {_MS: TIME_MAX_NS, _US: TIME_MAX_NS, _KB: RATE_MAX, _B: SIZE_MAX}[unit]
    if value > most:
        return [f"{_text(unit, value)} is over {_text(unit, most)}, the most that is allowed"]
    least = {"rate": 1, "average_size": 1, "bytes": 1, "latency": 1}.get(name, 0)
    return [f"{name} of {kind} must be above 0"] if value < least else []
