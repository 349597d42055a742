"""How long the unlucky clients wait."""

from __future__ import annotations

from lab.history import History
from lab.metrics.acknowledge import acknowledge_latency
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    return acknowledge_latency(history, 0.99)


METRIC = Metric(
    name="acknowledge_latency_p99",
    unit="ns",
    direction="lower",
    summary="p99 of the time from the intended send to the acknowledgement, over all operations",
    function=_value,
    default="p50",
    needs_client=True,
)
