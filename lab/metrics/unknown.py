"""How often the client was left in doubt."""

from __future__ import annotations

import numpy as np

from lab.history import UNKNOWN, History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    return RunValue(float(np.count_nonzero(history.operations.outcome == UNKNOWN)))


METRIC = Metric(
    name="unknown",
    unit="count",
    direction="lower",
    summary="operations without a definite answer within the deadline: they may or may not have happened",
    function=_value,
    default="mean",
    needs_client=True,
)
