"""What last-writer-wins takes from the last writer: a clock ahead hides the writes of those behind."""

from __future__ import annotations

import numpy as np

from lab.history import History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return the share of written keys whose latest accepted write no replica shows at the end."""
    accepted, applies, keys = history.accepted, history.applies, history.operations.key
    if not len(accepted):
        return UNDEFINED
    order = np.lexsort((accepted.sequence, accepted.time_ns))
    latest = {int(keys[token]): int(token) for token in accepted.token[order].tolist()}
    inside = applies.time_ns <= history.horizon_ns
    rows = zip(applies.replica[inside].tolist(), applies.token[inside].tolist(), strict=True)
    shown = {(replica, int(keys[token])): token for replica, token in rows}
    seen = {(key, token) for (_, key), token in shown.items()}
    return RunValue(sum(pair not in seen for pair in latest.items()) / len(latest))


METRIC = Metric(
    name="lost_writes",
    unit="share",
    direction="lower",
    summary="share of keys whose latest accepted write no replica shows at the end",
    function=_value,
    default="mean",
    protocols=("crdt_register",),
)
