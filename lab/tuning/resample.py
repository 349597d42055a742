"""Objectives over resampled seeds: what the luck of the draw alone could have done, for several settings at once.

All settings are resampled with the same seeds, so the luck that they share cancels in their ratios.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lab.metrics import METRICS, split_measure
from lab.metrics.ranks import rank_of
from lab.metrics.statistics import student_quantile
from lab.run import RunRow, RunSet
from lab.tuning.robust import combined, parts_of, share_of_worst

RESAMPLES = 2000
FLOOR_SHARE = 0.02  # a fall below this share of the reference counts as this much: nothing is infinitely better
FLOORS = {
    "ns": 1e5,
    "share": 1e-4,
    "share_seconds": 1e-4,
    "count": 1e-2,
    "ratio": 1e-6,
}  # by unit: less is as good as 0
FLOOR = 1e-9
Values = NDArray[np.float64]
Indices = NDArray[np.int64]


def column(rows: Sequence[RunRow], name: str) -> Values:
    """Return a metric's value in every run: NaN where it is not defined, infinity where the run ended first."""
    found = np.empty(len(rows))
    for index, row in enumerate(rows):
        value = row.values.get(name)
        if value is None or value.value is None:
            found[index] = np.nan
        else:
            found[index] = np.inf if value.censored else value.value
    return found


def point_value(values: Values, aggregate: str) -> float | None:
    """Return an aggregate of run values; None if it is not told or lies among runs that ended first."""
    value = float(aggregated(values[None, :], aggregate)[0])
    return value if np.isfinite(value) else None


def aggregated(drawn: Values, aggregate: str) -> Values:
    """Return the aggregate of each row of (samples, runs); undefined runs are left out; NaN or infinity: not told."""
    defined = ~np.isnan(drawn)
    counts = defined.sum(axis=1)
    if aggregate.startswith("p"):
        ordered = np.sort(drawn, axis=1)  # NaN goes last
        share = int(aggregate[1:]) / 100
        ranks = np.array([rank_of(share, int(count)) if count else 1 for count in counts], dtype=np.int64)
        found = ordered[np.arange(len(drawn)), ranks - 1]
    elif aggregate == "max":
        found = np.where(defined, drawn, -np.inf).max(axis=1)
    elif aggregate == "min":
        found = np.where(defined, drawn, np.inf).min(axis=1)
    else:
        totals = np.where(defined, drawn, 0.0).sum(axis=1)
        found = totals if aggregate == "total" else totals / np.maximum(counts, 1)
    return np.where(counts > 0, found, np.nan)


def seed_draws(count: int, key: int, samples: int = RESAMPLES) -> Indices:
    """Return (samples, count) indices of runs drawn with replacement: a pure function of its arguments."""
    generator = np.random.Generator(np.random.Philox(key=key))
    return generator.integers(0, count, size=(samples, count))


def floors(reference: Mapping[str, float | None]) -> dict[str, float]:
    """Return, by measure, the least number that an objective counts as; `reference` holds what it is compared with."""
    found = {}
    for measure, base in reference.items():
        metric = METRICS.get(split_measure(measure)[0]) if "." in measure or measure in METRICS else None
        found[measure] = max(FLOOR_SHARE * (base or 0.0), FLOORS.get(metric.unit, FLOOR) if metric else FLOOR)
    return found


def log_losses(runs: RunSet, least: Mapping[str, float], draws: Indices) -> Values:
    """Return the mean logarithm of the objectives (what is minimised) in each resample; NaN: not told.

    `least` maps each measure to the least number that it counts as (see `floors`).
    """
    total = np.zeros(len(draws))
    with np.errstate(invalid="ignore"):
        for measure, floor in least.items():
            total += np.log(np.maximum(objective(runs, measure, draws), floor))
    return total / len(least)


def objective(runs: RunSet, measure: str, draws: Indices) -> Values:
    """Return what is minimised of one measure in each resample, over all scenarios; NaN: not told."""
    name, aggregate = split_measure(measure)
    told = []
    for part in parts_of(runs).values():
        found = aggregated(column(part.rows, name)[draws], aggregate)
        told.append(np.where(np.isfinite(found), found, np.nan))
    losses = np.array(told)
    return combined(1 - losses if METRICS[name].direction == "higher" else losses, share_of_worst(runs))


def bounds(told: Values, count: int, confidence: float) -> tuple[float, float]:
    """Return the interval of a statistic from its resampled values, `count` independent runs behind each.

    Percentiles, with normal quantiles widened to sqrt(n / (n - 1)) times Student's: percentiles alone are too narrow
    for few runs (Hesterberg 2015, section 3.1.1).
    """
    tail = (1 - confidence) / 2
    if count > 1:
        tail = NormalDist().cdf(-((count / (count - 1)) ** 0.5) * student_quantile(1 - tail, count - 1))
    low, high = np.quantile(told, [tail, 1 - tail])
    return float(low), float(high)


def p_value(differences: Values) -> float:
    """Return the two-sided p-value of "no difference" from resampled differences; at least 2 / (resamples + 1)."""
    n = len(differences)
    below = (int(np.count_nonzero(differences <= 0)) + 1) / (n + 1)
    above = (int(np.count_nonzero(differences >= 0)) + 1) / (n + 1)
    return min(1.0, 2 * min(below, above))
