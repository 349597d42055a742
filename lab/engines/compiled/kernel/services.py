"""Service at replicas that differ or draw its time: stands in the place of `admit.py` where a scenario has such."""

from __future__ import annotations

from lab.core.draws import SERVICE, mix
from lab.core.quantiles import lookup
from lab.engines.compiled.kernel.marks import Words, called, slice_at
from lab.engines.compiled.kernel.memory import *
from lab.engines.compiled.kernel.queue import push


@called
def admit(M: Words, node: int, now: int, meta: int, key: int, a: int, b: int, c: int, d: int) -> int:
    """Return the link counter that a message's arrival at a serving node raises, or -1 when it waits in the inbox."""
    words = M[NODES_AT] + node * NODE_WORDS
    if M[words + N_DOWN]:
        return DOWN
    service = M[SERVICES_AT] + 2 * node
    if M[service] < 0:
        return DELIVERED
    if M[words + N_INBOX] >= M[service + 1]:
        return OVERFLOW
    M[words + N_INBOX] += 1
    table = slice_at(M, M[SERVICE_TABLES_AT] + M[service])
    finish = max(now, M[words + N_BUSY_UNTIL]) + lookup(table, mix(key, SERVICE))
    M[words + N_BUSY_UNTIL] = finish
    waiting = (meta & ((1 << 52) - 1)) - MESSAGE + SERVED + (M[words + N_INCARNATION] << 52)
    push(M, now, finish, waiting, key, a, b, c, d)
    return -1
