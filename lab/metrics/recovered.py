"""Whether a service is well again when its trouble is over: a collapse that outlasts its cause is metastable."""

from __future__ import annotations

from lab.history import ACKNOWLEDGED, History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric

LAST_PART = 5


def _value(history: History) -> RunValue:
    """Return the share of the operations intended in the last fifth of the workload that were answered in time."""
    operations = history.operations
    if not len(operations):
        return UNDEFINED
    first_ns, last_ns = int(operations.intended_ns[0]), int(operations.intended_ns[-1])
    late = operations.intended_ns >= last_ns - (last_ns - first_ns) // LAST_PART
    waited_ns = operations.acknowledged_ns - operations.intended_ns
    in_time = (operations.outcome == ACKNOWLEDGED) & (waited_ns <= history.deadline_ns)
    return RunValue(float(in_time[late].mean()))


METRIC = Metric(
    name="recovered",
    unit="share",
    direction="higher",
    summary="share of the operations in the last fifth of the workload that were answered in time",
    function=_value,
    default="mean",
    protocols=("rpc",),
)
