"""How long nobody led."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.leadership import reigns
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return the time in ns up to the horizon in which no replica led (see `reigns`)."""
    return RunValue(float(history.horizon_ns - sum(stop_ns - start_ns for start_ns, stop_ns in reigns(history))))


METRIC = Metric(
    name="leaderless",
    unit="ns",
    direction="lower",
    summary="time without a leader, summed over the run; a leader that is cut off counts until another is elected",
    function=_value,
    default="p50",
    protocols=("raft",),
)
