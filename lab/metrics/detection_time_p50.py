"""How soon a typical observer notices a crash."""

from __future__ import annotations

import numpy as np

from lab.history import History
from lab.metrics.detection import detection_times
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric
from lab.metrics.ranks import quantile_with_never


def _value(history: History) -> RunValue:
    """Return the median in ns over crashes and observers; not defined in a run without crashes."""
    times = detection_times(history)
    known = np.array([time for time, came in times if came], dtype=np.int64)
    return quantile_with_never(known, np.array([time for time, came in times if not came], dtype=np.int64), 0.5)


METRIC = Metric(
    name="detection_time_p50",
    unit="ns",
    direction="lower",
    summary="median time from a crash until a running replica suspects the crashed one",
    function=_value,
    default="p50",
    protocols=("heartbeat", "phi_accrual", "swim"),
)
