"""From the out-box to pending events: keys and order are decided here and nowhere else."""

from __future__ import annotations

from lab.core.draws import EFFECT_SEND, EFFECT_TIMER, mix
from lab.engines.compiled.kernel.marks import Tables, Words, called, inlined
from lab.engines.compiled.kernel.memory import *
from lab.engines.compiled.kernel.queue import push
from lab.engines.compiled.kernel.transmit import transmit


@called
def occurrence_of(M: Words, index: int, base: int) -> int:
    """Return how many effects before `index` in the out-box have the same identity."""
    count = 0
    for earlier in range(index):
        if M[M[OUT_AT] + earlier * EFFECT + 6] == base:
            count += 1
    return count


@inlined
def drain(M: Words, T: Tables, me: int, now: int, key: int) -> None:
    """Turn the out-box into events."""
    incarnation = M[M[NODES_AT] + me * NODE_WORDS + N_INCARNATION]
    origin = (me << 32) + (incarnation << 52)
    seen = 0  # a bit for the low six bits of each key so far: mostly shows at once that an effect is the first
    for index in range(M[OUT]):
        effect = M[OUT_AT] + index * EFFECT
        head = M[effect]
        is_timer = (head & WHAT_MASK) == TIMER
        word = (EFFECT_TIMER if is_timer else EFFECT_SEND) + (((head >> 4) & KIND_MASK) << 8) + ((head >> 12) << 16)
        base = mix(mix(key, word), M[effect + 2])
        M[effect + 6] = base
        bit = 1 << (base & 63)
        own = base
        if seen & bit:
            occurrence = occurrence_of(M, index, base)
            if occurrence > 0:
                own = mix(base, occurrence)
        seen |= bit
        a, b, c, d = M[effect + 2], M[effect + 3], M[effect + 4], M[effect + 5]
        if is_timer:
            push(M, now, now + M[effect + 1], head + origin, own, a, b, c, d)
        else:
            transmit(M, T, now, me, head + origin, own, a, b, c, d)
    M[OUT] = 0
