"""Some replicas are clogged one after the other and unclogged in another order (FoundationDB's swizzle)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lab.core.dice import Dice
from lab.core.units import duration_text
from lab.faults.base import LINK_MEMORY, Fault, LastingFault
from lab.faults.clog import Clog


class SwizzleClog(LastingFault):
    """Clog each replica with probability one half, at least one: from a time in the first half of the interval to one
    in the second, both drawn from the seed.

    So the order in which they heal has nothing to do with that in which they were clogged, as in FoundationDB's
    `RandomClogging` workload. Each clog is a fault of its own in the run's record.
    """

    kind: ClassVar[str] = "swizzle_clog"
    summary: ClassVar[str] = "clogs drawn replicas one by one and heals them in another order, drawn from the seed"
    colour: ClassVar[str] = "#661100"
    hatch: ClassVar[str] = "xx"

    def is_drawn(self) -> bool:
        return True

    def drawn(self, names: Sequence[str], key: int, beside: Sequence[Fault]) -> list[Fault]:
        dice = Dice(key)
        chosen = [name for name in names if dice.chance(500_000)] or [dice.choice(names)]
        found: list[Fault] = []
        for name in chosen:
            begins = self.at + dice.between(0, self.for_ // 2)
            ends = max(begins + 1, self.at + dice.between(self.for_ // 2, self.for_))
            found.append(Clog.model_construct(at=begins, for_=ends - begins, node=name, direction="both"))
        return found

    def may_need(self) -> frozenset[str]:
        return frozenset({LINK_MEMORY})

    def label(self) -> str:
        return f"swizzle clog for {duration_text(self.for_)} (drawn)"
