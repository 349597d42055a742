"""How many terms were begun."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return the highest term in which a replica took office; not defined if none did."""
    rows = history.marks.rows("leads")
    return RunValue(float(history.marks.a[rows].max())) if len(rows) else UNDEFINED


METRIC = Metric(
    name="term_max",
    unit="count",
    direction="lower",
    summary="highest term in which a leader was elected; 1 is one leader for good",
    function=_value,
    default="p50",
    protocols=("raft",),
)
