"""Visibility lag of all (update, follower) pairs, for the metrics that take its quantiles."""

from __future__ import annotations

import numpy as np

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.prepare import NEVER_APPLIED, prepare
from lab.metrics.ranks import quantile_with_never


def visibility_lag(history: History, q: float) -> RunValue:
    """Return the q-quantile in ns of p(u, r) - a(u) over updates u and followers r, with p(u, r) the first apply ever.

    A pair never applied is known to lag more than horizon - a(u); a quantile among such pairs is censored.
    """
    prepared = prepare(history)
    applied_ns = prepared.first_ever_ns[1:]
    accepted_ns = np.broadcast_to(prepared.accepted_ns, applied_ns.shape)
    came = applied_ns != NEVER_APPLIED
    if came.all():
        lag, bounds = (applied_ns - accepted_ns).ravel(), np.empty(0, dtype=np.int64)
    else:
        lag, bounds = applied_ns[came] - accepted_ns[came], history.horizon_ns - accepted_ns[~came]
    return quantile_with_never(np.maximum(lag, 0), bounds, q)
