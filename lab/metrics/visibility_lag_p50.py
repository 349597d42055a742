"""How late followers show a typical update."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric
from lab.metrics.visibility import visibility_lag


def _value(history: History) -> RunValue:
    return visibility_lag(history, 0.50)


METRIC = Metric(
    name="visibility_lag_p50",
    unit="ns",
    direction="lower",
    summary="median time from the leader's acceptance of an update to its first apply at a follower",
    function=_value,
    default="p50",
    protocols=("changelog",),
)
