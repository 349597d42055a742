"""Replicas that ended in a wrong state."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return how many replicas ended with a state digest other than the truth's; not defined unless all reported
    theirs.
    """
    digests = {final.replica: final.digest for final in history.finals}
    if not history.truth_digest or not digests.keys() >= set(history.replicas):
        return UNDEFINED
    return RunValue(float(sum(digests[name] != history.truth_digest for name in history.replicas)))


METRIC = Metric(
    name="digest_unequal",
    unit="count",
    direction="lower",
    summary="replicas whose final state is not the one that the ground truth implies",
    function=_value,
    default="total",
    protocols=("changelog",),
)
