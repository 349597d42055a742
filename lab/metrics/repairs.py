"""How much reconciliation had to mend."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric, counter_value


def _value(history: History) -> RunValue:
    return counter_value(history, "repairs")


METRIC = Metric(
    name="repairs",
    unit="count",
    direction="lower",
    summary="updates sent by reconciliation",
    function=_value,
    default="mean",
    protocols=("changelog",),
)
