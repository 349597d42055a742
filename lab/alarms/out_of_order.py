"""How many updates had to wait behind a gap, or went past one."""

from __future__ import annotations

import numpy as np

from lab.alarms.alarm import Alarm, Series, in_window
from lab.history import Column, History
from lab.metrics.prepare import prepare

TOGETHER_NS = 1_000_000
APART_NS = 5_000_000


def _series(history: History, grid_ns: Column) -> Series:
    """Return how many updates a second followers took out of order.

    A history has no deliveries, so they are told by their applies: a sequence below one applied before at that replica,
    or an update applied within 1 ms of the one before although it was accepted 5 ms or more after it: it had waited
    behind a gap. (Catching up after an outage looks the same, and is.)
    """
    prepared = prepare(history)
    times = []
    for replica in range(1, len(history.replicas)):
        rows = np.flatnonzero(prepared.row_replica == replica)
        if len(rows) < 2:
            continue
        time_ns, sequence = prepared.row_time_ns[rows], prepared.row_sequence[rows]
        place = np.minimum(np.searchsorted(prepared.codes, prepared.row_code[rows]), len(prepared.codes) - 1)
        accepted_ns = prepared.accepted_ns[place]
        passed = sequence[1:] < np.maximum.accumulate(sequence)[:-1]
        waited = (np.diff(time_ns) <= TOGETHER_NS) & (np.diff(accepted_ns) >= APART_NS)
        times.append(time_ns[1:][passed | waited])
    both = np.sort(np.concatenate(times)) if times else np.empty(0, dtype=np.int64)
    first, last = in_window(both, grid_ns)
    return (last - first).astype(np.float64)


ALARM = Alarm(
    name="out_of_order",
    unit="rate",
    summary="updates a second that followers took out of order or held back behind a gap",
    runbook="out_of_order.md",
    function=_series,
)
