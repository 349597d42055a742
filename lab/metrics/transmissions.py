"""How many update frames replication sent."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric, counter_value


def _value(history: History) -> RunValue:
    return counter_value(history, "transmissions")


METRIC = Metric(
    name="transmissions",
    unit="count",
    direction="lower",
    summary="update frames handed to a link, repetitions and repairs among them",
    function=_value,
    default="mean",
    protocols=("changelog",),
)
