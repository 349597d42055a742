"""Integer laws and estimators of remote calls: service times, RFC 6298 timeouts, a moving quantile.

All are pure functions of 64-bit integers, so that they are the same interpreted and compiled. Service times are
computed, not tabulated: link delays end at the quantile 1 - 2**-25, these at 1 - 2**-63.
"""

from __future__ import annotations

from collections.abc import Callable

from lab.core.draws import ONE_MILLION, mix, scale

LAW_CONSTANT = 0
LAW_EXPONENTIAL = 1
LAW_LOGNORMAL = 2
LAWS = {"constant": LAW_CONSTANT, "exponential": LAW_EXPONENTIAL, "lognormal": LAW_LOGNORMAL}

SERVICE_MAX_NS = 1 << 33  # of a mean or median, about 8.6 s: keeps every product within 63 bits


def exponential_ns(mean_ns: int, draw: int) -> int:
    """Return an exponential time from a 63-bit draw: mean x -ln(draw / 2**63); `mean_ns` up to 2**33.

    The logarithm to base 2 is found bit by bit, by squaring; the error is below 1e-7 of the mean.
    """
    mantissa = max(draw, 1)
    halvings = 1  # the draw is mantissa / 2**62 / 2**halvings with a mantissa in [2**62, 2**63)
    while mantissa < 4611686018427387904:
        mantissa = mantissa << 1
        halvings += 1
    square = mantissa >> 32  # in [1, 2), 30 bits behind the point
    logarithm = 0
    for _ in range(24):
        square = square * square >> 30
        logarithm = logarithm << 1
        if square >= 2147483648:
            square = square >> 1
            logarithm += 1
    nats = ((halvings << 24) - logarithm) * 744261118 >> 30  # 744261118 is ln 2 with 30 bits
    return mean_ns * nats >> 24


def lognormal_ns(median_ns: int, sigma_ppm: int, draw: int) -> int:
    """Return a nearly lognormal time, median x exp(sigma x z), at most 2**38 ns; `median_ns` up to 2**33.

    `z` is a sum of twelve uniform numbers less 6 (mean 0, variance 1, never beyond 6): the 99th percentile of z is
    2.315 where the normal law's is 2.326. `sigma_ppm` is up to 3,000,000.
    """
    total = -6291456  # 6 with 20 bits behind the point
    for word in range(4):
        bits = mix(draw, word)
        total += (bits & 0xFFFFF) + (bits >> 20 & 0xFFFFF) + (bits >> 40 & 0xFFFFF)
    power = total * sigma_ppm // ONE_MILLION * 1512775 >> 20  # of 2: 1512775 is 1 / ln 2 with 20 bits
    part = (power & 0xFFFFF) << 10
    # The Taylor series of 2**x, 30 bits behind the point; the last coefficient carries the rest (error below 1e-5).
    series = 10327388 + (part * 1614983 >> 30)
    series = 59597083 + (part * series >> 30)
    series = 257941904 + (part * series >> 30)
    series = 744261118 + (part * series >> 30)
    series = 1073741824 + (part * series >> 30)
    value_ns = median_ns * (series >> 10) >> 20
    whole = power >> 20
    value_ns = value_ns << min(whole, 28) if whole >= 0 else value_ns >> min(-whole, 62)
    return min(value_ns, 274877906944)


def service_time_ns(law: int, service_ns: int, sigma_ppm: int, draw: int) -> int:
    """Return the service time of a law; `service_ns` is its mean, of a lognormal law its median."""
    if law == LAW_EXPONENTIAL:
        return exponential_ns(service_ns, draw)
    if law == LAW_LOGNORMAL:
        return lognormal_ns(service_ns, sigma_ppm, draw)
    return service_ns


def variation_ns(smoothed: int, variation: int, sample_ns: int) -> int:
    """Return RTTVAR after a sample, from the SRTT before it (RFC 6298, 2.2 and 2.3); a smoothed time of 0 is none."""
    return sample_ns // 2 if smoothed == 0 else (3 * variation + abs(smoothed - sample_ns)) // 4


def smoothed_ns(smoothed: int, sample_ns: int) -> int:
    """Return SRTT after a sample (RFC 6298, 2.2 and 2.3)."""
    return sample_ns if smoothed == 0 else (7 * smoothed + sample_ns) // 8


def retransmit_ns(smoothed: int, variation: int, least_ns: int, most_ns: int) -> int:
    """Return the timeout SRTT + 4 RTTVAR within bounds (RFC 6298, 2.3 to 2.5; the clock's grain is 0)."""
    return max(least_ns, min(most_ns, smoothed + 4 * variation))


def quantile_ns(estimate_ns: int, is_above: int, quantile_ppm: int) -> int:
    """Return a moving quantile after a sample that was above it (1) or not (0).

    The steps are 1/16 of the estimate times the quantile's share up, the rest of it down, so that they nearly
    cancel when the share of samples above is 1 - quantile: in the long run it is 1.03 times that.
    """
    step_ns = estimate_ns // 16 + 1
    if is_above:
        return estimate_ns + step_ns * quantile_ppm // ONE_MILLION
    return max(1, estimate_ns - step_ns * (ONE_MILLION - quantile_ppm) // ONE_MILLION)


def pick(draw: int, count: int, spared: int) -> int:
    """Return one of `count` servers from a 63-bit draw, any but `spared` (-1 spares none, else `count` > 1)."""
    if spared < 0:
        return scale(draw, count)
    chosen = scale(draw, count - 1)
    return chosen + 1 if chosen >= spared else chosen


LIFTED: tuple[Callable[..., int], ...] = (
    exponential_ns, lognormal_ns, service_time_ns, variation_ns, smoothed_ns, retransmit_ns, quantile_ns, pick,
)  # fmt: skip
