"""How often the network or retrying overtook."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric, counter_value


def _value(history: History) -> RunValue:
    return counter_value(history, "out_of_order")


METRIC = Metric(
    name="out_of_order_deliveries",
    unit="count",
    direction="none",
    summary="updates that reached a follower before an earlier one",
    function=_value,
    default="mean",
    protocols=("changelog",),
)
