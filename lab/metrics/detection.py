"""What failure detectors make of crashes, told from what they mark (Chen, Toueg & Aguilera 2002)."""

from __future__ import annotations

from lab.history import History


def suspicions(history: History) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return {(observer, member): intervals [start_ns, stop_ns) in which it suspected}; a crash ends the observer's."""
    marks = history.marks
    events = [(start_ns, 0, replica, -1, 0) for replica, start_ns, _ in history.crashes]
    for row in marks.rows("suspected", "trusted").tolist():
        is_suspected = marks.names[marks.what[row]] == "suspected"
        events.append((int(marks.time_ns[row]), 1, int(marks.replica[row]), int(marks.a[row]), int(is_suspected)))
    open_since: dict[tuple[int, int], int] = {}
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for time_ns, _, observer, member, is_suspected in sorted(events, key=lambda event: event[:2]):
        if member >= 0 and is_suspected:
            open_since.setdefault((observer, member), time_ns)
            continue
        for pair in [pair for pair in open_since if pair[0] == observer and member in (-1, pair[1])]:
            found.setdefault(pair, []).append((open_since.pop(pair), time_ns))
    for pair, since_ns in open_since.items():
        found.setdefault(pair, []).append((since_ns, history.horizon_ns))
    return found


def detection_times(history: History) -> list[tuple[int, bool]]:
    """Return, for each crash and each observer that runs throughout it, (ns from crash to suspicion, whether it came).

    What did not come before the replica was back lasts longer than the crash. An observer that suspected at the crash
    needed no time.
    """
    held = suspicions(history)
    found = []
    for member, start_ns, stop_ns in history.crashes:
        end_ns = min(stop_ns, history.horizon_ns)
        for observer in range(len(history.replicas)):
            is_down = any(who == observer and a < end_ns and start_ns < b for who, a, b in history.crashes)
            if observer == member or is_down or end_ns <= start_ns:
                continue
            starts = [a for a, b in held.get((observer, member), []) if b > start_ns and a < end_ns]
            found.append((max(0, min(starts) - start_ns), True) if starts else (end_ns - start_ns, False))
    return found
