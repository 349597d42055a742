"""Effects made in the wrong order."""

from __future__ import annotations

import numpy as np

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric
from lab.metrics.prepare import prepare


def _value(history: History) -> RunValue:
    """Return the number of effects on a key whose sequence is not above all earlier effects on it, at one replica in
    one life.
    """
    prepared = prepare(history)
    rows = np.flatnonzero(prepared.row_effect)
    key = prepared.keys_of(prepared.row_token[rows]) + 1
    group = prepared.row_life[rows] * (history.key_count + 1) + key
    order = np.argsort(group, kind="stable")
    sequence = prepared.row_sequence[rows][order]
    # Groups ascend, so one running maximum over (group, sequence) starts afresh in each of them.
    rank = group[order] * (int(sequence.max()) + 1 if len(sequence) else 1) + sequence
    behind = rank[1:] <= np.maximum.accumulate(rank)[:-1]
    return RunValue(float(np.count_nonzero(behind)))


METRIC = Metric(
    name="order_violations",
    unit="count",
    direction="lower",
    summary="effects on a key that came after an effect with the same or a later sequence",
    function=_value,
    default="total",
    protocols=("changelog",),
)
