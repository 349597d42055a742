"""How an update reaches the replicas, for the metrics of gossip, epidemics and flooding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.history import ACKNOWLEDGED, History
from lab.metrics.estimate import UNDEFINED, RunValue

NEVER_REACHED = np.iinfo(np.int64).max


def reached_ns(history: History) -> NDArray[np.int64]:
    """Return (updates, replicas) when each replica first had each update that any had, or NEVER_REACHED.

    Updates are values (`sequence` above 0) in ascending order. Of a protocol with a client, those that it knows to be
    taken are in it too, though no replica may have them.
    """
    applies = history.applies
    rows = np.flatnonzero((applies.sequence > 0) & (applies.replica < len(history.replicas)))
    taken: Any = 1 + np.flatnonzero(history.operations.outcome == ACKNOWLEDGED) if history.deadline_ns else []
    updates = np.union1d(applies.sequence[rows], np.asarray(taken, dtype=np.int64))
    times = np.full((len(updates), len(history.replicas)), NEVER_REACHED, dtype=np.int64)
    place = np.searchsorted(updates, applies.sequence[rows])
    np.minimum.at(times, (place, applies.replica[rows]), applies.time_ns[rows])
    return times


def spread_time(history: History, share: float) -> RunValue:
    """Return the time in ns from an update's first replica until `share` of the replicas have it, for the slowest
    update; censored at the horizon if one never got so far.
    """
    times = np.sort(reached_ns(history), axis=1)
    times = times[times[:, 0] != NEVER_REACHED] if len(times) else times
    if not len(times):
        return UNDEFINED
    needed = max(1, int(np.ceil(share * times.shape[1])))
    reached = times[:, needed - 1]
    never = reached == NEVER_REACHED
    lasting = np.where(never, history.horizon_ns, reached) - times[:, 0]
    return RunValue(float(lasting.max()), censored=bool(never[np.argmax(lasting)] or never.any()))
