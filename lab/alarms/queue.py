"""How many updates wait for the furthest follower."""

from __future__ import annotations

import numpy as np

from lab.alarms.alarm import Alarm, Series
from lab.history import Column, History
from lab.metrics.missing import missing_intervals


def _series(history: History, grid_ns: Column) -> Series:
    """Return the greatest number of accepted updates that one follower lacks."""
    result = np.zeros(len(grid_ns))
    for missing in missing_intervals(history):  # lives of one follower do not overlap in time
        begun = np.searchsorted(np.sort(missing.start_ns), grid_ns, side="right")
        ended = np.searchsorted(np.sort(missing.stop_ns), grid_ns, side="right")
        result = np.maximum(result, begun - ended)
    return result


ALARM = Alarm(
    name="queue",
    unit="count",
    summary="accepted updates that the furthest follower lacks",
    runbook="queue.md",
    function=_series,
)
