"""No acknowledged operation may be gone."""

from __future__ import annotations

from lab.checkers.lives import LEADER, kept_rows
from lab.checkers.validity import Checker, Validity
from lab.history import ACKNOWLEDGED, History


def _check(history: History) -> Validity:
    """Judge that the leader's changelog still holds every acknowledged operation at the end.

    An operation is held if the last row of the changelog with its sequence is its own, the leader applied it and did
    not lose its state afterwards, and its sequence is not above the gapless prefix that the leader reports.
    """
    changelog = dict(zip(history.accepted.sequence.tolist(), history.accepted.token.tolist(), strict=True))
    applies = history.applies
    kept = kept_rows(history)
    mine = kept[applies.replica[kept] == LEADER]
    leader = set(zip(applies.sequence[mine].tolist(), applies.token[mine].tolist(), strict=True))
    prefixes = [final.prefix for final in history.finals if final.replica == history.replicas[LEADER]]
    end = prefixes[0] if prefixes else max(changelog, default=0)
    held = {token for sequence, token in changelog.items() if sequence <= end and (sequence, token) in leader}
    acknowledged = (history.operations.outcome == ACKNOWLEDGED).nonzero()[0].tolist()
    lost = [token for token in acknowledged if token not in held]
    if not lost:
        return Validity(True, f"the leader holds all {len(acknowledged)} acknowledged operations")
    sequences = history.accepted.sequence[history.accepted.token == lost[0]].tolist()
    return Validity(
        False,
        f"{len(lost)} of {len(acknowledged)} acknowledged operations are not in the leader's changelog at the end",
        {
            "lost": len(lost),
            "acknowledged": len(acknowledged),
            "token": lost[0],
            "sequence": sequences[0] if sequences else None,
            "acknowledged_ns": int(history.operations.acknowledged_ns[lost[0]]),
        },
    )


CHECKER = Checker(
    "lost_updates", "every acknowledged operation is in the leader's changelog at the end", _check, ("changelog",)
)
