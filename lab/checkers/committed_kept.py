"""What was acknowledged stays."""

from __future__ import annotations

from lab.checkers.lives import kept_rows
from lab.checkers.validity import Checker, Validity
from lab.history import ACKNOWLEDGED, History


def _check(history: History) -> Validity:
    """Judge that every acknowledged operation has been applied by a replica that has not lost its state since."""
    acknowledged = (history.operations.outcome == ACKNOWLEDGED).nonzero()[0].tolist()
    if not acknowledged:
        return Validity(None, "no operation was acknowledged, so none could be lost")
    held = set(history.applies.token[kept_rows(history)].tolist())
    lost = [token for token in acknowledged if token not in held]
    if not lost:
        return Validity(True, f"all {len(acknowledged)} acknowledged operations are held at the end")
    return Validity(
        False,
        f"{len(lost)} of {len(acknowledged)} acknowledged operations are held by no replica at the end",
        {
            "lost": len(lost),
            "acknowledged": len(acknowledged),
            "token": lost[0],
            "acknowledged_ns": int(history.operations.acknowledged_ns[lost[0]]),
        },
    )


CHECKER = Checker(
    "committed_kept", "every acknowledged operation is applied by a replica that keeps it", _check, protocols=("raft",)
)
