"""How long a cluster has nobody to write to when it starts."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return when a replica first took office, in ns from the start; censored at the horizon if none did."""
    rows = history.marks.rows("leads")
    if not len(rows):
        return RunValue(float(history.horizon_ns), censored=True)
    return RunValue(float(history.marks.time_ns[rows[0]]))


METRIC = Metric(
    name="leader_first",
    unit="ns",
    direction="lower",
    summary="time from the start until a replica first became leader",
    function=_value,
    default="p50",
    protocols=("raft",),
)
