"""No operation may take effect twice."""

from __future__ import annotations

import numpy as np

from lab.checkers.lives import losses_before
from lab.checkers.validity import Checker, Validity
from lab.history import History


def _check(history: History) -> Validity:
    """Judge that no replica made the effect of one token twice, unless it had lost its state between."""
    applies = history.applies
    effects = np.flatnonzero((applies.superseded == 0) & (applies.time_ns <= history.horizon_ns))
    life = losses_before(history)[effects]
    order = np.lexsort((np.arange(len(effects)), applies.token[effects], life, applies.replica[effects]))
    rows, life = effects[order], life[order]
    again = (
        (applies.token[rows][1:] == applies.token[rows][:-1])
        & (applies.replica[rows][1:] == applies.replica[rows][:-1])
        & (life[1:] == life[:-1])
    )
    places = np.flatnonzero(again) + 1
    if not len(places):
        return Validity(True, f"each of {len(effects)} effects was made once")
    place = places[np.argmin(rows[places])]
    first, second = int(rows[place - 1]), int(rows[place])
    return Validity(
        False,
        f"{len(places)} effects were made again by a replica that had them",
        {
            "duplicates": len(places),
            "replica": history.replicas[int(applies.replica[second])],
            "token": int(applies.token[second]),
            "sequences": [int(applies.sequence[first]), int(applies.sequence[second])],
            "times_ns": [int(applies.time_ns[first]), int(applies.time_ns[second])],
        },
    )


CHECKER = Checker("duplicate_effects", "no operation takes effect twice at a replica", _check, ("changelog",))
