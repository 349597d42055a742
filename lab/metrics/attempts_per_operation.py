"""What retrying and hedging add to the load."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return attempts / operations: 1 without retries and hedges."""
    attempts = history.operations.attempts
    return RunValue(float(attempts.sum()) / len(attempts)) if len(attempts) else UNDEFINED


METRIC = Metric(
    name="attempts_per_operation",
    unit="ratio",
    direction="lower",
    summary="attempts for each operation; 1 without retries and hedges",
    function=_value,
    default="mean",
    protocols=("rpc",),
)
