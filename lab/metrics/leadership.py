"""Who led when, told from what replicas said of themselves and from crashes."""

from __future__ import annotations

from lab.history import History


def reigns(history: History) -> list[tuple[int, int]]:
    """Return the intervals [start_ns, stop_ns) with a leader, in order and apart.

    The leader is the replica that took office last in the highest term so far. Its reign ends when it steps down,
    crashes, or another takes office in a higher term. A leader that is paused or cut off still leads until then.
    """
    marks = history.marks
    events = [(start_ns, 0, replica, 0, 0) for replica, start_ns, _ in history.crashes]
    for row in marks.rows("leads", "stepped_down"):
        is_leading = marks.names[marks.what[row]] == "leads"
        events.append((int(marks.time_ns[row]), 1, int(marks.replica[row]), int(marks.a[row]), int(is_leading)))
    found: list[tuple[int, int]] = []
    leader, term, since_ns = -1, -1, 0
    for time_ns, _, replica, at_term, is_leading in sorted(events, key=lambda event: event[:2]):
        takes = bool(is_leading) and at_term > term
        if leader >= 0 and (takes or (replica == leader and not is_leading)):
            found.append((since_ns, time_ns))
            leader = -1
        if takes:
            leader, term, since_ns = replica, at_term, time_ns
    if leader >= 0:
        found.append((since_ns, history.horizon_ns))
    return [(start_ns, min(stop_ns, history.horizon_ns)) for start_ns, stop_ns in found if start_ns < stop_ns]
