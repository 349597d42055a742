"""The operations of one seed: the integers of `lab.model.workload`, computed in the block."""

from __future__ import annotations

from lab.core.draws import ARRIVAL_KEY, ARRIVAL_TIME, RUN, mix, scale
from lab.core.quantiles import lookup
from lab.engines.compiled.kernel.marks import Tables, Words, called, product_bits_63
from lab.engines.compiled.kernel.memory import *
from lab.model.workload import OPERATIONS_MAX


@called
def stream(M: Words, T: Tables, begin: int, rate: int, start: int, stop: int, key: int) -> int:
    """Write the arrival times of one stream behind the first `begin` operations; return how many there are now."""
    now = start
    number = 0
    while number <= OPERATIONS_MAX:
        if M[POISSON]:
            gap = lookup(T[M[GAP_TABLE]], mix(mix(key, ARRIVAL_TIME), number))
            # 10**12 / 2**30 = 5**12 / 2**18, which keeps the product within 63 bits.
            now += gap * 244140625 // (rate << 18)
        else:
            now = start + (number + 1) * 1000000000000 // rate
        if now >= stop:
            break
        if begin + number >= M[OPERATIONS_CAP]:
            M[ERROR] = OPERATIONS_FULL
            return begin
        M[M[OPERATIONS_AT] + 2 * (begin + number)] = now
        number += 1
    return begin + number


@called
def merge(M: Words, middle: int, count: int) -> None:
    """Merge the sorted times [0, middle) and [middle, count); of equal times it does not matter which is first."""
    at = M[OPERATIONS_AT]
    spare = at + 2 * M[OPERATIONS_CAP]
    left = 0
    right = middle
    for place in range(count):
        if right >= count or (left < middle and M[at + 2 * left] <= M[at + 2 * right]):
            M[spare + place] = M[at + 2 * left]
            left += 1
        else:
            M[spare + place] = M[at + 2 * right]
            right += 1
    for place in range(count):
        M[at + 2 * place] = M[spare + place]


@called
def ranked_key(M: Words, ends: Words, draw: int) -> int:
    """Return the key whose cumulative weight a 63-bit draw falls into."""
    wanted = product_bits_63(draw, ends[M[KEYS] - 1])
    low = 0
    high = M[KEYS]
    while low < high:
        middle = (low + high) >> 1
        if wanted < ends[middle]:
            high = middle
        else:
            low = middle + 1
    return low


@called
def generate_operations(M: Words, T: Tables) -> None:
    """Write the seed's operations in order of intended time."""
    M[OPERATIONS] = 0
    if M[RATE] == 0:
        return
    run_key = mix(M[SEED], RUN)
    count = stream(M, T, 0, M[RATE], 0, M[DURATION], mix(run_key, 0))
    for number in range(M[SPIKES]):
        spike = M[SPIKES_AT] + 3 * number
        middle = count
        count = stream(M, T, middle, M[spike + 2], M[spike], M[spike + 1], mix(run_key, number + 1))
        merge(M, middle, count)
    if count > OPERATIONS_MAX:
        M[ERROR] = TOO_MANY_OPERATIONS
    if M[ERROR]:
        return
    M[OPERATIONS] = count
    key_base = mix(run_key, ARRIVAL_KEY)
    for number in range(count):
        draw = mix(key_base, number)
        key = scale(draw, M[KEYS]) if M[ZIPF_TABLE] < 0 else ranked_key(M, T[M[ZIPF_TABLE]], draw)
        M[M[OPERATIONS_AT] + 2 * number + 1] = key
