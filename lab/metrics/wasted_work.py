"""How much of what servers do nobody waits for."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return the share of served requests whose attempt had ended by then."""
    served, wasted = history.counters.get("served"), history.counters.get("wasted")
    return UNDEFINED if not served or wasted is None else RunValue(wasted / served)


METRIC = Metric(
    name="wasted_work",
    unit="share",
    direction="lower",
    summary="share of served requests that nobody waited for any more",
    function=_value,
    default="mean",
    protocols=("rpc",),
)
