"""What a disturbed replica does to a message or a clock: plain functions that both executors run.

A disturbance remembers three words in `memory`: when the commit at hand begins, until when it keeps messages, and how
many it has kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BEGIN_NS = 0
UNTIL_NS = 1
KEPT = 2
HELD_WORDS = 3

SLOW, STALL = 0, 1  # kinds of disturbances


def slowed_ns(memory: Any, now: int, service_ns: int, stop_ns: int) -> int:
    """Return when a message that arrives now has been served: one after the other, each `service_ns`, at most until
    the disturbance ends at `stop_ns`.
    """
    finish = min(max(now, memory[UNTIL_NS]) + service_ns, stop_ns)
    memory[UNTIL_NS] = finish
    return int(finish)


def committed_ns(memory: Any, now: int, write_ns: int, stop_ns: int) -> int:
    """Return when what a message writes now is durable: what arrives during a commit shares the next one."""
    if now >= memory[UNTIL_NS]:
        memory[BEGIN_NS] = now
        memory[UNTIL_NS] = min(now + write_ns, stop_ns)
    elif memory[BEGIN_NS] <= now:
        memory[BEGIN_NS] = memory[UNTIL_NS]
        memory[UNTIL_NS] = min(memory[UNTIL_NS] + write_ns, stop_ns)
    until: int = memory[UNTIL_NS]
    return until


def skew_ns(passed_ns: int, offset_ns: int, drift_ppm: int, strobe_ns: int) -> int:
    """Return by how much a clock is off, `passed_ns` after its fault began; with a strobe it is right in every other
    period.
    """
    if strobe_ns > 0 and passed_ns // strobe_ns & 1:
        return 0
    return offset_ns + passed_ns // 1000 * drift_ppm // 1000


def is_kept(row: Sequence[int], node: int, kind: int, now: int) -> bool:
    """Return whether a disturbance (node, start, stop, kind of disturbance, ns, mask of message kinds) keeps it."""
    return row[0] == node and row[1] <= now < row[2] and row[5] >> kind & 1 == 1
