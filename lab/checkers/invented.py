"""Nothing may appear that nobody asked for."""

from __future__ import annotations

import numpy as np

from lab.checkers.validity import Checker, Validity
from lab.history import Column, History


def _outside(token: Column, sequence: Column, history: History) -> Column:
    """Return the rows whose (sequence, token) the leader never accepted."""
    bound = 1 + max((int(column.max()) for column in (token, history.accepted.token) if len(column)), default=0)
    known = history.accepted.sequence * bound + history.accepted.token
    return np.flatnonzero((token < 0) | ~np.isin(sequence * bound + token, known))


def _check(history: History) -> Validity:
    """Judge that the leader accepted only intended operations and replicas applied only what it had accepted."""
    accepted, applies = history.accepted, history.applies
    strange = np.flatnonzero((accepted.token < 0) | (accepted.token >= len(history.operations)))
    if len(strange):
        row = int(strange[0])
        return Validity(
            False,
            f"the leader accepted {len(strange)} updates that no client intended",
            {
                "invented": len(strange),
                "replica": history.replicas[0],
                "sequence": int(accepted.sequence[row]),
                "token": int(accepted.token[row]),
                "time_ns": int(accepted.time_ns[row]),
            },
        )
    rows = _outside(applies.token, applies.sequence, history)
    if not len(rows):
        return Validity(True, f"all {len(applies)} applied updates are ones the leader accepted")
    row = int(rows[0])
    name = history.replicas[int(applies.replica[row])]
    return Validity(
        False,
        f"{len(rows)} applied updates were never accepted by the leader, the first at {name}",
        {
            "invented": len(rows),
            "replica": name,
            "sequence": int(applies.sequence[row]),
            "token": int(applies.token[row]),
            "time_ns": int(applies.time_ns[row]),
        },
    )


CHECKER = Checker(
    "invented", "replicas apply only what the leader accepted and a client intended", _check, ("changelog",)
)
