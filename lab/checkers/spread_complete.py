"""What promises to reach everyone must do so."""

from __future__ import annotations

import numpy as np

from lab.checkers.lives import kept_rows
from lab.checkers.validity import Checker, Validity
from lab.history import ACKNOWLEDGED, History


def _check(history: History) -> Validity:
    """Judge that at the horizon every replica has every update: of anti-entropy each that the first replica had, of
    flooding each that was acknowledged. Epidemics that stop promise nothing; `residue` measures what they leave out.
    """
    if history.parameters.get("stop", 0):
        return Validity(True, "the epidemic stops by itself, so a residue is possible by choice")
    applies = history.applies
    rows = kept_rows(history)
    if history.deadline_ns:
        wanted = 1 + np.flatnonzero(history.operations.outcome == ACKNOWLEDGED)
    else:
        wanted = np.unique(applies.sequence[(applies.replica == 0) & (applies.sequence > 0)])
    if not len(wanted):
        return Validity(None, "there was no update to spread: let the run last longer")
    missing = {}
    for index, name in enumerate(history.replicas):
        lacking = np.setdiff1d(wanted, applies.sequence[rows[applies.replica[rows] == index]])
        if len(lacking):
            missing[name] = lacking
    if not missing:
        return Validity(True, f"all {len(history.replicas)} replicas have all {len(wanted)} updates")
    name, lacking = next(iter(missing.items()))
    return Validity(
        False,
        f"{len(missing)} of {len(history.replicas)} replicas lack updates at the horizon, {name} lacks {len(lacking)}",
        {"replicas": len(missing), "replica": name, "update": int(lacking[0]), "lacking": len(lacking)},
    )


CHECKER = Checker(
    "spread_complete",
    "every replica has every update at the horizon, unless the epidemic stops by itself",
    _check,
    protocols=("gossip", "epidemic", "flood"),
)
