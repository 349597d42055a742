"""Draws one after the other from one key: for schedules of faults, which are made before a run begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from lab.core.draws import KEY_BITS, below, mix

_Choice = TypeVar("_Choice")


class Dice:
    """The same key, the same draws."""

    def __init__(self, key: int) -> None:
        self._key = key
        self._count = 0

    def draw(self) -> int:
        """Return a 63-bit draw."""
        self._count += 1
        return mix(self._key, self._count)

    def between(self, low: int, high: int) -> int:
        """Return a uniform integer in [low, high], of any size."""
        return low + (self.draw() * (high - low + 1) >> KEY_BITS)

    def chance(self, ppm: int) -> bool:
        """Return True with that probability in millionths."""
        return bool(below(self.draw(), ppm))

    def choice(self, values: Sequence[_Choice]) -> _Choice:
        """Return one of `values`."""
        return values[self.between(0, len(values) - 1)]

    def shuffled(self, values: Sequence[_Choice]) -> list[_Choice]:
        """Return `values` in a uniform order (Fisher and Yates)."""
        found = list(values)
        for last in range(len(found) - 1, 0, -1):
            other = self.between(0, last)
            found[last], found[other] = found[other], found[last]
        return found
