"""From the values of many runs to one estimate with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.metrics.estimate import Estimate, RunValue
from lab.metrics.metric import AGGREGATES
from lab.metrics.statistics import Flags, Interval, Values, mean, quantile, rule_of_three

CONFIDENCE = 0.95


def summarise(
    values: Sequence[RunValue], aggregate: str, unit: str, *, key: int = 0, confidence: float = CONFIDENCE
) -> Estimate:
    """Return an aggregate (one of AGGREGATES) of a measure over runs, each run one independent value.

    Runs in which the measure is not defined are left out; `n` says how many remain. `key` decides the bootstrap's
    resamples. Raise ValueError for an unknown aggregate.
    """
    if aggregate not in AGGREGATES:
        raise ValueError(f"{aggregate!r} is not an aggregate; aggregates: {', '.join(AGGREGATES)}")
    known = [(value.value, value.censored) for value in values if value.value is not None]
    if not known:
        return Estimate(None, None, None, 0, unit, 0, confidence, "not defined in any run")
    numbers = np.array([value for value, _ in known], dtype=np.float64)
    censored = np.array([flag for _, flag in known], dtype=np.bool_)
    if not np.isfinite(numbers).all():
        raise ValueError("a run's value is not a finite number")
    interval = _interval(numbers, censored, aggregate, unit, key, confidence)
    return Estimate(
        value=interval.value,
        low=interval.low,
        high=interval.high,
        n=len(known),
        unit=unit,
        censored=int(np.count_nonzero(censored)),
        confidence=confidence,
        method=interval.method,
        limit=interval.limit,
    )


def _interval(values: Values, censored: Flags, aggregate: str, unit: str, key: int, confidence: float) -> Interval:
    if aggregate.startswith("p"):
        return quantile(values, censored, int(aggregate[1:]) / 100, confidence)
    if aggregate == "max":
        return _greatest(values, censored)
    if aggregate == "min":
        return _least(values, censored)
    n = len(values)
    times = n if aggregate == "total" else 1
    name = "total" if aggregate == "total" else "mean"
    if unit == "count" and not values.any() and not censored.any():
        method = f"{name}, no event in {n} runs; upper 95 % bound by the rule of three"
        return Interval(0.0, 0.0, rule_of_three(n) * times, method)
    result = mean(values, confidence, key)
    method = result.method.replace("mean", "total: runs times mean", 1) if aggregate == "total" else result.method
    if censored.any():
        method = f"restricted: {np.count_nonzero(censored)} of {n} runs cut where they ended; {method}"
    total = float(values.sum()) if aggregate == "total" else result.value
    low, high = (None if bound is None else bound * times for bound in (result.low, result.high))
    return Interval(total, low, high, method)


def _greatest(values: Values, censored: Flags) -> Interval:
    method = f"greatest of {len(values)} runs, no interval"
    greatest = float(values.max())
    if censored.any():
        return Interval(None, None, None, method, greatest)
    return Interval(greatest, None, None, method)


def _least(values: Values, censored: Flags) -> Interval:
    method = f"least of {len(values)} runs, no interval"
    least = float(values.min())
    if values[~censored].size and values[~censored].min() <= least:
        return Interval(least, None, None, method)
    return Interval(None, None, None, method, least)
