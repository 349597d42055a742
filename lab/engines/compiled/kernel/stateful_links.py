"""Messages over links that remember: stands in the place of `transmit.py` where a scenario has such links."""

from __future__ import annotations

from lab.core.draws import COPY, REORDER, RETRANSMIT, below, mix
from lab.core.fate import CUT as ROW_CUT
from lab.core.fate import LOST as FATE_LOST
from lab.core.fate import NO_COPY, REORDER_PPM, fate
from lab.core.stateful import (
    GARBAGE,
    HOLD_UNTIL_NS,
    KILL_EPOCH,
    KILLS,
    NEXT_KILL_NS,
    OVERFLOWED,
    RETRANSMISSIONS,
    RTO_CAP_NS,
    RTO_NS,
    RULES,
    STREAM_SLOT,
    arrival_ns,
    chain_takes,
    departure_ns,
    give_up,
    is_corrupt,
    leaf_of,
    repeat_ns,
    stream_start_ns,
    transmission_ns,
)
from lab.engines.compiled.kernel.bursts import is_burst_loss
from lab.engines.compiled.kernel.marks import Tables, Words, called, slice_at
from lab.engines.compiled.kernel.memory import *
from lab.engines.compiled.kernel.queue import push


@called
def is_killed(M: Words, extra: Words, link: int, cell: int, arrival: int) -> int:
    """Return whether the connection breaks before the message arrives; count it for the fault that breaks it."""
    if extra[NEXT_KILL_NS] == 0 or arrival < extra[NEXT_KILL_NS]:
        return 0
    M[cell + CUT_OFF] += 1
    M[M[EVIDENCE_AT] + (extra[KILL_EPOCH] * M[LINKS] + link) * EVIDENCE + E_CUT] += 1
    return 1


@called
def class_at(M: Words, link: int, time: int) -> int:
    """Return which row is in force on a link at a time from now on, rules aside."""
    epoch = M[EPOCH]
    while epoch + 1 < M[EPOCHS] and M[M[BOUNDARIES_AT] + epoch + 1] <= time:
        epoch += 1
    return M[M[CLASSES_AT] + epoch * M[LINKS] + link]


@called
def over_stream(
    M: Words,
    T: Tables,
    row: Words,
    extra: Words,
    memory: Words,
    link: int,
    evidence: int,
    now: int,
    start: int,
    key: int,
) -> int:
    """Return when a message on a connection arrives, or a negative number if it does not: each transmission meets what
    is in force at its time, the first one the rules as well.
    """
    time = stream_start_ns(extra, memory, now, start)
    if time < 0:
        return time
    if time > start or extra[HOLD_UNTIL_NS] > now:
        row_class = class_at(M, link, time)
        row = slice_at(M, M[ROWS_AT] + row_class * ROW_WORDS)
        extra = slice_at(M, M[EXTRAS_AT] + row_class * EXTRA_WORDS)
    own = key
    wait = extra[RTO_NS]
    for number in range(1, extra[RETRANSMISSIONS] + 2):
        delay = transmission_ns(row, extra, T, memory, time, own)
        if delay >= 0:
            return arrival_ns(extra, memory, time, delay, number > 1)
        if delay == FATE_LOST:
            M[evidence + E_LOST] += 1
        elif delay == GARBAGE:
            M[evidence + E_CORRUPTED] += 1
        else:
            M[evidence + E_CUT] += 1
        time = repeat_ns(extra, memory, time, wait)
        wait = min(2 * wait, extra[RTO_CAP_NS])
        row_class = class_at(M, link, time)
        row = slice_at(M, M[ROWS_AT] + row_class * ROW_WORDS)
        extra = slice_at(M, M[EXTRAS_AT] + row_class * EXTRA_WORDS)
        own = mix(key, RETRANSMIT + (number << 8))
    give_up(extra, memory, time)
    return FATE_LOST


@called
def send_copies(
    M: Words,
    T: Tables,
    row: Words,
    extra: Words,
    link: int,
    evidence: int,
    cell: int,
    now: int,
    start: int,
    meta: int,
    key: int,
    a: int,
    b: int,
    c: int,
    d: int,
) -> None:
    """Decide the fate of a message of its own and of its duplicate."""
    delay, second = fate(row, T, key)
    if second != NO_COPY:
        M[cell + DUPLICATED] += 1
        M[evidence + E_DUPLICATED] += 1
    while True:
        if delay == FATE_LOST:
            M[cell + LOST] += 1
            M[evidence + E_LOST] += 1
        elif is_killed(M, extra, link, cell, start + delay):
            pass
        elif is_corrupt(extra, key):
            M[M[CORRUPTED_AT] + link * M[KINDS] + ((meta >> 4) & KIND_MASK)] += 1
            M[evidence + E_CORRUPTED] += 1
        else:
            if start + delay > now:
                M[evidence + E_DELAYED] += 1
            if row[REORDER_PPM] and below(mix(key, REORDER), row[REORDER_PPM]):
                M[cell + REORDERED] += 1
                M[evidence + E_REORDERED] += 1
            push(M, now, start + delay, meta, key, a, b, c, d)
        if second == NO_COPY:
            return
        delay = second
        second = NO_COPY
        key = mix(key, COPY)


@called
def transmit(M: Words, T: Tables, now: int, source: int, meta: int, key: int, a: int, b: int, c: int, d: int) -> None:
    """Send a message over its link: count it, choose the behaviour, decide its fate, schedule its copies."""
    epoch = M[EPOCH]
    while epoch + 1 < M[EPOCHS] and M[M[BOUNDARIES_AT] + epoch + 1] <= now:
        epoch += 1
        M[EPOCH] = epoch
    own_link = source * M[NODES] + ((meta >> 12) & NODE_MASK)
    link = own_link if M[LINKS] > 1 else 0
    kind = (meta >> 4) & KIND_MASK
    cell = M[CELLS_AT] + (link * M[KINDS] + kind) * CELL
    M[cell + SENT] += 1
    if M[OUTAGES] and M[M[NODES_AT] + ((meta >> 12) & NODE_MASK) * NODE_WORDS + N_DOWN]:
        M[cell + DOWN] += 1
        return
    row_class = M[M[CLASSES_AT] + epoch * M[LINKS] + link]
    row = slice_at(M, M[ROWS_AT] + row_class * ROW_WORDS)
    if row[ROW_IDEAL]:
        push(M, now, now, meta, key, a, b, c, d)
        return
    memory = slice_at(M, M[MEMORY_AT] + own_link * M[MEMORY_STRIDE])
    extra = slice_at(M, M[EXTRAS_AT] + row_class * EXTRA_WORDS)
    if extra[RULES]:
        row_class = leaf_of(extra, memory, kind)
        row = slice_at(M, M[ROWS_AT] + row_class * ROW_WORDS)
        extra = slice_at(M, M[EXTRAS_AT] + row_class * EXTRA_WORDS)
    evidence = M[EVIDENCE_AT] + (epoch * M[LINKS] + link) * EVIDENCE
    if extra[STREAM_SLOT] < 0 and row[ROW_CUT]:
        M[cell + CUT_OFF] += 1
        M[evidence + E_CUT] += 1
        return
    start = departure_ns(extra, memory, now, M[M[SIZES_AT] + kind])
    if start == OVERFLOWED:
        M[cell + OVERFLOW] += 1
        return
    if extra[HOLD_UNTIL_NS] > now:
        M[evidence + E_HELD] += 1
        if extra[KILLS]:
            M[evidence + E_CUT] += 1
    if M[BURST_GOOD_TABLE] >= 0 and is_burst_loss(M, T, link, now, key):
        M[cell + LOST] += 1
        M[evidence + E_LOST] += 1
        return
    if extra[STREAM_SLOT] >= 0:
        arrival = over_stream(M, T, row, extra, memory, link, evidence, now, start, key)
        if arrival < 0:
            M[cell + LOST] += 1
        elif not is_killed(M, extra, link, cell, arrival):
            if arrival > now:
                M[evidence + E_DELAYED] += 1
            push(M, now, arrival, meta, key, a, b, c, d)
        return
    if chain_takes(extra, memory, key):
        M[cell + LOST] += 1
        M[evidence + E_LOST] += 1
        return
    send_copies(M, T, row, extra, link, evidence, cell, now, start, meta, key, a, b, c, d)
