"""How many bytes replication sent."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric, counter_value


def _value(history: History) -> RunValue:
    return counter_value(history, "bytes")


METRIC = Metric(
    name="bytes_sent",
    unit="count",
    direction="lower",
    summary="bytes of the update frames handed to a link",
    function=_value,
    default="mean",
    protocols=("changelog",),
)
