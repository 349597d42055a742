"""A key may only move forward."""

from __future__ import annotations

import numpy as np

from lab.checkers.lives import losses_before
from lab.checkers.validity import Checker, Validity
from lab.history import History


def _check(history: History) -> Validity:
    """Judge that at every replica the effects on a key come in ascending sequence, starting anew after a loss of state.

    It suffices to compare neighbours: a sequence of effects ascends if and only if each is above the one before.
    """
    applies = history.applies
    effects = np.flatnonzero((applies.superseded == 0) & (applies.time_ns <= history.horizon_ns))
    key = history.operations.key[applies.token[effects]]
    life = losses_before(history)[effects]
    order = np.lexsort((np.arange(len(effects)), key, life, applies.replica[effects]))
    rows, key, life = effects[order], key[order], life[order]
    sequence, replica = applies.sequence[rows], applies.replica[rows]
    same = (key[1:] == key[:-1]) & (life[1:] == life[:-1]) & (replica[1:] == replica[:-1])
    places = np.flatnonzero(same & (sequence[1:] <= sequence[:-1])) + 1
    if not len(places):
        return Validity(True, f"{len(effects)} effects moved their keys forward")
    place = places[np.argmin(rows[places])]
    return Validity(
        False,
        f"a key moved back at {history.replicas[int(replica[place])]} and {len(places)} times in all",
        {
            "violations": len(places),
            "replica": history.replicas[int(replica[place])],
            "key": int(key[place]),
            "sequences": [int(sequence[place - 1]), int(sequence[place])],
            "tokens": [int(applies.token[rows[place - 1]]), int(applies.token[rows[place]])],
            "times_ns": [int(applies.time_ns[rows[place - 1]]), int(applies.time_ns[rows[place]])],
        },
    )


CHECKER = Checker(
    "order", "at each replica the updates of a key take effect in order of their sequence", _check, ("changelog",)
)
