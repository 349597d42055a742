"""How fast an update reaches half of the replicas."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric
from lab.metrics.spread import spread_time


def _value(history: History) -> RunValue:
    return spread_time(history, 0.5)


METRIC = Metric(
    name="spread_p50",
    unit="ns",
    direction="lower",
    summary="time from an update's first replica until half of the replicas have it; the slowest update of the run",
    function=_value,
    default="p50",
    protocols=("gossip", "epidemic", "flood"),
)
