"""Messages that a disturbed replica keeps back: stands in the place of `not_holding.py` where a scenario has such."""

from __future__ import annotations

from lab.core.nodes import BEGIN_NS, HELD_WORDS, KEPT, SLOW, UNTIL_NS, committed_ns, is_kept, slowed_ns
from lab.engines.compiled.kernel.marks import Words, called, slice_at
from lab.engines.compiled.kernel.memory import *
from lab.engines.compiled.kernel.queue import push


@called
def passed(M: Words, now: int, meta: int, key: int, a: int, b: int, c: int, d: int) -> int:
    """Return the event that goes on, or -1 for a message that now waits or is gone."""
    what = meta & WHAT_MASK
    node = (meta >> 12) & NODE_MASK
    kind = (meta >> 4) & KIND_MASK
    words = M[NODES_AT] + node * NODE_WORDS
    if what == HELD:
        if M[words + N_INCARNATION] == meta >> 52:
            return meta - HELD + MESSAGE
        link = 0
        if M[LINKS] > 1:
            link = ((meta >> 32) & NODE_MASK) * M[NODES] + node
        M[M[CELLS_AT] + (link * M[KINDS] + kind) * CELL + DOWN] += 1
        return -1
    if what != MESSAGE or M[words + N_DOWN]:
        return meta
    until = now
    for number in range(M[STAGES]):
        stage = slice_at(M, M[STAGES_AT] + STAGE_WORDS * number)
        if is_kept(stage, node, kind, until):
            memory = slice_at(M, M[HELD_AT] + HELD_WORDS * number)
            if stage[3] == SLOW:
                until = slowed_ns(memory, until, stage[4], stage[2])
            else:
                until = committed_ns(memory, until, stage[4], stage[2])
            memory[KEPT] += 1
    if until == now:
        return meta
    waiting = (meta & ((1 << 52) - 1)) - MESSAGE + HELD + (M[words + N_INCARNATION] << 52)
    push(M, now, until, waiting, key, a, b, c, d)
    return -1


@called
def forget(M: Words, node: int) -> None:
    """Forget what waited at a node that crashes."""
    for number in range(M[STAGES]):
        if M[M[STAGES_AT] + STAGE_WORDS * number] == node:
            memory = M[HELD_AT] + HELD_WORDS * number
            M[memory + BEGIN_NS] = 0
            M[memory + UNTIL_NS] = 0
