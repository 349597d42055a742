"""A replica's wall clock is wrong: off by a fixed time, running too fast or too slow, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from lab.core.units import PositiveDurationNs, duration_text, parse_duration_ns, shown
from lab.faults.base import NodeFault
from lab.model.disturbance import Inside

OFFSET_MAX_NS = 3_600_000_000_000
DRIFT_MAX_PPM = 100_000


def _signed(value: Any) -> Any:
    if isinstance(value, str) and value.strip().startswith("-"):
        return -parse_duration_ns(value.strip()[1:])
    return parse_duration_ns(value)


def _signed_text(value_ns: int) -> str:
    return f"-{duration_text(-value_ns)}" if value_ns < 0 else duration_text(value_ns)


SignedDurationNs = Annotated[
    int,
    BeforeValidator(_signed),
    PlainSerializer(_signed_text),
    WithJsonSchema({"type": "string", "examples": ["250ms", "-1s"]}),
]


class ClockOffset(NodeFault):
    """The wall clock of `node` is off by `offset` (`-1s`: behind) and gains `drift_ppm` microseconds a second.

    With `strobe` it is right again in every other period of that length (Jepsen's strobe). Timers are never skewed.
    What reads the clock are the timestamps of a changelog's entries (containers, the leader alone) and the stamps of
    crdt_register, through `ctx.clock`; the simulator says in a note where a protocol never reads it.
    """

    kind: ClassVar[str] = "clock_offset"
    summary: ClassVar[str] = "puts a replica's wall clock off by an offset and a drift"
    colour: ClassVar[str] = "#117733"
    hatch: ClassVar[str] = "||"
    evidence: ClassVar[str] = "skewed"

    offset: SignedDurationNs = 0
    drift_ppm: Annotated[int, Field(ge=-DRIFT_MAX_PPM, le=DRIFT_MAX_PPM)] = 0
    strobe: PositiveDurationNs | None = None

    def label(self) -> str:
        drift = f", {self.drift_ppm:+d} ppm" if self.drift_ppm else ""
        strobe = f", every other {duration_text(self.strobe)}" if self.strobe else ""
        return f"clock of {self.node} off by {_signed_text(self.offset)}{drift}{strobe}"

    def refusal(self) -> str:
        return "a replica's clock is put off once and set right once; remove strobe" if self.strobe else ""

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        found = super().problems(names)
        if abs(self.offset) > OFFSET_MAX_NS:
            found.append(("offset", f"{shown(_signed_text(self.offset))} is more than 1h off"))
        if not self.offset and not self.drift_ppm:
            found.append(("offset", "neither offset nor drift_ppm is given: nothing would be wrong"))
        return found

    def inside(self) -> list[Inside]:
        strobe = (("clock_strobe_ns", self.strobe),) if self.strobe else ()
        values = (("clock_offset_ns", self.offset), ("clock_drift_ppm", self.drift_ppm), *strobe)
        return [Inside(self.node, self.start_ns, self.stop_ns, values, self.evidence)]
