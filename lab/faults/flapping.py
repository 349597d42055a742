"""Links go down and up again and again, as with a loose plug or a switch that restarts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lab.core.laws import DelayLaw
from lab.core.units import PositiveDurationNs, SharePpm, duration_text, share_text
from lab.faults.base import LinkFault
from lab.model.cuts import CutKind, cut_effect, cut_problems, cut_shows, cut_text
from lab.model.effects import LinkEffect

FLAPS_MAX = 1_000


class Flapping(LinkFault):
    """Cut the links for the first `duty` of every `period`; `kind` and `by` as for `cut`. The last flap heals with the
    fault.
    """

    kind: ClassVar[str] = "flapping"
    summary: ClassVar[str] = "cuts links for a share of every period"
    colour: ClassVar[str] = "#882255"
    hatch: ClassVar[str] = "--"
    containers: ClassVar[str] = "the container plane begins and ends a fault once; write the flaps as single cuts"
    evidence: ClassVar[str] = "cut"

    period: PositiveDurationNs
    duty: SharePpm = 500_000
    how: CutKind = "drop"
    by: DelayLaw | None = None

    def spans(self) -> list[tuple[int, int]]:
        lasting = max(1, self.period * self.duty // 1_000_000)
        starts = range(self.start_ns, self.stop_ns, self.period)
        return [(start, min(start + lasting, self.stop_ns)) for start in starts]

    def shows(self) -> str:
        return cut_shows(self.how)

    def label(self) -> str:
        kind = "" if self.how == "drop" else f" ({cut_text(self.how, self.by)})"
        return f"flapping{kind} {share_text(self.duty)} of every {duration_text(self.period)} on {self.where()}"

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        found = [*super().problems(names), *cut_problems(self.how, self.by)]
        if self.for_ // self.period >= FLAPS_MAX:
            found.append(("period", f"there would be over {FLAPS_MAX} flaps; lengthen period"))
        if self.duty in (0, 1_000_000):
            found.append(("duty", "with 0% nothing is cut, and with 100% it is a cut; write a share between them"))
        return found

    def link_effect(self, source: str, target: str) -> LinkEffect | None:
        return cut_effect(self.how, self.by) if self.hits(source, target) else None
