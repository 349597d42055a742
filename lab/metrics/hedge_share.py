"""What hedging adds to the load."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return hedged attempts / operations."""
    hedges, count = history.counters.get("hedges"), len(history.operations)
    return UNDEFINED if hedges is None or not count else RunValue(hedges / count)


METRIC = Metric(
    name="hedge_share",
    unit="share",
    direction="lower",
    summary="hedged attempts for each operation",
    function=_value,
    default="mean",
    protocols=("rpc",),
)
