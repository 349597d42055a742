"""Keyed randomness: a draw is a pure function of a key, never taken from a generator.

A key is a 63-bit non-negative integer. `mix` derives a new key (which is also a uniform draw) from a key and a word;
`below` turns a draw into a Bernoulli decision and `scale` into a uniform integer. The same functions exist in the Go
and
Rust replicas and in the Toxiproxy toxic; `compose/golden/draws.json` holds them together.
"""

from __future__ import annotations

MASK_64 = (1 << 64) - 1
KEY_BITS = 63
ONE_MILLION = 1_000_000

# Words that keep the draws made for different purposes apart. They are part of every stored result: never renumber.
ARRIVAL_TIME = 1
ARRIVAL_KEY = 2
NODE_START = 3
NODE_RESTART = 4
EFFECT_SEND = 5
EFFECT_TIMER = 6
HANDLER_DRAW = 7
LOSS = 8
DUPLICATE = 9
REORDER = 10
DELAY = 11
COPY = 12
LINK = 13
RUN = 14
SETTING = 15
BURST = 16
BURST_LOSS = 17
CHAIN_START = 18
CHAIN_MOVE = 19
CHAIN_LOSS = 20
CORRELATED = 21
CORRUPT = 22
RETRANSMIT = 23
SERVICE = 24
SCHEDULE = 25


def mix(key: int, word: int) -> int:
    """Return the 63-bit key derived from `key` (63-bit) and `word` (any int64), by the SplitMix64 finaliser.

    The multiplication of `key` before `word` is added makes the order of words matter.
    """
    z = (key * 0xD1342543DE82EF95 + word + 0x9E3779B97F4A7C15) & MASK_64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK_64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK_64
    return (z ^ (z >> 31)) >> 1


def scale(draw: int, bound: int) -> int:
    """Return a uniform integer in [0, bound) from a 63-bit draw; `bound` in [1, 2**39)."""
    return ((draw >> 39) * bound) >> 24


def below(draw: int, ppm: int) -> int:
    """Return 1 with probability `ppm` millionths (0..1_000_000), else 0, from a 63-bit draw."""
    return 1 if ((draw >> 23) * ONE_MILLION) >> 40 < ppm else 0


def chain(key: int, *words: int) -> int:
    """Return `key` mixed with each word in turn."""
    for word in words:
        key = mix(key, word)
    return key
