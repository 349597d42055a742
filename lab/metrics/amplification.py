"""What replication costs in messages."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return transmissions / (accepted updates x followers): 1 is the least that delivers everything."""
    transmissions = history.counters.get("transmissions")
    needed = len(history.accepted) * (len(history.replicas) - 1)
    return UNDEFINED if transmissions is None or needed == 0 else RunValue(transmissions / needed)


METRIC = Metric(
    name="amplification",
    unit="ratio",
    direction="lower",
    summary="update transmissions for each accepted update and follower; 1 without repetition",
    function=_value,
    default="mean",
    protocols=("changelog",),
)
