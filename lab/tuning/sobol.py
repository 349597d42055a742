"""Sobol indices: which share of the objectives' variance over the whole space each parameter explains, alone (first
order) and with all it acts through (total). Sampled by Saltelli's scheme on a Sobol sequence, by SciPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
RESAMPLES = 200
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class SobolIndex:
    """First-order and total index of one parameter, each with its 95 % bootstrap interval."""

    first: float
    first_low: float
    first_high: float
    total: float
    total_low: float
    total_high: float


def sobol_indices(
    dimensions: int, count: int, key: int, value: Callable[[list[float]], float | None]
) -> list[SobolIndex] | str:
    """Return each dimension's indices from `count` base points, a power of 2: `count` x (dimensions + 2) calls of
    `value`, which takes shares from 0 to 1. Where it is None somewhere, or the same everywhere, return a sentence.
    """
    from scipy.stats import qmc

    luck = np.random.default_rng(key)
    drawn = qmc.Sobol(2 * dimensions, rng=luck).random(count)
    a, b = drawn[:, :dimensions], drawn[:, dimensions:]
    mixed = []  # a with one column of b, for each dimension
    for index in range(dimensions):
        points = a.copy()
        points[:, index] = b[:, index]
        mixed.append(points)
    told = [value(point.tolist()) for points in (a, b, *mixed) for point in points]
    missing = sum(found is None for found in told)
    if missing:
        return (
            f"{missing} of {len(told)} points cannot be told (settings contradict each other, or runs did not "
            "converge): Sobol indices need every combination; narrow the ranges"
        )
    values = np.array(told, dtype=np.float64).reshape(dimensions + 2, count)
    if np.ptp(values[:2]) == 0:
        return "the objectives are the same everywhere"
    best = _indices(values)
    resampled = np.array([_indices(values[:, luck.integers(0, count, count)]) for _ in range(RESAMPLES)])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(resampled, [tail, 1 - tail], axis=0)
    bounds = zip(best[0], low[0], high[0], best[1], low[1], high[1], strict=True)
    return [SobolIndex(*map(float, row)) for row in bounds]


def _indices(values: Values) -> Values:
    """Return (first order, total) of each dimension; `values` are those at a, b, and a with one column of b each."""
    from scipy import stats

    known: dict[Literal["f_A", "f_B", "f_AB"], Values] = {
        "f_A": values[None, 0],
        "f_B": values[None, 1],
        "f_AB": values[2:, None, :],
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        found = stats.sobol_indices(func=known, n=values.shape[1])
    return np.array([np.ravel(found.first_order), np.ravel(found.total_order)])
