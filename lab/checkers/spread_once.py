"""Nothing is learned twice, or before anyone knew it."""

from __future__ import annotations

import numpy as np

from lab.checkers.lives import losses_before
from lab.checkers.validity import Checker, Validity
from lab.history import History


def _check(history: History) -> Validity:
    """Judge that a replica learns an update once (again only after it lost its state), and only what there is.

    There is an update if the first replica had it before (gossip, epidemic), or if its operation was intended (flood).
    """
    applies = history.applies
    rows = np.flatnonzero((applies.sequence > 0) & (applies.replica < len(history.replicas)))
    if not len(rows):
        return Validity(None, "no replica learned an update: let the run last longer")
    if history.deadline_ns:
        since_ns = dict(enumerate(history.operations.intended_ns.tolist(), start=1))
    else:
        since_ns = {}
        for row in rows[applies.replica[rows] == 0].tolist():
            since_ns.setdefault(int(applies.sequence[row]), int(applies.time_ns[row]))
    seen: set[tuple[int, int, int]] = set()
    life = losses_before(history)
    for row in rows.tolist():
        replica, update, time_ns = (int(column[row]) for column in (applies.replica, applies.sequence, applies.time_ns))
        name = history.replicas[replica]
        witness = {"replica": name, "update": update, "time_ns": time_ns}
        if update not in since_ns or time_ns < since_ns[update]:
            return Validity(False, f"{name} learned update {update}, which there was not yet", witness)
        if (replica, update, int(life[row])) in seen:
            return Validity(False, f"{name} learned update {update} twice", witness)
        seen.add((replica, update, int(life[row])))
    return Validity(True, f"{len(rows)} times a replica learned an update, each once")


CHECKER = Checker(
    "spread_once",
    "a replica learns an update once, and only one that there is",
    _check,
    protocols=("gossip", "epidemic", "flood"),
)
