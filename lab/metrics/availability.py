"""Whether the service answers in time."""

from __future__ import annotations

import numpy as np

from lab.history import ACKNOWLEDGED, History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return the share in [0, 1] of intended operations acknowledged within `deadline_ns` of their intended time."""
    operations = history.operations
    if not len(operations):
        return UNDEFINED
    waited_ns = operations.acknowledged_ns - operations.intended_ns
    in_time = (operations.outcome == ACKNOWLEDGED) & (waited_ns <= history.deadline_ns)
    return RunValue(float(np.count_nonzero(in_time)) / len(operations))


METRIC = Metric(
    name="availability",
    unit="share",
    direction="higher",
    summary="share of intended operations that were acknowledged within the client's deadline",
    function=_value,
    default="mean",
    needs_client=True,
)
