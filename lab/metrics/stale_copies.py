"""How many copies an outage leaves behind, until a handoff, a repair or a later write heals them."""

from __future__ import annotations

import numpy as np

from lab.history import ACKNOWLEDGED, History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return the share of (key, home replica) pairs that end older than the newest acknowledged write of the key."""
    operations, applies, marks = history.operations, history.applies, history.marks
    replicas = history.parameters.get("replicas", len(history.replicas))
    copies = history.parameters.get("copies", replicas)
    is_write = operations.outcome == ACKNOWLEDGED
    is_write[marks.a[marks.rows("asked")]] = False
    tokens = np.flatnonzero(is_write)
    if not len(tokens):
        return UNDEFINED
    newest = np.zeros(int(operations.key.max()) + 1, dtype=np.int64)
    np.maximum.at(newest, operations.key[tokens], tokens + 1)
    lost_ns = np.full(replicas, -1, dtype=np.int64)
    for replica, time_ns in history.losses:
        if replica < replicas and time_ns <= history.horizon_ns:
            lost_ns[replica] = max(lost_ns[replica], time_ns)
    rows = np.flatnonzero((applies.replica < replicas) & (applies.time_ns <= history.horizon_ns))
    rows = rows[applies.time_ns[rows] > lost_ns[applies.replica[rows]]]
    held = np.zeros((replicas, len(newest)), dtype=np.int64)
    np.maximum.at(held, (applies.replica[rows], operations.key[applies.token[rows]]), applies.sequence[rows])
    keys = np.flatnonzero(newest)
    homes = (keys[np.newaxis, :] + np.arange(copies)[:, np.newaxis]) % replicas
    return RunValue(float((held[homes, keys[np.newaxis, :]] < newest[keys]).mean()))


METRIC = Metric(
    name="stale_copies",
    unit="share",
    direction="lower",
    summary="share of a key's copies that end older than its newest acknowledged write",
    function=_value,
    default="mean",
    protocols=("quorum",),
)
