"""A read returns only what was written."""

from __future__ import annotations

from lab.checkers.validity import Checker, Validity
from lab.history import History


def _check(history: History) -> Validity:
    """Judge that each read returned nothing (0) or a write of its key that had been intended before the answer."""
    marks, operations = history.marks, history.operations
    rows = marks.rows("read_done")
    if not len(rows):
        return Validity(None, "no read was answered: set read_after, or let the run last longer")
    for row in rows.tolist():
        token, version, time_ns = int(marks.a[row]), int(marks.b[row]), int(marks.time_ns[row])
        is_known = 0 <= version <= len(operations)
        if version == 0 or (
            is_known
            and operations.key[version - 1] == operations.key[token]
            and operations.intended_ns[version - 1] <= time_ns
        ):
            continue
        return Validity(
            False,
            f"the read after operation {token} returned version {version}, which nobody had written to its key",
            {"token": token, "version": version, "time_ns": time_ns},
        )
    return Validity(True, f"{len(rows)} reads returned versions that were written to their keys")


CHECKER = Checker(
    "written_reads", "a read returns only what was written to its key before", _check, protocols=("quorum",)
)
