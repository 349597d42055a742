"""One run, from the seed to the horizon."""

from __future__ import annotations

from lab.core.draws import ARRIVAL_TIME, NODE_RESTART, NODE_START, SETTING, mix
from lab.engines.compiled.kernel.admit import admit
from lab.engines.compiled.kernel.effects import emit_fact
from lab.engines.compiled.kernel.handlers import (
    lay_out,
    on_set,
    on_start,
    wipe,
)
from lab.engines.compiled.kernel.marks import Tables, Words, called, inlined
from lab.engines.compiled.kernel.memory import *
from lab.engines.compiled.kernel.not_holding import forget
from lab.engines.compiled.kernel.queue import push
from lab.engines.compiled.kernel.workload import generate_operations
from lab.protocols.form import WIPED


@called
def clear(M: Words, at: int, count: int) -> None:
    """Set words to 0."""
    for place in range(at, at + count):
        M[place] = 0


@called
def prepare_run(M: Words, T: Tables) -> None:
    """Reset everything that the previous run left, and generate the operations."""
    M[ERROR] = 0
    M[NOW] = 0
    M[EVENTS] = 0
    M[TRACE_HASH] = 0
    M[SEQUENCE] = 0
    M[QUEUE_USED] = 0
    M[FREE] = -1
    M[NEAR] = 0
    M[NEAR_IS_HEAP] = 0
    M[TODAY] = 0
    M[FAR] = 0
    M[DUE_HEAD] = -1
    M[OUT] = 0
    M[SEEN] = 0
    M[TRACED] = 0
    M[EPOCH] = 0
    for bucket in range(M[RING_AT], M[RING_AT] + M[RING_MASK] + 1):
        M[bucket] = -1
    clear(M, M[SCRATCH_AT], M[SCRATCH_SIZE])
    generate_operations(M, T)
    M[SIZE_UPDATES] = M[OPERATIONS] + 1
    M[STATE_SIZE] = lay_out(M)
    if M[STATE_SIZE] > M[STATE_CAP] and M[ERROR] == 0:
        M[ERROR] = STATE_FULL
        M[ERROR_VALUE] = M[STATE_SIZE]
    if M[ERROR] == 0:
        clear(M, M[STATE_AT], M[STATE_SIZE])


@called
def schedule_operation(M: Words, token: int, now: int) -> None:
    """Schedule the operation with that token, if there is one."""
    if token < M[OPERATIONS]:
        operation = M[OPERATIONS_AT] + 2 * token
        client = M[NODES] - 1
        meta = OPERATION + (client << 12) + (client << 32)
        key = mix(mix(M[SEED], ARRIVAL_TIME), token)
        push(M, now, M[operation], meta, key, token, M[operation + 1], 0, 0)


@called
def begin(M: Words) -> None:
    """Schedule what is known before the run: outages, settings, node starts, the first operation."""
    for number in range(M[OUTAGES]):
        outage = M[OUTAGES_AT] + 4 * number
        place = (M[outage] << 12) + (M[outage] << 32)
        push(M, 0, M[outage + 1], CRASH + place, 0, M[outage + 3], 0, 0, 0)
        push(M, 0, M[outage + 2], RESTART + place, 0, M[outage + 3], 0, 0, 0)
    for number in range(M[SETTINGS]):
        setting = M[SETTINGS_AT] + 3 * number
        key = mix(mix(mix(M[SEED], SETTING), M[setting]), M[setting + 2])
        for node in range(M[REPLICAS]):
            meta = SET + (M[setting] << 4) + (node << 12) + (node << 32)
            push(M, 0, M[setting + 2], meta, mix(key, node), M[setting + 1], 0, 0, 0)
    key = mix(M[SEED], NODE_START)
    for node in range(M[NODES]):
        push(M, 0, 0, START + (node << 12) + (node << 32), mix(key, node), 0, 0, 0, 0)
    schedule_operation(M, 0, 0)


@called
def resume_time(M: Words, node: int, now: int) -> int:
    """Return when a paused node runs again; `now` if it runs."""
    for number in range(M[PAUSES]):
        pause = M[PAUSES_AT] + 3 * number
        if M[pause] == node and M[pause + 1] <= now < M[pause + 2]:
            return M[pause + 2]
    return now


@called
def crash(M: Words, node: int, wipes: int, now: int) -> None:
    """Stop a node: what is volatile is gone, or everything."""
    words = M[NODES_AT] + node * NODE_WORDS
    M[words + N_DOWN] += 1
    M[words + N_INCARNATION] += 1
    M[words + N_BUSY_UNTIL] = 0
    M[words + N_INBOX] = 0
    forget(M, node)
    wipe(M, node, wipes)
    if wipes:
        emit_fact(M, now, node, WIPED, 0, 0)


@called
def restart(M: Words, node: int, now: int) -> int:
    """Start a node again unless another outage still holds it; it takes the settings as they are by now. Return the
    key of its effects.
    """
    words = M[NODES_AT] + node * NODE_WORDS
    M[words + N_DOWN] -= 1
    key = mix(mix(mix(M[SEED], NODE_RESTART), node), M[words + N_INCARNATION])
    if M[words + N_DOWN] == 0:
        on_start(M, node, now, key)
        for number in range(M[SETTING_COUNT]):
            current = M[CURRENT_AT] + 2 * number
            if M[current]:
                on_set(M, node, now, key, number, M[current + 1])
    return key


@inlined
def note(M: Words, now: int, meta: int, key: int, a: int, b: int, c: int, d: int) -> None:
    """Count an event that is handled, take it into the trace's hash, and keep it if traces are kept."""
    M[EVENTS] += 1
    if M[EVENTS] > M[EVENTS_MAX]:
        M[ERROR] = BUDGET_SPENT
        M[ERROR_SITE] = (meta >> 12) & NODE_MASK
        M[ERROR_VALUE] = meta & WHAT_MASK
    M[TRACE_HASH] = mix(M[TRACE_HASH], key + 3 * meta + 5 * a + 7 * b + 11 * c + 13 * d + 17 * now)
    if M[TRACE_CAP] == 0:
        return
    if M[TRACED] >= M[TRACE_CAP]:
        M[ERROR] = TRACE_FULL
        return
    row = M[TRACE_AT] + M[TRACED] * TRACE_WORDS
    M[TRACED] += 1
    M[row] = now
    M[row + 1] = meta
    M[row + 2] = key
    M[row + 3] = a
    M[row + 4] = b
    M[row + 5] = c
    M[row + 6] = d


@inlined
def reaches(M: Words, now: int, meta: int, key: int, a: int, b: int, c: int, d: int) -> int:
    """Return whether an event finds its node running; count a message that does not."""
    what = meta & WHAT_MASK
    node = (meta >> 12) & NODE_MASK
    words = M[NODES_AT] + node * NODE_WORDS
    if what == MESSAGE or what == SERVED:
        link = 0
        if M[LINKS] > 1:
            link = ((meta >> 32) & NODE_MASK) * M[NODES] + node
        column = DELIVERED
        if what == SERVED:
            # A crash since the message arrived took the inbox with it.
            if M[words + N_INCARNATION] != meta >> 52:
                column = DOWN
            else:
                M[words + N_INBOX] -= 1
        elif M[SERVICE_NS] and node < M[REPLICAS]:
            column = admit(M, node, now, meta, key, a, b, c, d)
            if column < 0:
                return 0
        elif M[words + N_DOWN]:
            column = DOWN
        M[M[CELLS_AT] + (link * M[KINDS] + ((meta >> 4) & KIND_MASK)) * CELL + column] += 1
        return column == DELIVERED
    if what == TIMER:
        return M[words + N_DOWN] == 0 and M[words + N_INCARNATION] == meta >> 52
    if what == OPERATION:
        schedule_operation(M, a + 1, now)
    elif what == SET:
        current = M[CURRENT_AT] + 2 * ((meta >> 4) & KIND_MASK)
        M[current] = 1
        M[current + 1] = a
        return M[words + N_DOWN] == 0
    elif what == START:
        return M[words + N_INCARNATION] == 0
    return 1


@inlined
def is_paused(M: Words, now: int, meta: int, key: int, a: int, b: int, c: int, d: int) -> int:
    """Return whether an event meets a paused node; it is scheduled again for the end of the pause."""
    what = meta & WHAT_MASK
    if M[PAUSES] == 0 or what == CRASH or what == RESTART:
        return 0
    resume = resume_time(M, (meta >> 12) & NODE_MASK, now)
    if resume <= now:
        return 0
    push(M, now, resume, meta, key, a, b, c, d)
    return 1
