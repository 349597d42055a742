"""What a measure is, in one run and over many: no bare number leaves the lab."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunValue:
    """A measure of one run. `censored`: the true value is above `value` (the run ended first). None: not defined."""

    value: float | None
    censored: bool = False


UNDEFINED = RunValue(None)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure over runs: value with an interval.

    `value`, `low` and `high` are in `unit` (`ns`, `share`, `count`, `ratio`, …); None where they lie beyond the
    horizon or cannot be known from n runs. `censored` counts the runs whose value is only a lower bound. `limit` is
    given where `value` lies beyond the horizon: the true value is above it.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str
    censored: int
    confidence: float
    method: str
    limit: float | None = None
