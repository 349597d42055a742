"""Integer inverse-CDF tables: a delay law is 4,097 integer knots, a draw looks one up and interpolates.

Built once in Python from floats; inside a run only integers are read, so every executor (and the Go toxic) gets the
same
nanoseconds. The end knots sit at probabilities 1/8192 and 1 - 1/8192, which bounds unbounded laws there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist

KNOTS = 4097
INTERVALS = KNOTS - 1
LARGEST_NS = 1 << 39  # about nine minutes: keeps every product in the lookup within 63 bits

_NORMAL = NormalDist()


def lookup(table: Sequence[int], draw: int) -> int:
    """Return the table's quantile at the 63-bit `draw`: 12 bits choose the knot, 20 bits interpolate."""
    index = draw >> 51
    low = table[index]
    return low + (((table[index + 1] - low) * ((draw >> 31) & 0xFFFFF)) >> 20)


def probabilities() -> list[float]:
    """Return the probability at each knot."""
    inner = [index / INTERVALS for index in range(1, INTERVALS)]
    return [0.5 / INTERVALS, *inner, 1 - 0.5 / INTERVALS]


def from_inverse(inverse: Callable[[float], float]) -> tuple[int, ...]:
    """Tabulate an inverse CDF that yields nanoseconds; values are clipped to [0, LARGEST_NS]."""
    table = [min(max(round(inverse(p)), 0), LARGEST_NS) for p in probabilities()]
    return tuple(table)


def constant(value_ns: int) -> tuple[int, ...]:
    """Return the table of a constant."""
    return (value_ns,) * KNOTS


def uniform(low_ns: int, high_ns: int) -> tuple[int, ...]:
    """Return the table of the uniform law on [low_ns, high_ns]."""
    span = high_ns - low_ns
    return tuple(low_ns + span * index // INTERVALS for index in range(KNOTS))


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
    return from_inverse(lambda p: median_ns * exp(sigma * _NORMAL.inv_cdf(p)))


def pareto(minimum_ns: int, shape_ppm: int) -> tuple[int, ...]:
    """Return the table of the Pareto law with least value `minimum_ns` and tail exponent `shape_ppm` millionths."""
    exponent = -1_000_000 / shape_ppm
    return from_inverse(lambda p: minimum_ns * (1 - p) ** exponent)


def samples(values_ns: Sequence[int]) -> tuple[int, ...]:
    """Return the table of an empirical sample (at least 2 values), linear between order statistics."""
    ordered = sorted(values_ns)
    last = len(ordered) - 1
    table = []
    for index in range(KNOTS):
        position = index * last
        low = ordered[position // INTERVALS]
        high = ordered[min(position // INTERVALS + 1, last)]
        table.append(low + (high - low) * (position % INTERVALS) // INTERVALS)
    return tuple(table)
