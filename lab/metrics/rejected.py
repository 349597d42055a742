"""How often the service refused."""

from __future__ import annotations

import numpy as np

from lab.history import REJECTED, History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    return RunValue(float(np.count_nonzero(history.operations.outcome == REJECTED)))


METRIC = Metric(
    name="rejected",
    unit="count",
    direction="lower",
    summary="operations refused before they were stored",
    function=_value,
    default="mean",
    needs_client=True,
)
