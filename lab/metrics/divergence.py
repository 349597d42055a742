"""Divergence D(t): the share of (replica, key) pairs that differ from the ground truth, as a step function of time.

The truth of a key at t is the update with the highest sequence that the leader had accepted for it by t (of equal
sequences the later row); a replica's state of a key is the latest effect it made on it since it last lost its state.
They differ unless they are the same (sequence, token). All replicas count, the leader too, and all keys of the
workload, written or not.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lab.history import Column, History
from lab.metrics.prepare import NO_UPDATE, Prepared, prepare


def _truth_changes(prepared: Prepared) -> tuple[Column, Column, Column]:
    """Return (key, time_ns, identity) of each change of the truth, in order of (key, time)."""
    key = prepared.keys_of(prepared.truth_token)
    order = np.lexsort((prepared.truth_time_ns, key))
    order = order[key[order] >= 0]
    if not len(order):
        return key[order], prepared.truth_time_ns[order], prepared.truth_code[order]
    key, sequence = key[order], prepared.truth_sequence[order]
    # A running maximum within each key: keys ascend, so one composite number never falls behind the previous key's.
    rank = key * (sequence.max() + 1) + sequence
    changes = rank >= np.maximum.accumulate(rank)
    order = order[changes]
    return key[changes], prepared.truth_time_ns[order], prepared.truth_code[order]


def _replica_changes(prepared: Prepared, rows: Column) -> tuple[Column, Column, Column]:
    """Return (key, time_ns, identity) of each change of one replica's state, in the order it made them; losses are
    last.
    """
    key = prepared.keys_of(prepared.row_token[rows])
    known = key >= 0
    if not known.all():
        rows, key = rows[known], key[known]
    return key, prepared.row_time_ns[rows], prepared.row_code[rows]


def _loss_changes(prepared: Prepared, replica: int, rows: Column) -> tuple[Column, Column]:
    """Return (key, time_ns) of each key that a loss of `replica` emptied and that did not come along with another
    store.
    """
    keys: list[Column] = []
    times: list[Column] = []
    row_key = prepared.keys_of(prepared.row_token[rows])
    row_life = prepared.row_life[rows]
    for life in np.flatnonzero(prepared.life_replica == replica)[:-1]:
        emptied = np.unique(row_key[(row_life == life) & (row_key >= 0)])
        if prepared.along_ns[life + 1] >= 0:
            along = (row_life == life + 1) & (prepared.row_time_ns[rows] == prepared.along_ns[life + 1])
            emptied = np.setdiff1d(emptied, row_key[along])
        keys.append(emptied)
        times.append(np.full(len(emptied), prepared.life_stop_ns[life], dtype=np.int64))
    return np.concatenate(keys), np.concatenate(times)


def _differences(key: Column, time_ns: Column, truth: Column, state: Column) -> tuple[Column, Column]:
    """Return (time_ns, +1 or -1) where pairs of one replica begin or cease to differ.

    Rows are events in order of time and cause; `truth` and `state` hold the new identity, or -2 where the event leaves
    it.
    """
    order = np.lexsort((time_ns, key))
    key, time_ns = key[order], time_ns[order]
    place = np.arange(len(key))
    begins = np.empty(len(key), dtype=np.bool_)
    begins[0], begins[1:] = True, key[1:] != key[:-1]
    start = np.maximum.accumulate(np.where(begins, place, 0))
    filled = []
    for column in (truth[order], state[order]):
        latest = np.maximum.accumulate(np.where(column != -2, place, -1))
        filled.append(np.where(latest >= start, column[latest], NO_UPDATE))
    differs = (filled[0] != filled[1]).astype(np.int64)
    before = np.empty_like(differs)
    before[0], before[1:] = 0, np.where(begins[1:], 0, differs[:-1])
    change = differs - before
    moved = change != 0
    return time_ns[moved], change[moved]


def _compute(prepared: Prepared) -> tuple[Column, NDArray[np.float64]]:
    history = prepared.history
    truth_key, truth_ns, truth_code = _truth_changes(prepared)
    times: list[Column] = []
    changes: list[Column] = []
    by_replica = np.argsort(prepared.row_replica[prepared.row_effect], kind="stable")
    effect_rows = np.flatnonzero(prepared.row_effect)[by_replica]
    ends = np.searchsorted(prepared.row_replica[effect_rows], np.arange(len(history.replicas) + 1))
    for replica in range(len(history.replicas)):
        rows = effect_rows[ends[replica] : ends[replica + 1]]
        key, time_ns, code = _replica_changes(prepared, rows)
        if np.count_nonzero(prepared.life_replica == replica) > 1:
            lost_key, lost_ns = _loss_changes(prepared, replica, rows)
            key, time_ns = np.concatenate((key, lost_key)), np.concatenate((time_ns, lost_ns))
            code = np.concatenate((code, np.full(len(lost_key), NO_UPDATE)))
        if not len(key) and not len(truth_key):
            continue
        moved_ns, change = _differences(
            np.concatenate((truth_key, key)),
            np.concatenate((truth_ns, time_ns)),
            np.concatenate((truth_code, np.full(len(key), -2))),
            np.concatenate((np.full(len(truth_key), -2), code)),
        )
        times.append(moved_ns)
        changes.append(change)
    if not times:
        return np.zeros(1, dtype=np.int64), np.zeros(1)
    return _steps(np.concatenate(times), np.concatenate(changes), len(history.replicas) * history.key_count)


def _steps(time_ns: Column, change: Column, pairs: int) -> tuple[Column, NDArray[np.float64]]:
    """Sum changes to steps: the share holds from its time to the next one. Instants of no width leave no trace."""
    order = np.argsort(time_ns, kind="stable")
    time_ns = time_ns[order]
    total = np.cumsum(change[order])
    final = np.append(time_ns[1:] != time_ns[:-1], True) if len(time_ns) else np.empty(0, dtype=np.bool_)
    time_ns, total = time_ns[final], total[final]
    if not len(time_ns) or time_ns[0] > 0:
        time_ns, total = np.append(0, time_ns), np.append(0, total)
    kept = np.append(True, total[1:] != total[:-1])
    return time_ns[kept], total[kept] / pairs


@lru_cache(maxsize=1)
def _cached(prepared: Prepared) -> tuple[Column, NDArray[np.float64]]:
    return _compute(prepared)


def divergence_curve(history: History) -> tuple[Column, NDArray[np.float64]]:
    """Return (times_ns, share): D(t) = share[i] for times_ns[i] <= t < times_ns[i + 1]; starts at 0, last step to the
    horizon.

    Share is in [0, 1]. The arrays are shared between callers: do not write to them.
    """
    return _cached(prepare(history))
