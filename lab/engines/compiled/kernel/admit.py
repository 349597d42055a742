"""Service at replicas that all need the same fixed time."""

from __future__ import annotations

from lab.engines.compiled.kernel.marks import Words, called
from lab.engines.compiled.kernel.memory import *
from lab.engines.compiled.kernel.queue import push


@called
def admit(M: Words, node: int, now: int, meta: int, key: int, a: int, b: int, c: int, d: int) -> int:
    """Return the link counter that a message's arrival at a serving node raises, or -1 when it waits in the inbox."""
    words = M[NODES_AT] + node * NODE_WORDS
    if M[words + N_DOWN]:
        return DOWN
    if M[words + N_INBOX] >= M[INBOX_LIMIT]:
        return OVERFLOW
    M[words + N_INBOX] += 1
    finish = max(now, M[words + N_BUSY_UNTIL]) + M[SERVICE_NS]
    M[words + N_BUSY_UNTIL] = finish
    waiting = (meta & ((1 << 52) - 1)) - MESSAGE + SERVED + (M[words + N_INCARNATION] << 52)
    push(M, now, finish, waiting, key, a, b, c, d)
    return -1
