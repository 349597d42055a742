"""Replicas that merge end alike (strong eventual consistency, Shapiro et al. 2011)."""

from __future__ import annotations

from lab.checkers.validity import Checker, Validity
from lab.history import History


def _check(history: History) -> Validity:
    """Judge that all replicas show the same state at the horizon."""
    digests = {final.replica: final.digest for final in history.finals}
    if not len(history.accepted):
        return Validity(None, "no operation was accepted: raise the rate of arrivals or let the workload last longer")
    first = history.replicas[0]
    other = [name for name in history.replicas if digests.get(name) != digests.get(first)]
    if not other:
        return Validity(True, f"the states of all {len(history.replicas)} replicas are equal")
    return Validity(
        False,
        f"{', '.join(other)} ended in another state than {first}",
        {"replicas": other, "digest": digests.get(other[0]), "other": digests.get(first)},
    )


CHECKER = Checker(
    "same_state",
    "all replicas show the same state at the horizon",
    _check,
    protocols=("crdt_counter", "crdt_merkle", "crdt_register", "crdt_set"),
)
