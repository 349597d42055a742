"""How much was asked of the service."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    return RunValue(float(len(history.operations)))


METRIC = Metric(
    name="operations",
    unit="count",
    direction="none",
    summary="operations that the workload intended",
    function=_value,
    default="mean",
    needs_client=True,
)
