"""How far and how long the replicas drift."""

from __future__ import annotations

import numpy as np

from lab.history import History
from lab.metrics.divergence import divergence_curve
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric

NS_PER_SECOND = 1e9


def _value(history: History) -> RunValue:
    """Return the integral of D(t) from 0 to the horizon, in share times seconds; censored when D is above 0 at the
    horizon.
    """
    times_ns, share = divergence_curve(history)
    widths_ns = np.diff(times_ns, append=max(history.horizon_ns, int(times_ns[-1])))
    return RunValue(float(np.dot(share, widths_ns)) / NS_PER_SECOND, censored=bool(share[-1] > 0))


METRIC = Metric(
    name="divergence_area",
    unit="share_seconds",
    direction="lower",
    summary="divergence summed over time: share of differing (replica, key) pairs times seconds",
    function=_value,
    default="mean",
    protocols=("changelog",),
)
