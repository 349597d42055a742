"""What a handler may do: the compiled side of `ctx`, and the checks that keep a mistake inside the block."""

from __future__ import annotations

from lab.core.draws import HANDLER_DRAW, mix
from lab.engines.compiled.kernel.marks import Words, called, inlined
from lab.engines.compiled.kernel.memory import *


@called
def clear_fields(M: Words, begin: int, place: int, elements: int, width: int, kept: int, everything: int) -> None:
    """Set the fields of one node in a group to 0, but for those whose bit is in `kept`, or all."""
    for element in range(place * elements, (place + 1) * elements):
        for field in range(width):
            if everything or not kept >> field & 1:
                M[begin + element * width + field] = 0


@inlined
def mistake(M: Words, site: int, value: int) -> None:
    """Note where in the protocol what was wrong."""
    M[ERROR] = AUTHOR_MISTAKE
    M[ERROR_SITE] = site
    M[ERROR_VALUE] = value


@inlined
def inside(M: Words, index: int, size: int, site: int) -> int:
    """Return `index` if it is in [0, size), else stop the run."""
    if index < 0 or index >= size:
        mistake(M, site, index)
        raise IndexError("protocol")
    return index


@inlined
def same_node(M: Words, me: int, owner: int, site: int) -> int:
    """Return 0, the row of a field that only node `owner` has; stop the run on another node."""
    if me != owner:
        mistake(M, site, me)
        raise IndexError("protocol")
    return 0


@inlined
def floor_divide(M: Words, a: int, b: int, site: int) -> int:
    """Return a // b; stop the run if b is 0."""
    if b == 0:
        mistake(M, site, 0)
        raise IndexError("protocol")
    return a // b


@inlined
def modulo(M: Words, a: int, b: int, site: int) -> int:
    """Return a % b; stop the run if b is 0."""
    if b == 0:
        mistake(M, site, 0)
        raise IndexError("protocol")
    return a % b


@inlined
def shift_left(M: Words, a: int, b: int, site: int) -> int:
    """Return a << b; stop the run if b is outside 0..62."""
    if b < 0 or b > 62:
        mistake(M, site, b)
        raise IndexError("protocol")
    return a << b


@inlined
def shift_right(M: Words, a: int, b: int, site: int) -> int:
    """Return a >> b; stop the run if b is outside 0..62."""
    if b < 0 or b > 62:
        mistake(M, site, b)
        raise IndexError("protocol")
    return a >> b


@inlined
def emit_send(M: Words, target: int, kind: int, a: int, b: int, c: int, d: int, site: int) -> None:
    """Put a message into the out-box."""
    inside(M, target, M[NODES], site)
    inside(M, kind, M[KINDS], site)
    count = M[OUT]
    if count >= M[OUT_CAP]:
        M[ERROR] = OUTBOX_FULL
        return
    M[OUT] = count + 1
    effect = M[OUT_AT] + count * EFFECT
    M[effect] = MESSAGE + (kind << 4) + (target << 12)
    M[effect + 2] = a
    M[effect + 3] = b
    M[effect + 4] = c
    M[effect + 5] = d


@inlined
def emit_timer(M: Words, me: int, delay: int, kind: int, a: int, b: int, c: int, d: int, site: int) -> None:
    """Put a timer into the out-box."""
    inside(M, delay, 1 << 61, site)
    inside(M, kind, KIND_MASK + 1, site)
    count = M[OUT]
    if count >= M[OUT_CAP]:
        M[ERROR] = OUTBOX_FULL
        return
    M[OUT] = count + 1
    effect = M[OUT_AT] + count * EFFECT
    M[effect] = TIMER + (kind << 4) + (me << 12)
    M[effect + 1] = delay
    M[effect + 2] = a
    M[effect + 3] = b
    M[effect + 4] = c
    M[effect + 5] = d


@inlined
def draw_of(key: int, purpose: int) -> int:
    """Return the draw of the event with that key for that purpose."""
    return mix(mix(key, HANDLER_DRAW), purpose)


@inlined
def emit_fact(M: Words, now: int, me: int, what: int, a: int, b: int) -> None:
    """Record an observation."""
    count = M[SEEN]
    if count >= M[SEEN_CAP]:
        M[ERROR] = OBSERVATIONS_FULL
        return
    M[SEEN] = count + 1
    row = M[SEEN_AT] + count * SEEN_WORDS
    M[row] = now
    M[row + 1] = what + (me << 8)
    M[row + 2] = a
    M[row + 3] = b


@inlined
def add_count(M: Words, counter: int, amount: int, site: int) -> None:
    """Add to a counter of the protocol."""
    M[M[COUNTERS_AT] + inside(M, counter, M[COUNTERS], site)] += amount


@inlined
def incarnation_of(M: Words, me: int) -> int:
    """Return how often the node has crashed."""
    return M[M[NODES_AT] + me * NODE_WORDS + N_INCARNATION]
