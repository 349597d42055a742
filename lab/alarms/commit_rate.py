"""How many of the intended writes get through."""

from __future__ import annotations

import numpy as np

from lab.alarms.alarm import WINDOW_NS, Alarm, Series, in_window
from lab.history import NEVER, Column, History


def _series(history: History, grid_ns: Column) -> Series:
    """Return the operations acknowledged in the last second over those intended in it.

    Above 1 while a backlog is worked off. Not defined where fewer than 5 were intended, or in a run's first second.
    """
    operations = history.operations
    intended = np.sort(operations.intended_ns)
    acknowledged = np.sort(operations.acknowledged_ns[operations.acknowledged_ns != NEVER])
    first, last = in_window(intended, grid_ns)
    wanted = (last - first).astype(np.float64)
    first, last = in_window(acknowledged, grid_ns)
    done = (last - first).astype(np.float64)
    result = np.full(len(grid_ns), np.nan)
    enough = (wanted >= 5) & (grid_ns >= WINDOW_NS)
    result[enough] = done[enough] / wanted[enough]
    return result


ALARM = Alarm(
    name="commit_rate",
    unit="share",
    summary="operations acknowledged in the last second over those intended in it",
    runbook="commit_rate.md",
    function=_series,
)
