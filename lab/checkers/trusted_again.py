"""A replica that runs is trusted again (eventual accuracy, Chandra & Toueg 1996)."""

from __future__ import annotations

from lab.checkers.validity import Checker, Validity
from lab.history import History


def _check(history: History) -> Validity:
    """Judge that no suspicion of a running replica lasts from the last heal to the horizon."""
    marks = history.marks
    rows = marks.rows("suspected", "trusted").tolist()
    last: dict[tuple[int, int], tuple[bool, int]] = {}
    for row in rows:
        is_suspected = marks.names[marks.what[row]] == "suspected"
        last[int(marks.replica[row]), int(marks.a[row])] = (is_suspected, int(marks.time_ns[row]))
    down = {who for who, start_ns, stop_ns in history.crashes if start_ns < history.horizon_ns <= stop_ns}
    for (observer, member), (is_suspected, since_ns) in last.items():
        forgot = any(who == observer and start_ns >= since_ns for who, start_ns, _ in history.crashes)
        if is_suspected and since_ns <= history.quiet_ns and not forgot and not {observer, member} & down:
            names = [history.replicas[observer], history.replicas[member]]
            return Validity(
                False,
                f"{names[0]} suspects {names[1]} to the end, though both run",
                {"replicas": names, "time_ns": since_ns},
            )
    if not any(link.delivered for link in history.links):
        return Validity(None, "no replica heard from another: let the run last longer")
    return Validity(True, "whoever runs at the end is trusted, or was suspected after the last heal alone")


CHECKER = Checker(
    "trusted_again",
    "no running replica is suspected from the last heal to the end",
    _check,
    protocols=("heartbeat", "phi_accrual", "swim"),
)
