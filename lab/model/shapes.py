"""Named partitions: which directed links are cut, given the replicas in an order. Most are Jepsen's grudges.

A cut is a pair (source, target): messages from source do not reach target. `lab.faults.partition` draws the order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from itertools import permutations

Cuts = frozenset[tuple[str, str]]


def _apart(one: Collection[str], other: Collection[str]) -> Cuts:
    return frozenset(pair for a in one for b in other for pair in ((a, b), (b, a)))


def halves(order: Sequence[str], size: int) -> Cuts:
    """Cut two halves apart, the smaller one first in the order (Jepsen's `bisect`)."""
    middle = len(order) // 2
    return _apart(order[:middle], order[middle:])


def isolate(order: Sequence[str], size: int) -> Cuts:
    """Cut the first replica off from all others (`split-one`)."""
    return _apart(order[:1], order[1:])


def bridge(order: Sequence[str], size: int) -> Cuts:
    """Cut two halves apart but for one replica between them, which reaches everyone (`bridge`)."""
    middle = len(order) // 2
    return _apart(order[:middle], order[middle + 1 :])


def majorities_ring(order: Sequence[str], size: int) -> Cuts:
    """Let every replica hear a majority, itself included, no two the same one (`majorities-ring`).

    The replicas stand in a ring; each hears a window of a majority around itself, as in Jepsen up to five replicas.
    Where a majority is an even number (3, 6 or 7 replicas) windows are not symmetric: a may hear b that is deaf to a.
    """
    count = len(order)
    majority = count // 2 + 1
    cuts = set()
    for start in range(count):
        window = [order[(start + step) % count] for step in range(majority)]
        hearer = window[majority // 2]
        cuts |= {(name, hearer) for name in order if name not in window}
    return frozenset(cuts)


def minority_third(order: Sequence[str], size: int) -> Cuts:
    """Cut off as many as are less than a third, the first ones (`minority-third`)."""
    count = (len(order) - 1) // 3
    return _apart(order[:count], order[count:])


def one_way(order: Sequence[str], size: int) -> Cuts:
    """Cut two halves apart in one direction: the second half does not hear the first, smaller one."""
    middle = len(order) // 2
    return frozenset((a, b) for a in order[:middle] for b in order[middle:])


def random(order: Sequence[str], size: int) -> Cuts:
    """Cut the first `size` replicas off (TigerBeetle's `uniform_size`: the size is uniform from 1 to n - 1)."""
    return _apart(order[:size], order[size:])


# Shape -> (what is cut, the fewest replicas with which something is cut).
SHAPES: dict[str, tuple[Callable[[Sequence[str], int], Cuts], int]] = {
    "halves": (halves, 2),
    "isolate": (isolate, 2),
    "bridge": (bridge, 3),
    "majorities_ring": (majorities_ring, 3),
    "minority_third": (minority_third, 4),
    "one_way": (one_way, 2),
    "random": (random, 2),
}


@lru_cache(maxsize=1024)
def cuts_of(shape: str, order: tuple[str, ...], size: int) -> Cuts:
    """Return the directed pairs that a shape cuts."""
    return SHAPES[shape][0](order, size)


def picture(shape: str, order: Sequence[str], size: int) -> str:
    """Return one row a receiver: `#` where it hears the sender of that column, `.` where it does not."""
    cuts = cuts_of(shape, tuple(order), size)
    heard = {pair for pair in permutations(order, 2) if pair not in cuts}
    rows = ["     " + " ".join(f"{name:>3}" for name in order)]
    for target in order:
        marks = ("-" if source == target else "#" if (source, target) in heard else "." for source in order)
        rows.append(f"{target:>4} " + " ".join(f"{mark:>3}" for mark in marks))
    return "\n".join(rows)
