"""How many attempts were sent in case the first is slow."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric, counter_value


def _value(history: History) -> RunValue:
    return counter_value(history, "hedges")


METRIC = Metric(
    name="hedges",
    unit="count",
    direction="lower",
    summary="hedged attempts, sent while an earlier one was under way",
    function=_value,
    default="mean",
    protocols=("rpc",),
)
