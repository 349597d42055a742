"""Statistics over runs: intervals that are exact where they can be, honest about censoring, and the same every time.

Nothing here draws from a hidden generator: every resampling takes a `key`. SciPy is not used: importing it would cost
more than all of the estimates together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lab.metrics.ranks import rank_of

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]

RESAMPLES = 4_000
RESAMPLED_RUNS_MAX = 1_000  # beyond, the mean is normal enough and resampling would cost much memory


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its bounds; None where unknown. `limit`: the value is unknown but above this."""

    value: float | None
    low: float | None
    high: float | None
    method: str
    limit: float | None = None


@lru_cache(maxsize=1024)
def order_statistic_ranks(n: int, q: float, confidence: float) -> tuple[int, int]:
    """Return ranks (l, u), starting at 1, with P(X_(l) <= q-quantile <= X_(u)) >= confidence for n independent values.

    l = 0 or u = n + 1 says that n is too small for that bound. Each side errs with at most (1 - confidence) / 2: l is
    the greatest rank with P(B < l) <= that, u the least with P(B >= u) <= that, for B binomial (n, q). Exact for any
    law without ties, conservative with them (David & Nagaraja, Order Statistics, 3rd ed., section 7.1).
    """
    tail = (1 - confidence) / 2
    below = np.cumsum(_binomial(n, q))  # below[k] = P(B <= k)
    low = int(np.searchsorted(below, tail, side="right"))
    above = np.cumsum(_binomial(n, 1 - q))  # above[k] = P(n - B <= k) = P(B >= n - k)
    high = n + 1 - int(np.searchsorted(above, tail, side="right"))
    return low, high


def _binomial(n: int, q: float) -> Values:
    """Return the n + 1 probabilities of the binomial law, by logarithms so that n may be large."""
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    k = np.arange(n + 1)
    log = log_factorial[n] - log_factorial - log_factorial[::-1] + k * np.log(q) + (n - k) * np.log1p(-q)
    return np.asarray(np.exp(log), dtype=np.float64)


def kaplan_meier(values: Values, censored: Flags) -> tuple[Values, Values, Values]:
    """Return (times, survival, relative variance) at the distinct uncensored values, ascending.

    survival[i] estimates P(T > times[i]) (Kaplan & Meier 1958); relative variance is Greenwood's sum, d / (m (m - d)),
    so that var(survival) = survival² x sum; infinite where survival is 0. A value censored at t counts as above t.
    """
    times, events = np.unique(values[~censored], return_counts=True)
    ordered = np.sort(values)
    at_risk = len(values) - np.searchsorted(ordered, times, side="left")
    left = at_risk - events
    with np.errstate(divide="ignore"):
        terms = events / (at_risk * left)
    survival = np.cumprod(left / at_risk, dtype=np.float64)
    return times, survival, np.cumsum(terms, dtype=np.float64)


def quantile(values: Values, censored: Flags, q: float, confidence: float) -> Interval:
    """Return the q-quantile (0 < q < 1) of n >= 1 runs with its interval.

    While no run is censored below an uncensored one, ranks are known: order statistics with the exact binomial
    interval. Otherwise Kaplan-Meier with log-log Greenwood bounds (Brookmeyer & Crowley 1982). What lies among
    censored runs is None.
    """
    if censored.any() and not censored.all() and values[censored].min() < values[~censored].max():
        return _survival_quantile(values, censored, q, confidence)
    ordered = np.sort(values)
    n, known = len(values), int(np.count_nonzero(~censored))
    low, high = order_statistic_ranks(n, q, confidence)
    rank = rank_of(q, n)

    def at(place: int) -> float | None:
        return float(ordered[place - 1]) if 1 <= place <= known else None

    value = at(rank)
    method = f"order statistic {rank} of {n}, exact binomial interval"
    if low < 1 or high > n:
        method += "; too few runs for " + ("either bound" if low < 1 and high > n else "one bound")
    if known < n:
        method += f"; {n - known} censored rank last"
    return Interval(value, at(low), at(high), method, None if value is not None else float(ordered[rank - 1]))


def _survival_quantile(values: Values, censored: Flags, q: float, confidence: float) -> Interval:
    times, survival, spread = kaplan_meier(values, censored)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(survival)
        width = z * np.sqrt(spread) / np.abs(log)
        upper = np.where(survival > 0, survival ** np.exp(-width), 0.0)
        lower = np.where(survival > 0, survival ** np.exp(width), 0.0)
    target = 1 - q + 1e-12

    def first(curve: Values) -> float | None:
        reached = np.flatnonzero(curve <= target)
        return float(times[reached[0]]) if len(reached) else None

    value = first(survival)
    method = f"Kaplan-Meier quantile of {len(values)} runs, log-log Greenwood interval"
    limit = None if value is not None else float(np.sort(values)[rank_of(q, len(values)) - 1])
    return Interval(value, first(lower), first(upper), method, limit)


@lru_cache(maxsize=64)
def student_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t law (probability in (0.5, 1), freedom >= 1), to at least six digits.

    With t = sqrt(freedom) tan(angle) the density of the angle is cos(angle)**(freedom - 1) up to a factor, which is
    integrated by the trapezoidal rule. The normal law beyond 10,000.
    """
    if freedom > 10_000:
        return NormalDist().inv_cdf(probability)
    angle = np.linspace(0.0, np.pi / 2, 100_001)
    density = np.cos(angle) ** (freedom - 1)
    area = np.concatenate(([0.0], np.cumsum(density[1:] + density[:-1])))
    return sqrt(freedom) * float(np.tan(np.interp(2 * probability - 1, area / area[-1], angle)))


@lru_cache(maxsize=2)
def _resampling_weights(n: int, key: int) -> Values:
    """Return (RESAMPLES, n): the share of each run in a sample of n drawn with replacement; a pure function of (n,
    key).
    """
    generator = np.random.Generator(np.random.Philox(key=key))
    rows = generator.integers(0, n, size=(RESAMPLES, n))
    rows += np.arange(RESAMPLES)[:, None] * n
    return np.bincount(rows.ravel(), minlength=RESAMPLES * n).reshape(RESAMPLES, n) / n


def mean(values: Values, confidence: float, key: int) -> Interval:
    """Return the mean of n >= 1 values with its interval.

    BCa bootstrap (Efron 1987) with the small-sample expansion of Hesterberg (2015): normal quantiles are widened to
    sqrt(n / (n - 1)) times Student's. Student's interval beyond 1,000 runs. None for bounds with one run. Measured:
    93.5 to 95.5 % coverage from 40 runs on for laws no more skewed than the exponential, 92 % for that one with 10
    runs.
    """
    n = len(values)
    value = float(values.mean())
    if n == 1:
        return Interval(value, None, None, "mean of 1 run, no interval")
    if values.min() == values.max():
        value = float(values[0])
        return Interval(value, value, value, f"mean, all {n} runs equal")
    deviation = values - value
    z = student_quantile((1 + confidence) / 2, n - 1)
    if n > RESAMPLED_RUNS_MAX:
        half = z * float(values.std(ddof=1)) / sqrt(n)
        return Interval(value, value - half, value + half, "mean, Student's t interval")
    z *= sqrt(n / (n - 1))
    # Not a BLAS product: its last bits may depend on the number of threads.
    means = np.sort(np.einsum("ij,j->i", _resampling_weights(n, key), values))
    below = np.searchsorted(means, value, side="left") + np.searchsorted(means, value, side="right")
    normal = NormalDist()
    bias = normal.inv_cdf(min(max(below / (2 * RESAMPLES), 1 / RESAMPLES), 1 - 1 / RESAMPLES))
    acceleration = float((deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5))

    def bound(side: float) -> float:
        shifted = bias + side
        probability = normal.cdf(bias + shifted / max(1 - acceleration * shifted, 1e-3))
        return float(np.quantile(means, probability))

    return Interval(value, bound(-z), bound(z), f"mean, BCa bootstrap ({RESAMPLES} resamples, key {key})")


def rule_of_three(n: int) -> float:
    """Return the 95 % upper bound of a rate per run after n runs without an event (Hanley & Lippman-Hand 1983)."""
    return 3.0 / n
