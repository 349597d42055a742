"""How far apart the replicas drift."""

from __future__ import annotations

from lab.history import History
from lab.metrics.divergence import divergence_curve
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return the maximum of D(t), in [0, 1]; states that last no time do not count."""
    return RunValue(float(divergence_curve(history)[1].max()))


METRIC = Metric(
    name="divergence_max",
    unit="share",
    direction="lower",
    summary="greatest share of (replica, key) pairs that differed from the ground truth at once",
    function=_value,
    default="max",
    protocols=("changelog",),
)
