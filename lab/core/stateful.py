"""What links do that remember: rules by kind and number, chains of loss, queues, holds, kills, and streams.

A link without memory is a row alone (`lab.core.fate`). One with memory has a second row, its *extra*, and words of
`memory` that live through a run; most links have neither, and pay for neither. Every executor calls these functions
with the same integers. The extra is composed before the run (`lab.model.link`); slots are places in the memory, and a
word that is 0 was never used.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence

from lab.core.draws import CHAIN_LOSS, CHAIN_MOVE, CHAIN_START, CORRELATED, CORRUPT, below, mix
from lab.core.fate import CUT, CUT_OFF, LOST, copy_delay_ns

# Columns of an extra. Slots are -1 where unused.
HOLD_UNTIL_NS = 0  # messages leave at this time at the earliest
FREE_AT_NS = 1  # on a stream: no dial gets through before this time
NEXT_KILL_NS = 2  # what is under way at this time is lost; 0: no kill to come
KILL_EPOCH = 3  # the epoch that begins with it
KILLS = 4  # kills so far: the number of the connection
BYTES_PER_S = 5  # 0: no limit
QUEUE_NS = 6  # how long a message may wait to be sent
QUEUE_SLOT = 7  # 1 word: when the link will have sent all it has
CHAIN_SLOT = 8  # 1 word: 1 good, 2 bad
CHAIN_TO_BAD_PPM = 9
CHAIN_TO_GOOD_PPM = 10
CHAIN_BAD_PPM = 11
CHAIN_GOOD_PPM = 12
CHAIN_START_PPM = 13  # the chance that the chain begins in the bad state
CORRELATED_SLOT = 14  # 1 word: the last draw, plus 1
CORRELATED_PPM = 15
CORRELATION_PPM = 16
CORRUPT_PPM = 17
STREAM_SLOT = 18  # STREAM_WORDS words; -1: every message is on its own
RTO_NS = 19
RTO_CAP_NS = 20
RETRANSMISSIONS = 21
DIAL_NS = 22
BACKOFF_NS = 23
BACKOFF_CAP_NS = 24
RULES = 25  # how many rules decide which extra is in force
LEAVES = 26  # the first of the 2**RULES behaviours to choose from
RULE_0 = 27  # per rule: bit mask of kinds, how many messages (0: all), slot of the counter
RULE_WORDS = 3
RULES_MAX = 3
EXTRA_LENGTH = RULE_0 + RULE_WORDS * RULES_MAX

# The words of a stream: when its last message arrives, until when what is sent goes down with a connection that will
# be given up, when the next connection is up, the number of the connection that this is about, and when the last
# repetition that gets through is made.
ARRIVES = 0
DOOMED_UNTIL = 1
UP_AT = 2
CONNECTION = 3
RECOVERS = 4
STREAM_WORDS = 5

OVERFLOWED = -4  # the answer of `departure_ns` for a message that the link's queue has no room for
GARBAGE = -5  # the answer of `transmission_ns` for one that the checksum refuses


def leaf_of(extra: Sequence[int], memory: MutableSequence[int], kind: int) -> int:
    """Return which behaviour holds for a message of that kind, and count it against the rules it matches."""
    bits = 0
    for rule in range(extra[RULES]):
        at = RULE_0 + RULE_WORDS * rule
        if extra[at] >> kind & 1:
            slot = extra[at + 2]
            if extra[at + 1] == 0:
                bits |= 1 << rule
            elif memory[slot] < extra[at + 1]:
                memory[slot] += 1
                bits |= 1 << rule
    return extra[LEAVES] + bits


def departure_ns(extra: Sequence[int], memory: MutableSequence[int], now: int, size: int) -> int:
    """Return when a message of `size` bytes has left: after holds, when the link has sent what is before it and itself.

    OVERFLOWED if it would wait longer than QUEUE_NS for the link (drop tail: what waits stays, the new one goes).
    """
    start = max(now, extra[HOLD_UNTIL_NS])
    if extra[BYTES_PER_S] == 0:
        return start
    slot = extra[QUEUE_SLOT]
    begin = max(start, memory[slot])
    if begin - start > extra[QUEUE_NS]:
        return OVERFLOWED
    memory[slot] = begin + size * 1_000_000_000 // extra[BYTES_PER_S]
    return memory[slot]


def chain_takes(extra: Sequence[int], memory: MutableSequence[int], key: int) -> int:
    """Return 1 if a chain of loss takes the message with that key, else 0; every message moves the chain.

    Gilbert-Elliott as in tc-netem: first the state moves, then the state it had before decides. Correlated loss as
    tc-netem computes it: each draw is mixed with the one before, and the mix is compared with the share.
    """
    taken = 0
    slot = extra[CHAIN_SLOT]
    if slot >= 0:
        if memory[slot] == 0:
            memory[slot] = 1 + below(mix(key, CHAIN_START), extra[CHAIN_START_PPM])
        if memory[slot] == 1:
            taken = below(mix(key, CHAIN_LOSS), extra[CHAIN_GOOD_PPM])
            memory[slot] = 1 + below(mix(key, CHAIN_MOVE), extra[CHAIN_TO_BAD_PPM])
        else:
            taken = below(mix(key, CHAIN_LOSS), extra[CHAIN_BAD_PPM])
            memory[slot] = 2 - below(mix(key, CHAIN_MOVE), extra[CHAIN_TO_GOOD_PPM])
    slot = extra[CORRELATED_SLOT]
    if slot >= 0:
        last = memory[slot] - 1
        if last < 0:
            last = mix(key, CHAIN_START) >> 32
        value = mix(key, CORRELATED) >> 32
        value = (value * (1_000_000 - extra[CORRELATION_PPM]) + last * extra[CORRELATION_PPM]) // 1_000_000
        memory[slot] = value + 1
        if (value * 1_000_000) >> 31 < extra[CORRELATED_PPM]:
            taken = 1
    return taken


def is_corrupt(extra: Sequence[int], key: int) -> int:
    """Return 1 if the copy with that key arrives as garbage, else 0."""
    return below(mix(key, CORRUPT), extra[CORRUPT_PPM])


def redial_ns(extra: Sequence[int], down_ns: int, free_ns: int) -> int:
    """Return when a connection that broke at `down_ns` is replaced: dials wait BACKOFF_NS, doubling up to its cap, the
    first one at or after `free_ns` succeeds, and takes DIAL_NS.
    """
    wait = extra[BACKOFF_NS]
    at = down_ns + wait
    while at < free_ns:
        wait = min(2 * wait, extra[BACKOFF_CAP_NS])
        at += wait
    return at + extra[DIAL_NS]


def stream_start_ns(extra: Sequence[int], memory: MutableSequence[int], now: int, start: int) -> int:
    """Return when a message handed to a stream at `now` is first transmitted, at `start` or once a connection is up, or
    LOST if it goes down with a connection that will be given up.
    """
    at = extra[STREAM_SLOT]
    if memory[at + CONNECTION] != extra[KILLS]:
        memory[at + ARRIVES] = 0
        memory[at + DOOMED_UNTIL] = 0
        memory[at + UP_AT] = 0
        memory[at + RECOVERS] = 0
        memory[at + CONNECTION] = extra[KILLS]
    if now < memory[at + DOOMED_UNTIL]:
        return LOST
    return max(start, memory[at + UP_AT])


def transmission_ns(
    row: Sequence[int],
    extra: Sequence[int],
    tables: Sequence[Sequence[int]],
    memory: MutableSequence[int],
    time: int,
    key: int,
) -> int:
    """Return the delay of a transmission made at `time` under the row and extra in force then, or LOST, CUT_OFF or
    GARBAGE.
    """
    if row[CUT]:
        return CUT_OFF
    if chain_takes(extra, memory, key):
        return LOST
    if is_corrupt(extra, key):
        return GARBAGE
    delay = copy_delay_ns(row, tables, key)
    if delay >= 0 and extra[HOLD_UNTIL_NS] > time:
        delay += extra[HOLD_UNTIL_NS] - time
    return delay


def arrival_ns(extra: Sequence[int], memory: MutableSequence[int], time: int, delay: int, is_repeat: int) -> int:
    """Return when a message arrives whose transmission at `time` gets through after `delay`: never before one that was
    sent earlier.
    """
    at = extra[STREAM_SLOT]
    memory[at + ARRIVES] = max(time + delay, memory[at + ARRIVES])
    if is_repeat:
        memory[at + RECOVERS] = max(time, memory[at + RECOVERS])
    return memory[at + ARRIVES]


def repeat_ns(extra: Sequence[int], memory: MutableSequence[int], time: int, wait: int) -> int:
    """Return when a transmission made at `time` is repeated: after `wait`, or at once when a repetition of an earlier
    message gets through, for then the sender learns that the link carries again.
    """
    recovers = memory[extra[STREAM_SLOT] + RECOVERS]
    return recovers if recovers > time else time + wait


def give_up(extra: Sequence[int], memory: MutableSequence[int], time: int) -> None:
    """End the connection at `time`: what is sent until then goes down with it, later messages wait for the next."""
    memory[extra[STREAM_SLOT] + DOOMED_UNTIL] = time
    memory[extra[STREAM_SLOT] + UP_AT] = redial_ns(extra, time, extra[FREE_AT_NS])
