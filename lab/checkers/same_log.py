"""Replicas apply one log (Raft, state machine safety)."""

from __future__ import annotations

from lab.checkers.validity import Checker, Validity
from lab.history import History


def _check(history: History) -> Validity:
    """Judge that no two replicas applied different operations at one place of the log, and none skipped a place.

    A replica that lost its state begins again at the first place.
    """
    applies = history.applies
    if not len(applies):
        return Validity(None, "no entry was applied: let the run last longer or let faults heal earlier")
    token_at: dict[int, tuple[int, int]] = {}
    reached = dict.fromkeys(range(len(history.replicas)), 0)
    losses = sorted(history.losses, key=lambda loss: loss[1])
    columns = (applies.time_ns, applies.replica, applies.sequence, applies.token)
    for time_ns, replica, place, token in zip(*(column.tolist() for column in columns), strict=True):
        while losses and losses[0][1] <= time_ns:
            reached[losses.pop(0)[0]] = 0
        name = history.replicas[replica]
        if place != reached[replica] + 1:
            return Validity(
                False,
                f"{name} applied entry {place} after {reached[replica]}",
                {"replica": name, "sequence": place, "token": token, "time_ns": time_ns},
            )
        reached[replica] = place
        first, other = token_at.setdefault(place, (token, replica))
        if first != token:
            names = [history.replicas[other], name]
            return Validity(
                False,
                f"{names[0]} and {names[1]} applied different operations as entry {place}",
                {"replicas": names, "sequence": place, "tokens": [first, token], "time_ns": time_ns},
            )
    return Validity(True, f"the replicas applied the same {len(token_at)} entries in the same order")


CHECKER = Checker("same_log", "all replicas apply the same entries in the same order", _check, protocols=("raft",))
