"""Messages over links without memory: the row in force decides alone."""

from __future__ import annotations

from lab.core.draws import COPY, REORDER, below, mix
from lab.core.fate import CUT_OFF as FATE_CUT
from lab.core.fate import DUPLICATE_PPM, NO_COPY, REORDER_PPM, fate
from lab.core.fate import LOST as FATE_LOST
from lab.engines.compiled.kernel.bursts import is_burst_loss
from lab.engines.compiled.kernel.marks import Tables, Words, inlined, slice_at
from lab.engines.compiled.kernel.memory import *
from lab.engines.compiled.kernel.queue import push


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
    if M[OUTAGES] and M[M[NODES_AT] + ((meta >> 12) & NODE_MASK) * NODE_WORDS + N_DOWN]:
        M[cell + DOWN] += 1
        return
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
