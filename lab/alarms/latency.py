"""How long clients wait."""

from __future__ import annotations

import numpy as np

from lab.alarms.alarm import Alarm, Series, in_window
from lab.history import NEVER, Column, History


def _series(history: History, grid_ns: Column) -> Series:
    """Return in ns the 99th percentile of the latencies of the operations intended in the last second.

    An operation that has no answer at that instant counts with its age, so that a service which has stopped answering
    rings before its clients give up. Not defined where no operation was intended.
    """
    order = np.argsort(history.operations.intended_ns, kind="stable")
    intended = history.operations.intended_ns[order]
    acknowledged = history.operations.acknowledged_ns[order]
    answered = np.where(acknowledged == NEVER, np.iinfo(np.int64).max, acknowledged)
    first, last = in_window(intended, grid_ns)
    result = np.full(len(grid_ns), np.nan)
    for place in np.flatnonzero(last > first):
        inside = slice(first[place], last[place])
        waited = np.minimum(answered[inside], grid_ns[place]) - intended[inside]
        result[place] = np.quantile(waited, 0.99, method="inverted_cdf")
    return result


ALARM = Alarm(
    name="latency",
    unit="ns",
    summary="99th percentile of the latency of the last second's operations",
    runbook="latency.md",
    function=_series,
)
