"""What a protocol costs its network."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return messages sent to replicas by replicas / replicas. Not defined where links were not counted."""
    if not history.links:
        return UNDEFINED
    sent = sum(link.sent for link in history.links if "client" not in (link.source, link.target))
    return RunValue(sent / len(history.replicas))


METRIC = Metric(
    name="messages_per_replica",
    unit="count",
    direction="lower",
    summary="messages that a replica sent to others in the run, on average",
    function=_value,
    default="mean",
    without=("changelog", "rpc"),
)
