"""A term has one leader (Raft, election safety)."""

from __future__ import annotations

from lab.checkers.validity import Checker, Validity
from lab.history import History


def _check(history: History) -> Validity:
    """Judge that no two replicas took office in one term."""
    marks = history.marks
    rows = marks.rows("leads")
    if not len(rows):
        return Validity(None, "no replica became leader: let the run last longer or raise the election timeout")
    leader_of: dict[int, tuple[int, int]] = {}
    for row in rows.tolist():
        term, replica, time_ns = int(marks.a[row]), int(marks.replica[row]), int(marks.time_ns[row])
        first, first_ns = leader_of.setdefault(term, (replica, time_ns))
        if first != replica:
            names = [history.replicas[first], history.replicas[replica]]
            return Validity(
                False,
                f"{names[0]} and {names[1]} both became leader in term {term}",
                {"term": term, "replicas": names, "times_ns": [first_ns, time_ns]},
            )
    return Validity(True, f"each of {len(leader_of)} terms with a leader had one")


CHECKER = Checker("one_leader", "no term has two leaders", _check, protocols=("raft",))
