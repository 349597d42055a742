"""How old the news is that the furthest follower lacks."""

from __future__ import annotations

import numpy as np

from lab.alarms.alarm import Alarm, Series
from lab.history import Column, History
from lab.metrics.missing import missing_intervals


def _series(history: History, grid_ns: Column) -> Series:
    """Return in ns the age of the oldest accepted update that some follower lacks; 0 where none lacks any."""
    result = np.zeros(len(grid_ns))
    for missing in missing_intervals(history):
        if not len(missing.start_ns):
            continue
        first = np.searchsorted(grid_ns, missing.start_ns, side="left")
        last = np.searchsorted(grid_ns, missing.stop_ns, side="left")
        order = np.argsort(missing.accepted_ns, kind="stable")[::-1]  # the oldest is written last and stays
        for begin, end, accepted in zip(first[order], last[order], missing.accepted_ns[order], strict=True):
            inside = slice(begin, end)
            result[inside] = np.maximum(result[inside], grid_ns[inside] - accepted)
    return result


ALARM = Alarm(
    name="lag",
    unit="ns",
    summary="age of the oldest accepted update that some follower lacks",
    runbook="lag.md",
    function=_series,
)
