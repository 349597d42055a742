"""How many updates a follower lags behind."""

from __future__ import annotations

import numpy as np

from lab.history import Column, History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric
from lab.metrics.missing import missing_intervals


def _overlap_max(start_ns: Column, stop_ns: Column) -> int:
    """Return how many half-open intervals overlap at most."""
    if not len(start_ns):
        return 0
    starts = np.sort(start_ns)
    ended = np.searchsorted(np.sort(stop_ns), starts, side="right")
    begun = np.searchsorted(starts, starts, side="right")
    return int((begun - ended).max())


def _value(history: History) -> RunValue:
    """Return the maximum over followers and times of the number of accepted updates that the follower lacks."""
    if len(history.replicas) < 2 or not len(history.accepted):
        return UNDEFINED
    # Lives of one replica do not overlap in time, so each may be swept alone.
    return RunValue(float(max(_overlap_max(m.start_ns, m.stop_ns) for m in missing_intervals(history))))


METRIC = Metric(
    name="staleness_versions_max",
    unit="count",
    direction="lower",
    summary="greatest number of accepted updates that a follower lacked at once",
    function=_value,
    default="max",
    protocols=("changelog",),
)
