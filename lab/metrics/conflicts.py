"""How often the last writer did not win."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return writes that lost at their own replica to an earlier operation plus merges in which the later one lost."""
    hidden, conflicts = history.counters.get("hidden"), history.counters.get("conflicts")
    return UNDEFINED if hidden is None or conflicts is None else RunValue(float(hidden + conflicts))


METRIC = Metric(
    name="conflicts",
    unit="count",
    direction="lower",
    summary="times that a later write lost to an earlier one, when written or in a merge",
    function=_value,
    default="mean",
    protocols=("crdt_register",),
)
