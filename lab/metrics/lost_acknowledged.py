"""Promises broken: acknowledged, yet gone."""

from __future__ import annotations

import numpy as np

from lab.history import ACKNOWLEDGED, Column, History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric
from lab.metrics.prepare import NEVER_APPLIED, prepare

LEADER = 0


def _final_rows(sequence: Column) -> Column:
    """Return the rows of the final changelog: of rows with one sequence the last, which replaced the others."""
    if len(sequence) < 2 or (sequence[1:] > sequence[:-1]).all():
        return np.arange(len(sequence))
    _, from_end = np.unique(sequence[::-1], return_index=True)
    return np.asarray(len(sequence) - 1 - from_end, dtype=np.int64)


def _value(history: History) -> RunValue:
    """Return how many acknowledged operations the leader no longer has at the end of the run.

    An update is kept if all of these hold: its row is in the final changelog (its sequence was not given to another
    update later); the leader applied it after the leader's last loss of state; and it lies within the gapless prefix
    that the leader reported at the end, if it reported one. An acknowledged operation is lost if none of its updates
    is kept. Copies at followers do not count: only the leader passes updates on, so what it lacks can never be agreed
    on again. (An update that the leader has but a follower lacks is late or stuck, not lost: convergence and the
    digests show it.)
    """
    prepared = prepare(history)
    operations = history.operations
    rows = _final_rows(prepared.truth_sequence)
    place = np.searchsorted(prepared.codes, prepared.truth_code[rows])
    held = prepared.final_ns[LEADER][place] != NEVER_APPLIED if len(rows) else np.empty(0, dtype=np.bool_)
    prefix = next((final.prefix for final in history.finals if final.replica == history.replicas[LEADER]), None)
    if prefix is not None:
        held = held & (prepared.truth_sequence[rows] <= prefix)
    kept = np.zeros(len(operations), dtype=np.bool_)
    tokens = prepared.truth_token[rows][held]
    kept[tokens[(tokens >= 0) & (tokens < len(kept))]] = True
    return RunValue(float(np.count_nonzero((operations.outcome == ACKNOWLEDGED) & ~kept)))


METRIC = Metric(
    name="lost_acknowledged",
    unit="count",
    direction="lower",
    summary="acknowledged operations that the leader's changelog no longer holds at the end",
    function=_value,
    default="total",
    protocols=("changelog",),
)
