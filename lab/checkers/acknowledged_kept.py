"""A quorum of replicas that stored a write must not all forget it."""

from __future__ import annotations

from lab.checkers.validity import Checker, Validity
from lab.history import ACKNOWLEDGED, History


def _held(history: History) -> dict[int, int]:
    """Return the newest version of every key that a replica or a hint holds at the end."""
    marks, keys = history.marks, history.operations.key
    lost_ns: dict[int, int] = {}
    for replica, time_ns in history.losses:
        lost_ns[replica] = max(time_ns, lost_ns.get(replica, -1))
    stored = [
        (replica, version, time_ns)
        for replica, version, time_ns in zip(
            history.applies.replica.tolist(),
            history.applies.sequence.tolist(),
            history.applies.time_ns.tolist(),
            strict=True,
        )
        if replica < len(history.replicas)  # the client's are its reads
    ]
    gone = {(int(marks.replica[row]), int(marks.a[row])) for row in marks.rows("gone_home").tolist()}
    for row in marks.rows("kept").tolist():
        replica, token = int(marks.replica[row]), int(marks.a[row])
        if (replica, token) not in gone:
            stored.append((replica, token + 1, int(marks.time_ns[row])))
    held: dict[int, int] = {}
    for replica, version, time_ns in stored:
        if lost_ns.get(replica, -1) < time_ns <= history.horizon_ns:
            key = int(keys[version - 1])
            held[key] = max(version, held.get(key, 0))
    return held


def _check(history: History) -> Validity:
    """Judge that of every key the newest acknowledged write, or a newer one, is held at the end."""
    operations, marks = history.operations, history.marks
    reads = set(marks.a[marks.rows("asked")].tolist())
    tokens = [token for token in (operations.outcome == ACKNOWLEDGED).nonzero()[0].tolist() if token not in reads]
    if not tokens:
        return Validity(None, "no write was acknowledged, so none could be lost")
    newest = {int(operations.key[token]): token for token in tokens}
    held = _held(history)
    lost = [token for key, token in sorted(newest.items()) if held.get(key, 0) <= token]
    if not lost:
        return Validity(True, f"the newest acknowledged writes of all {len(newest)} keys are held at the end")
    return Validity(
        False,
        f"of {len(lost)} of {len(newest)} keys nobody holds the newest acknowledged write, or a newer one, at the end",
        {
            "lost": len(lost),
            "keys": len(newest),
            "token": lost[0],
            "acknowledged_ns": int(operations.acknowledged_ns[lost[0]]),
        },
    )


CHECKER = Checker(
    "acknowledged_kept",
    "the newest acknowledged write of every key, or a newer one, is held by a replica or a hint",
    _check,
    protocols=("quorum",),
)
