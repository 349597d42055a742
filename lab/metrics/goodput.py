"""How much a service gets done in time."""

from __future__ import annotations

import numpy as np

from lab.history import ACKNOWLEDGED, History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return operations answered within the deadline, a second from the first to the last intended one."""
    operations = history.operations
    if len(operations) < 2 or operations.intended_ns[-1] == operations.intended_ns[0]:
        return UNDEFINED
    waited_ns = operations.acknowledged_ns - operations.intended_ns
    good = (operations.outcome == ACKNOWLEDGED) & (waited_ns <= history.deadline_ns)
    seconds = float(operations.intended_ns[-1] - operations.intended_ns[0]) / 1e9
    return RunValue(float(np.count_nonzero(good)) / seconds)


METRIC = Metric(
    name="goodput",
    unit="count",
    direction="higher",
    summary="operations answered within the deadline, each second of the workload",
    function=_value,
    default="mean",
    protocols=("rpc",),
)
