"""Pending events in exact order of (time, sequence): a one-rung ladder.

Today's events are near: a short descending list (the next one is last), or a binary heap once it is long. Later days
are unsorted linked lists in a ring; opening a day sorts it. Events due at this very instant stand in a queue of their
own. The width of a day changes speed alone, never order.
"""

from __future__ import annotations

from lab.engines.compiled.kernel.marks import Words, called, inlined
from lab.engines.compiled.kernel.memory import *

NEAR_SORTED_MAX = 48
RETUNE_EVENTS = 2048
RETUNE_DAYS = 2048
EVENTS_A_DAY = 6


@called
def near_heap_push(M: Words, time: int, tag: int) -> None:
    """Insert into today's events while they are a binary heap."""
    at = M[NEAR_AT]
    place = M[NEAR]
    M[NEAR] = place + 1
    while place > 0:
        above = (place - 1) >> 1
        entry = at + 2 * above
        if M[entry] < time or (M[entry] == time and M[entry + 1] < tag):
            break
        M[at + 2 * place] = M[entry]
        M[at + 2 * place + 1] = M[entry + 1]
        place = above
    M[at + 2 * place] = time
    M[at + 2 * place + 1] = tag


@called
def near_heap_pop(M: Words) -> int:
    """Remove the earliest of today's events while they are a binary heap; return its tag."""
    at = M[NEAR_AT]
    first = M[at + 1]
    count = M[NEAR] - 1
    M[NEAR] = count
    time, tag = M[at + 2 * count], M[at + 2 * count + 1]
    place = 0
    while 2 * place + 1 < count:
        child = 2 * place + 1
        entry = at + 2 * child
        if child + 1 < count and (
            M[entry + 2] < M[entry] or (M[entry + 2] == M[entry] and M[entry + 3] < M[entry + 1])
        ):
            child += 1
            entry += 2
        if time < M[entry] or (time == M[entry] and tag < M[entry + 1]):
            break
        M[at + 2 * place] = M[entry]
        M[at + 2 * place + 1] = M[entry + 1]
        place = child
    M[at + 2 * place] = time
    M[at + 2 * place + 1] = tag
    return first


@called
def near_to_heap(M: Words) -> None:
    """Turn today's list into a heap: a list in ascending order is one."""
    low = M[NEAR_AT]
    high = low + 2 * (M[NEAR] - 1)
    while low < high:
        M[low], M[high] = M[high], M[low]
        M[low + 1], M[high + 1] = M[high + 1], M[low + 1]
        low += 2
        high -= 2
    M[NEAR_IS_HEAP] = 1


@inlined
def near_push(M: Words, time: int, tag: int) -> None:
    """Insert into today's events."""
    if M[NEAR] >= NEAR_SORTED_MAX and M[NEAR_IS_HEAP] == 0:
        near_to_heap(M)
    if M[NEAR_IS_HEAP] != 0:
        near_heap_push(M, time, tag)
        return
    begin = M[NEAR_AT]
    entry = begin + 2 * M[NEAR]
    M[NEAR] += 1
    while entry > begin and (M[entry - 2] < time or (M[entry - 2] == time and M[entry - 1] < tag)):
        M[entry] = M[entry - 2]
        M[entry + 1] = M[entry - 1]
        entry -= 2
    M[entry] = time
    M[entry + 1] = tag


@called
def push(M: Words, now: int, time: int, meta: int, key: int, a: int, b: int, c: int, d: int) -> None:
    """Schedule an event at `time`, not before `now`; without room set ERROR."""
    slot = M[FREE]
    if slot >= 0:
        M[FREE] = M[M[NEXT_AT] + slot]
    else:
        slot = M[QUEUE_USED]
        if slot >= M[QUEUE_CAP]:
            M[ERROR] = QUEUE_FULL
            return
        M[QUEUE_USED] = slot + 1
    tag = (M[SEQUENCE] << SLOT_BITS) + slot
    M[SEQUENCE] += 1
    record = M[QUEUE_AT] + slot * RECORD
    M[record] = time
    M[record + R_TAG] = tag
    M[record + R_META] = meta
    M[record + R_KEY] = key
    M[record + R_A] = a
    M[record + R_A + 1] = b
    M[record + R_A + 2] = c
    M[record + R_A + 3] = d
    day = time >> M[WIDTH]
    if day > M[TODAY]:
        bucket = M[RING_AT] + (day & M[RING_MASK])
        M[M[NEXT_AT] + slot] = M[bucket]
        M[bucket] = slot
        M[FAR] += 1
    elif time > now:
        near_push(M, time, tag)
    else:
        M[M[NEXT_AT] + slot] = -1
        if M[DUE_HEAD] < 0:
            M[DUE_HEAD] = slot
        else:
            M[M[NEXT_AT] + M[DUE_TAIL]] = slot
        M[DUE_TAIL] = slot


@called
def earliest_far_day(M: Words) -> int:
    """Return the day of the earliest event in the ring, which is not empty."""
    earliest = 1 << 62
    for bucket in range(M[RING_MASK] + 1):
        slot = M[M[RING_AT] + bucket]
        while slot >= 0:
            earliest = min(earliest, M[M[QUEUE_AT] + slot * RECORD] >> M[WIDTH])
            slot = M[M[NEXT_AT] + slot]
    return earliest


@called
def retune(M: Words) -> None:
    """Choose the width of a day for about EVENTS_A_DAY events and put the ring's events where they now belong."""
    width = M[WIDTH]
    events = M[DAYS_EVENTS]
    days = M[DAYS_PASSED]
    M[DAYS_EVENTS] = 0
    M[DAYS_PASSED] = 0
    while events > 2 * EVENTS_A_DAY * days and width > 4:
        width -= 1
        days *= 2
    while 2 * events < EVENTS_A_DAY * days and width < 50:
        width += 1
        days = (days + 1) >> 1
    if width == M[WIDTH]:
        return
    chain = -1
    for bucket in range(M[RING_AT], M[RING_AT] + M[RING_MASK] + 1):
        slot = M[bucket]
        M[bucket] = -1
        while slot >= 0:
            following = M[M[NEXT_AT] + slot]
            M[M[NEXT_AT] + slot] = chain
            chain = slot
            slot = following
    M[WIDTH] = width
    M[TODAY] = M[NOW] >> width
    M[FAR] = 0
    while chain >= 0:
        following = M[M[NEXT_AT] + chain]
        record = M[QUEUE_AT] + chain * RECORD
        day = M[record] >> width
        if day > M[TODAY]:
            bucket = M[RING_AT] + (day & M[RING_MASK])
            M[M[NEXT_AT] + chain] = M[bucket]
            M[bucket] = chain
            M[FAR] += 1
        else:
            near_push(M, M[record], M[record + R_TAG])
        chain = following


@called
def open_day(M: Words) -> None:
    """Go to the next day that has events and make them near. Only called when no event is near or due."""
    M[NEAR_IS_HEAP] = 0
    if M[DAYS_EVENTS] >= RETUNE_EVENTS or M[DAYS_PASSED] >= RETUNE_DAYS:
        retune(M)
    today = M[TODAY]
    idle = 0
    while M[NEAR] == 0 and M[FAR] > 0:
        today += 1
        bucket = M[RING_AT] + (today & M[RING_MASK])
        slot = M[bucket]
        later = -1
        while slot >= 0:
            following = M[M[NEXT_AT] + slot]
            record = M[QUEUE_AT] + slot * RECORD
            if M[record] >> M[WIDTH] == today:
                near_push(M, M[record], M[record + R_TAG])
            else:
                M[M[NEXT_AT] + slot] = later
                later = slot
            slot = following
        M[bucket] = later
        M[FAR] -= M[NEAR]
        idle += 1
        if idle > M[RING_MASK] and M[NEAR] == 0 and M[FAR] > 0:
            today = earliest_far_day(M) - 1
            idle = 0
    M[DAYS_PASSED] += today - M[TODAY]
    M[DAYS_EVENTS] += M[NEAR]
    M[TODAY] = today


@inlined
def pop(M: Words) -> int:
    """Remove the earliest event and return its slot, or -1 if there is none. The record stays readable until the next
    push.
    """
    if M[DUE_HEAD] >= 0:
        # Near events of this very instant were scheduled before it began, so they go first.
        first = M[NEAR_AT] if M[NEAR_IS_HEAP] else M[NEAR_AT] + 2 * (M[NEAR] - 1)
        if M[NEAR] == 0 or M[first] > M[NOW]:
            slot = M[DUE_HEAD]
            M[DUE_HEAD] = M[M[NEXT_AT] + slot]
            return slot
    elif M[NEAR] == 0:
        open_day(M)
        if M[NEAR] == 0:
            return -1
    if M[NEAR_IS_HEAP]:
        return near_heap_pop(M) & SLOT_MASK
    M[NEAR] -= 1
    return M[M[NEAR_AT] + 2 * M[NEAR] + 1] & SLOT_MASK
