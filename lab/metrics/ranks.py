"""Quantiles inside one run, where some of the values are known only to lie beyond a bound."""

from __future__ import annotations

from math import ceil

import numpy as np

from lab.history import Column
from lab.metrics.estimate import UNDEFINED, RunValue


def rank_of(q: float, n: int) -> int:
    """Return the rank (starts at 1) of the order statistic that is the q-quantile of n values: the inverse of the
    ECDF.
    """
    return min(n, max(1, ceil(q * n - 1e-9)))


def quantile_with_never(known: Column, bounds: Column, q: float) -> RunValue:
    """Return the q-quantile of `known` values and of others that never came, each above its entry of `bounds`.

    What never came ranks last. A quantile among it is censored at the q-quantile of known values and bounds together,
    which is below the true one.
    """
    n = len(known) + len(bounds)
    if n == 0:
        return UNDEFINED
    rank = rank_of(q, n)
    if rank <= len(known):
        return RunValue(float(np.partition(known, rank - 1)[rank - 1]))
    together = np.concatenate((known, bounds))
    return RunValue(float(np.partition(together, rank - 1)[rank - 1]), censored=True)
