"""From the out-box to pending events: keys, fates and order are decided here and nowhere else."""

from __future__ import annotations

from lab.core.draws import (
    BURST,
    BURST_LOSS,
    COPY,
    EFFECT_SEND,
    EFFECT_TIMER,
    REORDER,
    below,
    mix,
)
from lab.core.fate import CUT_OFF as FATE_CUT
from lab.core.fate import DUPLICATE_PPM, NO_COPY, REORDER_PPM, fate
from lab.core.fate import LOST as FATE_LOST
from lab.core.quantiles import lookup
from lab.engines.compiled.kernel.marks import Tables, Words, called, inlined, slice_at
from lab.engines.compiled.kernel.memory import *
from lab.engines.compiled.kernel.queue import push


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


@inlined
def transmit(M: Words, T: Tables, now: int, source: int, meta: int, key: int, a: int, b: int, c: int, d: int) -> None:
    """Send a message over its link: count it, decide its fate, schedule its copies."""
    epoch = M[EPOCH]
    while epoch + 1 < M[EPOCHS] and M[M[BOUNDARIES_AT] + epoch + 1] <= now:
        epoch += 1
        M[EPOCH] = epoch
    link = 0
    if M[LINKS] > 1:
        link = source * M[NODES] + ((meta >> 12) & NODE_MASK)
    cell = M[CELLS_AT] + (link * M[KINDS] + ((meta >> 4) & KIND_MASK)) * CELL
    M[cell + SENT] += 1
    row = slice_at(M, M[ROWS_AT] + M[M[CLASSES_AT] + epoch * M[LINKS] + link] * ROW_WORDS)
    if row[ROW_IDEAL]:
        push(M, now, now, meta, key, a, b, c, d)
        return
    evidence = M[EVIDENCE_AT] + (epoch * M[LINKS] + link) * EVIDENCE
    if M[BURST_GOOD_TABLE] >= 0 and is_burst_loss(M, T, link, now, key):
        M[cell + LOST] += 1
        M[evidence + E_LOST] += 1
        return
    delay, second = fate(row, T, key)
    if row[DUPLICATE_PPM] and second != NO_COPY:
        M[cell + DUPLICATED] += 1
        M[evidence + E_DUPLICATED] += 1
    while True:
        if delay >= 0:
            if delay > 0:
                M[evidence + E_DELAYED] += 1
            if row[REORDER_PPM] and below(mix(key, REORDER), row[REORDER_PPM]):
                M[cell + REORDERED] += 1
                M[evidence + E_REORDERED] += 1
            push(M, now, now + delay, meta, key, a, b, c, d)
        elif delay == FATE_LOST:
            M[cell + LOST] += 1
            M[evidence + E_LOST] += 1
        elif delay == FATE_CUT:
            M[cell + CUT_OFF] += 1
            M[evidence + E_CUT] += 1
        if second == NO_COPY:
            return
        delay = second
        second = NO_COPY
        key = mix(key, COPY)


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
