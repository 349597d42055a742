"""Comparing two settings run under the same seeds, and many such comparisons at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import NormalDist
from typing import Literal

import numpy as np

from lab.metrics.estimate import Estimate, RunValue
from lab.metrics.statistics import Values, mean, quantile
from lab.metrics.summary import CONFIDENCE

EXACT_PAIRS_MAX = 14  # 2**14 sign patterns are enumerated
SIGN_FLIPS = 9_999
FLIPPED_PAIRS_MAX = 2_000


def _differences(a: Mapping[int, RunValue], b: Mapping[int, RunValue]) -> tuple[Values, int]:
    """Return (b - a by ascending common seed, number of pairs with a censored run)."""
    pairs = [(a[seed], b[seed]) for seed in sorted(a.keys() & b.keys())]
    kept = [
        (x.value, y.value, x.censored or y.censored) for x, y in pairs if x.value is not None and y.value is not None
    ]
    differences = np.array([after - before for before, after, _ in kept], dtype=np.float64)
    return differences, sum(censored for _, _, censored in kept)


def paired_difference(
    a: Mapping[int, RunValue],
    b: Mapping[int, RunValue],
    *,
    unit: str,
    statistic: Literal["mean", "median"] = "mean",
    key: int = 0,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Return b - a (below 0: b is lower) over the seeds that both have; `a` and `b` map a seed to its run's value.

    Pairing by seed removes the luck that both share. A censored run counts with the value at which it was cut, so a
    difference is then one of restricted values, and `method` says so.
    """
    differences, censored = _differences(a, b)
    n = len(differences)
    if n == 0:
        return Estimate(None, None, None, 0, unit, 0, confidence, "no seed in common")
    if statistic == "mean":
        interval = mean(differences, confidence, key)
    else:
        interval = quantile(differences, np.zeros(n, dtype=np.bool_), 0.5, confidence)
    method = f"paired by seed, b - a: {statistic} of differences, {interval.method}"
    if censored:
        method += f"; restricted: {censored} of {n} pairs have a run cut where it ended"
    return Estimate(interval.value, interval.low, interval.high, n, unit, censored, confidence, method)


def paired_p_value(a: Mapping[int, RunValue], b: Mapping[int, RunValue], *, key: int = 0) -> float | None:
    """Return the two-sided p-value of "b and a do not differ": under it the sign of each paired difference is a coin.

    Up to 14 pairs all sign patterns are enumerated; else 9,999 keyed ones, counting the observed one too, so the least
    value is 1e-4; beyond 2,000 pairs the normal limit. None without pairs.
    """
    differences, _ = _differences(a, b)
    n = len(differences)
    if n == 0:
        return None
    observed = abs(float(differences.sum()))
    scale = float(np.abs(differences).sum())
    if scale == 0:
        return 1.0
    if n > FLIPPED_PAIRS_MAX:
        return 2 * NormalDist().cdf(-observed / sqrt(float((differences**2).sum())))
    if n <= EXACT_PAIRS_MAX:
        patterns = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        extra = 0
    else:
        generator = np.random.Generator(np.random.Philox(key=key))
        patterns, extra = generator.integers(0, 2, size=(SIGN_FLIPS, n), dtype=np.int8), 1
    sums = np.abs((patterns * 2.0 - 1.0) @ differences)
    # Sums that are equal but for rounding count as equal.
    as_far = int(np.count_nonzero(sums >= observed - 1e-12 * scale))
    return (as_far + extra) / (len(patterns) + extra)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted so that the chance of any false alarm among all of them stays at the level (Holm
    1979).
    """
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        worst = max(worst, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = worst
    return adjusted
