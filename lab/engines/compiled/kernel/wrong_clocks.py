"""Clocks that faults put off: stands in the place of `true_clocks.py` where a scenario has such."""

from __future__ import annotations

from lab.core.nodes import skew_ns
from lab.engines.compiled.kernel.marks import Words, called
from lab.engines.compiled.kernel.memory import *


@called
def clock_of(M: Words, me: int, now: int) -> int:
    """Return what a node's clock shows; count each reading that is off."""
    shown = now
    for number in range(M[SKEWS]):
        at = M[SKEWS_AT] + SKEW_WORDS * number
        if M[at] == me and M[at + 1] <= now < M[at + 2]:
            skew = skew_ns(now - M[at + 1], M[at + 3], M[at + 4], M[at + 5])
            shown += skew
            if skew != 0:
                M[M[READS_AT] + number] += 1
    return shown
