"""Every replica must have every update by the horizon."""

from __future__ import annotations

import numpy as np

from lab.checkers.lives import kept_rows
from lab.checkers.validity import Checker, Validity
from lab.history import History


def _check(history: History) -> Validity:
    """Judge that at the horizon every replica holds every update that the leader accepted."""
    applies = history.applies
    rows = kept_rows(history)
    bound = 1 + max((int(c.max()) for c in (applies.token, history.accepted.token) if len(c)), default=0)
    wanted = np.unique(history.accepted.sequence * bound + history.accepted.token)
    missing = {}
    for index, name in enumerate(history.replicas):
        mine = rows[applies.replica[rows] == index]
        lacking = np.setdiff1d(wanted, applies.sequence[mine] * bound + applies.token[mine])
        if len(lacking):
            missing[name] = lacking
    if not missing:
        return Validity(True, f"all {len(history.replicas)} replicas hold all {len(wanted)} updates at the horizon")
    name, lacking = next(iter(missing.items()))
    return Validity(
        False,
        "not converged at the horizon: "
        + ", ".join(f"{who} lacks {len(what)} updates" for who, what in missing.items()),
        {
            "missing": {who: len(what) for who, what in missing.items()},
            "replica": name,
            "sequence": int(lacking[0] // bound),
            "token": int(lacking[0] % bound),
        },
    )


CHECKER = Checker("convergence", "every replica holds every accepted update at the horizon", _check, ("changelog",))
