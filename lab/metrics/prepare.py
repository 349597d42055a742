"""What most metrics need, computed once a history: when each replica took each update, life by life.

A *life* of a replica is the time between two losses of its whole state: life i holds in (loss i, loss i + 1], the
first from the start of the run. What a replica had in one life it does not have in the next. A life that begins
with a swap begins with another store: what is applied in its first nanosecond was never lacking. An *update* is a
(sequence, token) that the leader accepted; one that a leader without memory accepts again is the same update, accepted
first at the earlier time. Rows after the horizon are not part of the run.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lab.history import Column, History

NEVER_APPLIED = np.iinfo(np.int64).max
NO_UPDATE = -1


class Prepared:
    """Shared arrays of one history: `n` updates in order of sequence, `lives` in order of (replica, start).

    Attributes: `codes` (n,) ascending identities; `accepted_ns` (n,); `life_replica`, `life_start_ns`, `life_stop_ns`
    (lives,), where the first life starts at -1 and the last stops at the horizon; `along_ns` (lives,) the instant of
    what came along with another store, -1 without one; `row_*` (rows,) the applies up to
    the horizon.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        applies, accepted = history.applies, history.accepted
        kept = _within(applies.time_ns, history.horizon_ns)
        self.row_replica: Column = applies.replica[kept]
        self.row_sequence: Column = applies.sequence[kept]
        self.row_token: Column = applies.token[kept]
        self.row_time_ns: Column = applies.time_ns[kept]
        self.row_effect: NDArray[np.bool_] = applies.superseded[kept] == 0
        kept = _within(accepted.time_ns, history.horizon_ns)
        self.truth_sequence: Column = accepted.sequence[kept]
        self.truth_token: Column = accepted.token[kept]
        self.truth_time_ns: Column = accepted.time_ns[kept]
        self.token_bound = 2 + max(_greatest(accepted.token), _greatest(applies.token), len(history.operations))
        self.truth_code = self.code(self.truth_sequence, self.truth_token)
        self.codes, self.accepted_ns = _distinct(self.truth_code, self.truth_time_ns)
        self._lives()

    def _lives(self) -> None:
        history = self.history
        replica_count = len(history.replicas)
        losses: list[list[int]] = [[] for _ in range(replica_count)]
        for replica, time_ns in history.losses:
            if time_ns <= history.horizon_ns:
                losses[replica].append(time_ns)
        starts = [[-1, *sorted(times)] for times in losses]
        counts = [len(times) for times in starts]
        self.life_replica: Column = np.repeat(np.arange(replica_count, dtype=np.int64), counts)
        self.life_start_ns: Column = np.array([start for times in starts for start in times], dtype=np.int64)
        self.life_stop_ns: Column = np.array(
            [stop for times in starts for stop in (*times[1:], history.horizon_ns)], dtype=np.int64
        )
        swaps = set(history.swaps)
        self.along_ns: Column = np.array(
            [start + 1 if (replica, start) in swaps else -1 for replica, times in enumerate(starts) for start in times],
            dtype=np.int64,
        )
        self.first_life: Column = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.int64)
        self.lost_state = len(self.life_replica) > replica_count

    def code(self, sequence: Column, token: Column) -> Column:
        """Return one integer (>= 0) an identity (sequence, token); ordered by sequence."""
        return sequence * self.token_bound + token + 1

    @cached_property
    def row_code(self) -> Column:
        """(rows,) the identity of the update of each apply."""
        return self.code(self.row_sequence, self.row_token)

    @cached_property
    def row_life(self) -> Column:
        """(rows,) the life in which each apply happened; an apply at the very instant of a loss came before it."""
        life = self.first_life[self.row_replica]
        if self.lost_state:
            for replica in np.unique(self.life_replica[self.life_start_ns >= 0]):
                rows = np.flatnonzero(self.row_replica == replica)
                starts = self.life_start_ns[self.life_replica == replica][1:]
                life[rows] += np.searchsorted(starts, self.row_time_ns[rows], side="left")
        return life

    @cached_property
    def first_apply_ns(self) -> Column:
        """(lives, n) when a replica first took an update within a life, superseded or not, or NEVER_APPLIED."""
        matrix = np.full((len(self.life_replica), len(self.codes)), NEVER_APPLIED, dtype=np.int64)
        if len(self.codes) and len(self.row_code):
            place = np.minimum(np.searchsorted(self.codes, self.row_code), len(self.codes) - 1)
            known = self.codes[place] == self.row_code
            # NumPy keeps the last of repeated assignments: rows are written backwards so that the first one stays.
            rows = np.flatnonzero(known)[::-1]
            matrix[self.row_life[rows], place[rows]] = self.row_time_ns[rows]
        return matrix

    @cached_property
    def first_ever_ns(self) -> Column:
        """(replicas, n) when a replica first took an update in any life, or NEVER_APPLIED."""
        if not self.lost_state:
            return self.first_apply_ns
        return np.minimum.reduceat(self.first_apply_ns, self.first_life, axis=0)

    def first_since_ns(self, time_ns: int) -> Column:
        """(replicas, n) when a replica took an update for good: first apply after its last loss at or before
        `time_ns`.
        """
        if not self.lost_state:
            return self.first_apply_ns
        current = np.flatnonzero(self.life_stop_ns > time_ns) if time_ns < self.history.horizon_ns else np.empty(0, int)
        last = np.concatenate((self.first_life[1:], [len(self.life_replica)])) - 1
        rows = []
        for replica, final in enumerate(last):
            alive = current[self.life_replica[current] == replica]
            first = int(alive[0]) if len(alive) else int(final)
            rows.append(self.first_apply_ns[first : int(final) + 1].min(axis=0))
        return np.array(rows)

    @cached_property
    def final_ns(self) -> Column:
        """(replicas, n) when a replica took an update in its last life, or NEVER_APPLIED."""
        if not self.lost_state:
            return self.first_apply_ns
        last = np.concatenate((self.first_life[1:], [len(self.life_replica)])) - 1
        return np.asarray(self.first_apply_ns[last], dtype=np.int64)

    def keys_of(self, token: Column) -> Column:
        """Return the key of each token; -1 for a token that no operation has."""
        keys = self.history.operations.key
        known = (token >= 0) & (token < len(keys))
        if known.all():
            return keys[token]
        result = np.full(len(token), -1, dtype=np.int64)
        result[known] = keys[token[known]]
        return result


def _within(time_ns: Column, horizon_ns: int) -> NDArray[np.bool_] | slice:
    """Return what selects the rows up to the horizon; a slice, which copies nothing, where all are."""
    inside = time_ns <= horizon_ns
    return slice(None) if inside.all() else inside


def _greatest(column: Column) -> int:
    return int(column.max()) if len(column) else 0


def _distinct(code: Column, time_ns: Column) -> tuple[Column, Column]:
    """Return the ascending distinct identities and when each was first accepted."""
    if len(code) < 2 or (code[1:] > code[:-1]).all():
        return code, time_ns
    distinct, first = np.unique(code, return_index=True)
    return distinct, time_ns[first]


_last: Prepared | None = None


def prepare(history: History) -> Prepared:
    """Return the prepared arrays of a history. The latest is kept, so that the metrics of one run share it."""
    global _last
    prepared = _last
    if prepared is None or prepared.history is not history:
        prepared = _last = Prepared(history)
    return prepared
