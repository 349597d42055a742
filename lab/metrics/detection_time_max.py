"""How soon the last observer notices a crash."""

from __future__ import annotations

from lab.history import History
from lab.metrics.detection import detection_times
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return the longest time in ns over crashes and observers; censored if one noticed nothing before the restart."""
    times = detection_times(history)
    if not times:
        return UNDEFINED
    return RunValue(float(max(time for time, _ in times)), censored=not all(came for _, came in times))


METRIC = Metric(
    name="detection_time_max",
    unit="ns",
    direction="lower",
    summary="longest time from a crash until a running replica suspects the crashed one",
    function=_value,
    default="p50",
    protocols=("heartbeat", "phi_accrual", "swim"),
)
