"""A detector says what changed, of others."""

from __future__ import annotations

from lab.checkers.validity import Checker, Validity
from lab.history import History


def _check(history: History) -> Validity:
    """Judge that a replica suspects whom it trusted and trusts whom it suspected, and never speaks of itself.

    A replica begins with trust in everyone, and again after each of its crashes.
    """
    marks = history.marks
    rows = marks.rows("suspected", "trusted").tolist()
    held: dict[tuple[int, int], tuple[bool, int]] = {}
    for row in rows:
        observer, member, time_ns = int(marks.replica[row]), int(marks.a[row]), int(marks.time_ns[row])
        is_suspected = marks.names[marks.what[row]] == "suspected"
        before, since_ns = held.get((observer, member), (False, -1))
        if any(who == observer and since_ns <= start_ns <= time_ns for who, start_ns, _ in history.crashes):
            before = False
        witness = {"replica": history.replicas[observer], "member": member, "time_ns": time_ns}
        if member == observer or not 0 <= member < len(history.replicas):
            return Validity(False, f"{history.replicas[observer]} marked replica {member}, which is no other", witness)
        if before == is_suspected:
            word = "suspected" if is_suspected else "trusted"
            return Validity(
                False,
                f"{history.replicas[observer]} {word} {history.replicas[member]}, which it {word} before",
                witness,
            )
        held[observer, member] = (is_suspected, time_ns)
    if not any(link.delivered for link in history.links):
        return Validity(None, "no replica heard from another: let the run last longer")
    return Validity(True, f"{len(rows)} marks, each a change")


CHECKER = Checker(
    "suspicions_alternate",
    "a detector marks changes alone, and never itself",
    _check,
    protocols=("heartbeat", "phi_accrual", "swim"),
)
