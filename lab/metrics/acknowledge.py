"""Acknowledgement latency of all operations, for the metrics that take its quantiles."""

from __future__ import annotations

import numpy as np

from lab.history import ACKNOWLEDGED, History
from lab.metrics.estimate import RunValue
from lab.metrics.ranks import quantile_with_never


def acknowledge_latency(history: History, q: float) -> RunValue:
    """Return the q-quantile in ns of acknowledged - intended over all intended operations.

    Counting from the intended time avoids coordinated omission. An operation not acknowledged, refused ones among
    them, is known to take longer than the client's deadline (or than what was left of the run); a quantile among such
    operations is censored.
    """
    operations = history.operations
    done = operations.outcome == ACKNOWLEDGED
    latency = operations.acknowledged_ns[done] - operations.intended_ns[done]
    bounds = np.clip(history.horizon_ns - operations.intended_ns[~done], 0, history.deadline_ns)
    return quantile_with_never(latency, bounds, q)
