"""How fast an update reaches the last replica."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric
from lab.metrics.spread import spread_time


def _value(history: History) -> RunValue:
    return spread_time(history, 1.0)


METRIC = Metric(
    name="spread_last",
    unit="ns",
    direction="lower",
    summary="time from an update's first replica until every replica has it; the slowest update of the run",
    function=_value,
    default="p50",
    protocols=("gossip", "epidemic", "flood"),
)
