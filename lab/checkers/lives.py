"""Which state a replica had when it applied an update, told from its losses. Written apart from the metrics, to check
them.
"""

from __future__ import annotations

import numpy as np

from lab.history import Column, History

LEADER = 0


def losses_before(history: History) -> Column:
    """Return for each apply how often its replica had lost all its state before it (at an earlier instant)."""
    count = np.zeros(len(history.applies), dtype=np.int64)
    for replica, time_ns in history.losses:
        count += (history.applies.replica == replica) & (history.applies.time_ns > time_ns)
    return count


def kept_rows(history: History) -> Column:
    """Return the rows of applies up to the horizon whose result was not lost later."""
    losses = np.zeros(len(history.replicas), dtype=np.int64)
    for replica, time_ns in history.losses:
        losses[replica] += time_ns <= history.horizon_ns
    kept = losses_before(history) == losses[history.applies.replica]
    return np.flatnonzero(kept & (history.applies.time_ns <= history.horizon_ns))
