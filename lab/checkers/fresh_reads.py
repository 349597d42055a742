"""Overlapping quorums promise that a read sees what was acknowledged before it (Gifford 1979)."""

from __future__ import annotations

from lab.checkers.validity import Checker, Validity
from lab.history import History


def _check(history: History) -> Validity:
    """Judge that with read quorum + write quorum > replicas no read returned less than the write it followed.

    Smaller quorums promise nothing, nor do sloppy ones; how often reads are stale is what `stale_reads` measures.
    """
    marks, found = history.marks, history.parameters
    together = found.get("read_quorum", 0) + found.get("write_quorum", 0)
    if together <= found.get("copies", found.get("replicas", len(history.replicas))):
        return Validity(True, "the quorums do not overlap, so stale reads are possible by choice")
    if found.get("patience_ns", 0):
        return Validity(True, "sloppy quorums need not overlap, so stale reads are possible by choice")
    rows = marks.rows("read_done")
    if not len(rows):
        return Validity(None, "no read was answered: set read_after, or let the run last longer")
    asked = marks.rows("asked")
    known = dict(zip(marks.a[asked].tolist(), marks.b[asked].tolist(), strict=True))
    stale = [row for row in rows.tolist() if marks.b[row] < known.get(int(marks.a[row]), int(marks.a[row]) + 1)]
    if not len(stale):
        return Validity(True, f"{len(rows)} reads returned at least the write before them")
    row = stale[0]
    return Validity(
        False,
        f"{len(stale)} of {len(rows)} reads returned less than the acknowledged write before them",
        {
            "stale": len(stale),
            "reads": len(rows),
            "token": int(marks.a[row]),
            "version": int(marks.b[row]),
            "time_ns": int(marks.time_ns[row]),
        },
    )


CHECKER = Checker(
    "fresh_reads",
    "if the quorums overlap, a read returns at least the acknowledged write before it",
    _check,
    protocols=("quorum",),
)
