"""Bursts of loss that come and go with time."""

from __future__ import annotations

from lab.core.draws import BURST, BURST_LOSS, below, mix
from lab.core.quantiles import lookup
from lab.engines.compiled.kernel.marks import Tables, Words, called, inlined
from lab.engines.compiled.kernel.memory import *


@called
def burst_is_bad(M: Words, T: Tables, link: int, now: int) -> int:
    """Return whether a link is in its bad state: sojourns alternate, good first, each keyed by its number."""
    words = M[BURSTS_AT] + 2 * link
    base = mix(mix(M[SEED], BURST), link)
    if M[words] == 0:
        M[words] = 1
        M[words + 1] = lookup(T[M[BURST_GOOD_TABLE]], mix(base, 0))
    while M[words + 1] <= now:
        number = M[words]
        table = M[BURST_BAD_TABLE] if number & 1 else M[BURST_GOOD_TABLE]
        M[words + 1] += lookup(T[table], mix(base, number))
        M[words] = number + 1
    return 1 - (M[words] & 1)


@inlined
def is_burst_loss(M: Words, T: Tables, link: int, now: int, key: int) -> int:
    """Return whether a burst takes the message."""
    ppm = M[BURST_BAD_PPM] if burst_is_bad(M, T, link, now) else M[BURST_GOOD_PPM]
    return below(mix(key, BURST_LOSS), ppm)
