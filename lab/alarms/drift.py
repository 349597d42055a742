"""How far the replicas are from the truth."""

from __future__ import annotations

import numpy as np

from lab.alarms.alarm import Alarm, Series
from lab.history import Column, History
from lab.metrics.divergence import divergence_curve


def _series(history: History, grid_ns: Column) -> Series:
    """Return the share of (replica, key) pairs that differ from the ground truth."""
    times_ns, share = divergence_curve(history)
    place = np.searchsorted(times_ns, grid_ns, side="right") - 1
    return np.where(place >= 0, share[np.maximum(place, 0)], 0.0)


ALARM = Alarm(
    name="drift",
    unit="share",
    summary="share of (replica, key) pairs that differ from the ground truth",
    runbook="drift.md",
    function=_series,
)
