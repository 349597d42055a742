"""How old the news is that a follower still lacks."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric
from lab.metrics.missing import missing_intervals


def _value(history: History) -> RunValue:
    """Return in ns the maximum over followers r and times t of the age, at t, of the oldest accepted update r lacks.

    A replica that loses its state lacks everything again, at its full age. Censored when a follower lacks an update at
    the horizon. Not defined without followers or without an accepted update.
    """
    if len(history.replicas) < 2 or not len(history.accepted):
        return UNDEFINED
    worst_ns, censored = 0, False
    for missing in missing_intervals(history):
        if len(missing.stop_ns):
            worst_ns = max(worst_ns, int((missing.stop_ns - missing.accepted_ns).max()))
        censored |= missing.endless
    return RunValue(float(worst_ns), censored)


METRIC = Metric(
    name="staleness_max",
    unit="ns",
    direction="lower",
    summary="greatest age of an accepted update that a follower had not yet applied",
    function=_value,
    default="max",
    protocols=("changelog",),
)
