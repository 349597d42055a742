"""Integer inverse-CDF tables: a delay law is 4,145 integer knots, a draw looks one up and interpolates.

Built once in Python from floats; inside a run only integers are read, so every executor (and the Go toxic) gets the
same nanoseconds. Knots lie 1/4096 apart up to the probability 1 - 1/4096; from there four lie in each halving of what
is left, down to 1 - 2**-24, because the slowest of many messages comes from there. The end knots sit at probabilities
1/8192 and 1 - 2**-25, which bounds unbounded laws there.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from statistics import NormalDist

INTERVALS = 4096
TAIL = 4095  # the knot at 1 - 2**-12, where the finer intervals begin
HALVINGS = 12
STEPS = 4  # intervals in each halving
LAST = TAIL + HALVINGS * STEPS  # the knot at 1 - 2**-24; the one behind it ends the table
KNOTS = LAST + 2
WHOLE = 1 << 28  # the probability 1 in the unit of `places`: fine enough that every knot is a whole number
LARGEST_NS = 1 << 39  # about nine minutes: keeps every product in the lookup within 63 bits

_NORMAL = NormalDist()


def lookup(table: Sequence[int], draw: int) -> int:
    """Return the table's quantile at the 63-bit `draw`: 12 bits choose the knot, 20 bits interpolate."""
    index = draw >> 51
    if index == TAIL:
        return tail_lookup(table, draw)
    low = table[index]
    return low + (((table[index + 1] - low) * ((draw >> 31) & 0xFFFFF)) >> 20)


def tail_lookup(table: Sequence[int], draw: int) -> int:
    """Return the table's quantile at a draw in the last 4,096th: knots four to each halving of the distance to 1."""
    left = 0x7FFFFFFFFFFFFFFF - draw + 1  # in units of 2**-63, from 1 to 2**51
    place = TAIL
    width = 50  # the halving from 2**(width + 1) down to 2**width
    while place < LAST and left <= 1 << width:
        place += STEPS
        width -= 1
    if place == LAST:
        passed = ((2 << width) - left) >> (width - 19)  # the rest of the table is one interval
    else:
        passed = ((2 << width) - left) >> (width - 22)
        place += passed >> 20
        passed &= 0xFFFFF
    low = table[place]
    return low + (((table[place + 1] - low) * passed) >> 20)


def places() -> list[int]:
    """Return the probability of each knot, in units of 1 / WHOLE; the first is 0 and the last is 1."""
    found = [index * (WHOLE // INTERVALS) for index in range(TAIL)]
    for halving in range(HALVINGS):
        left = WHOLE >> (12 + halving)
        found += [WHOLE - left + step * (left // (2 * STEPS)) for step in range(STEPS)]
    return [*found, WHOLE - (WHOLE >> 24), WHOLE]


def probabilities() -> list[float]:
    """Return the probability at each knot; the ends lie half an interval inside."""
    inner = [place / WHOLE for place in places()[1:-1]]
    return [0.5 / INTERVALS, *inner, 1 - 2.0**-25]


def from_inverse(inverse: Callable[[float], float]) -> tuple[int, ...]:
    """Tabulate an inverse CDF that yields nanoseconds; values are clipped to [0, LARGEST_NS]."""
    return tuple(_clipped(inverse(p)) for p in probabilities())


def _clipped(value: float) -> int:
    return round(min(max(value, 0), LARGEST_NS))  # clipped before it is rounded: it may be infinite


def constant(value_ns: int) -> tuple[int, ...]:
    """Return the table of a constant."""
    return (value_ns,) * KNOTS


def uniform(low_ns: int, high_ns: int) -> tuple[int, ...]:
    """Return the table of the uniform law on [low_ns, high_ns]."""
    span = high_ns - low_ns
    return tuple(low_ns + span * place // WHOLE for place in places())


def normal(mean_ns: int, deviation_ns: int) -> tuple[int, ...]:
    """Return the table of the normal law, cut at 0."""
    return from_inverse(lambda p: mean_ns + deviation_ns * _NORMAL.inv_cdf(p))


def exponential(mean_ns: int) -> tuple[int, ...]:
    """Return the table of the exponential law."""
    from math import log1p

    return from_inverse(lambda p: -mean_ns * log1p(-p))


def lognormal(median_ns: int, p99_ns: int) -> tuple[int, ...]:
    """Return the table of the lognormal law with the given median and 99th percentile."""
    from math import exp, log

    sigma = log(p99_ns / median_ns) / _NORMAL.inv_cdf(0.99)
    return from_inverse(lambda p: median_ns * exp(min(sigma * _NORMAL.inv_cdf(p), 600.0)))


def pareto(minimum_ns: int, shape_ppm: int) -> tuple[int, ...]:
    """Return the table of the Pareto law with least value `minimum_ns` and tail exponent `shape_ppm` millionths."""
    exponent = -1_000_000 / shape_ppm
    return from_inverse(lambda p: minimum_ns * (1 - p) ** exponent)


def samples(values_ns: Sequence[int]) -> tuple[int, ...]:
    """Return the table of an empirical sample (at least 2 values), linear between order statistics."""
    ordered = sorted(values_ns)
    last = len(ordered) - 1
    table = []
    for place in places():
        position = place * last
        low = ordered[position // WHOLE]
        high = ordered[min(position // WHOLE + 1, last)]
        table.append(low + (high - low) * (position % WHOLE) // WHOLE)
    return tuple(table)


def steps(points: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Return the table of a cumulative count: `points` are (value in ns, how many values are at most that), both not
    falling, linear between them. The first point's count is the number of values that equal its value.
    """
    return _inverted([(value, float(count)) for value, count in points])


def mixture(parts: Sequence[tuple[int, Sequence[int]]]) -> tuple[int, ...]:
    """Return the table of a mixture: each part is (weight, table); a value comes from a part with chance ~ weight.

    The parts' distribution functions, linear between their knots, are added up and inverted.
    """
    total = sum(weight for weight, _ in parts)
    at = [0.0, *[place / WHOLE for place in places()[1:-1]], 1.0]
    points: list[tuple[int, float]] = []
    for value in sorted({value for _, table in parts for value in table}):
        below = sum(weight * _reached(table, at, value, bisect_left(table, value), False) for weight, table in parts)
        upto = sum(weight * _reached(table, at, value, bisect_right(table, value), True) for weight, table in parts)
        points += [(value, below / total), (value, upto / total)]
    return _inverted(points)


def _reached(table: Sequence[int], at: Sequence[float], value: int, place: int, is_upto: bool) -> float:
    """Return the chance of a value below (or at most) `value`; `place` is where it would be inserted into the table."""
    if place == 0:
        return 0.0
    if place == len(table):
        return 1.0
    if is_upto and table[place - 1] == value:
        return at[place - 1]
    low, high = table[place - 1], table[place]
    return at[place - 1] + (at[place] - at[place - 1]) * (value - low) / (high - low)


def _inverted(points: Sequence[tuple[int, float]]) -> tuple[int, ...]:
    """Return the table of a distribution function given by points (value, cumulative weight), linear between them."""
    reached = [weight for _, weight in points]
    total = reached[-1]
    table = []
    for place in places():
        wanted = total * place / WHOLE
        above = min(bisect_left(reached, wanted) if place else bisect_right(reached, 0.0), len(points) - 1)
        value, weight = points[above]
        if above > 0 and weight > reached[above - 1]:
            low, before = points[above - 1]
            value = low + round((value - low) * (wanted - before) / (weight - before))
        table.append(min(max(value, 0), LARGEST_NS))
    return tuple(table)
