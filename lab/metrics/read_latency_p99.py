"""How long the slowest reads take."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric
from lab.metrics.reads import read_latency


def _value(history: History) -> RunValue:
    return read_latency(history, 0.99)


METRIC = Metric(
    name="read_latency_p99",
    unit="ns",
    direction="lower",
    summary="99th percentile of the time from a read's request to its answer",
    function=_value,
    default="p50",
    protocols=("quorum",),
)
