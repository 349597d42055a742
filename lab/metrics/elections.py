"""How often replicas stood for election."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric, counter_value


def _value(history: History) -> RunValue:
    return counter_value(history, "elections")


METRIC = Metric(
    name="elections",
    unit="count",
    direction="lower",
    summary="candidacies of all replicas, won or not",
    function=_value,
    default="mean",
    protocols=("raft",),
)
