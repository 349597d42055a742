"""How often replicas learned something from each other."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric, counter_value


def _value(history: History) -> RunValue:
    return counter_value(history, "merges")


METRIC = Metric(
    name="merges",
    unit="count",
    direction="none",
    summary="entries that a replica merged and that were news to it",
    function=_value,
    default="mean",
    protocols=("crdt_counter", "crdt_merkle", "crdt_register", "crdt_set"),
)
