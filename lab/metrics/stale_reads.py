"""How often a read misses what had been acknowledged before it began (t-visibility, Bailis et al. 2012)."""

from __future__ import annotations

import numpy as np

from lab.history import History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return the share of answered reads that returned an older version than the acknowledged write they follow; of an
    operation that reads, than the newest version acknowledged when it began.
    """
    marks = history.marks
    rows = marks.rows("read_done")
    if not len(rows):
        return UNDEFINED
    # Versions are the token of their write + 1.
    wanted = marks.a[rows] + 1
    asked = marks.rows("asked")
    if len(asked):
        versions = np.full(int(max(marks.a[rows].max(), marks.a[asked].max())) + 1, -1, dtype=np.int64)
        versions[marks.a[asked]] = marks.b[asked]
        wanted = np.where(versions[marks.a[rows]] >= 0, versions[marks.a[rows]], wanted)
    stale = marks.b[rows] < wanted
    return RunValue(float(stale.mean()))


METRIC = Metric(
    name="stale_reads",
    unit="share",
    direction="lower",
    summary="share of reads that returned less than the last acknowledged write before them",
    function=_value,
    default="mean",
    protocols=("quorum",),
)
