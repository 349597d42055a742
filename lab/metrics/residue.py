"""What an epidemic leaves out (Demers et al. 1987)."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric
from lab.metrics.spread import NEVER_REACHED, reached_ns


def _value(history: History) -> RunValue:
    """Return the share of (update, replica) pairs in which the replica never had the update."""
    times = reached_ns(history)
    return RunValue(float((times == NEVER_REACHED).mean())) if times.size else UNDEFINED


METRIC = Metric(
    name="residue",
    unit="share",
    direction="lower",
    summary="share of replicas that never got an update, over all updates",
    function=_value,
    default="mean",
    protocols=("gossip", "epidemic", "flood"),
)
