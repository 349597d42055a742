"""How often the leader tried again."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric, counter_value


def _value(history: History) -> RunValue:
    return counter_value(history, "retries")


METRIC = Metric(
    name="retries",
    unit="count",
    direction="lower",
    summary="attempts repeated after a timeout",
    function=_value,
    default="mean",
    protocols=("changelog",),
)
