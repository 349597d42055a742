"""The open-loop workload: when operations are intended, and on which keys, as a pure function of (workload, seed)."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from lab.core import draws, quantiles
from lab.core.section import Section
from lab.core.units import (
    DurationNs,
    PositiveDurationNs,
    RateMillihertz,
    parse_rate_millihertz,
    rate_text,
    shown,
)

OPERATIONS_MAX = 200_000
_UNIT_MEAN_NS = 1 << 30  # exponential gaps are drawn with this mean, then divided by the rate


@dataclass(frozen=True, slots=True)
class Arrivals:
    """`poisson(200/s)`, `constant(200/s)` or, of a protocol without a client, `none`; the rate in events per 1,000
    seconds.
    """

    shape: str
    rate_millihertz: int


NO_ARRIVALS = Arrivals("none", 0)


def _parse_arrivals(value: Any) -> Arrivals:
    if isinstance(value, Arrivals):
        return value
    if value == "none":
        return NO_ARRIVALS
    match = re.fullmatch(r"(poisson|constant)\((.+)\)", value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"{shown(value)} is not an arrival process; write poisson(200/s) or constant(200/s)")
    return Arrivals(match.group(1), parse_rate_millihertz(match.group(2)))


def _parse_skew(value: Any) -> int:
    """Return the zipf exponent in thousandths; 0 is uniform."""
    if value == "uniform":
        return 0
    match = re.fullmatch(r"zipf\(([0-9]{1,3}(?:\.[0-9]{1,3})?)\)", value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"{shown(value)} is not a skew; write uniform or zipf(0.99) (at most 3 decimals)")
    thousandths = round(float(match.group(1)) * 1000)
    if thousandths > 5000:
        raise ValueError(f"{shown(value)}: the exponent is over 5")
    return thousandths


class Spike(Section):
    """Extra arrivals of the same process at `rate` during [at, at + for)."""

    at: DurationNs
    for_: PositiveDurationNs = Field(alias="for")
    rate: RateMillihertz


class Client(Section):
    """The client beside the leader: it repeats an unanswered write under the same token until `deadline`."""

    deadline: PositiveDurationNs = 2_000_000_000
    timeout: PositiveDurationNs = 500_000_000
    attempts: Annotated[int, Field(ge=1, le=100)] = 4


class Workload(Section):
    """Operations that arrive independent of how they are answered (open loop). A protocol without a client has none."""

    arrivals: Annotated[
        Arrivals,
        BeforeValidator(_parse_arrivals),
        PlainSerializer(lambda a: f"{a.shape}({rate_text(a.rate_millihertz)})" if a.rate_millihertz else a.shape),
        WithJsonSchema({"type": "string", "examples": ["poisson(200/s)", "constant(200/s)"]}),
    ] = NO_ARRIVALS
    duration: PositiveDurationNs
    keys: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    skew: Annotated[
        int,
        BeforeValidator(_parse_skew),
        PlainSerializer(lambda t: f"zipf({t / 1000:g})" if t else "uniform"),
        WithJsonSchema({"type": "string", "examples": ["uniform", "zipf(0.99)"]}),
    ] = Field(default="uniform", validate_default=True)
    spikes: Annotated[list[Spike], Field(max_length=256)] = []
    client: Client = Client()

    def expected_operations(self) -> int:
        """Return the mean number of operations, rounded up."""
        total = self.arrivals.rate_millihertz * self.duration
        total += sum(spike.rate * spike.for_ for spike in self.spikes)
        return -(-total // 1_000_000_000_000)


@dataclass(frozen=True, slots=True)
class Operation:
    """One intended write. Its number in the list is its token; `at_ns` counts from the start of the run."""

    at_ns: int
    key: int


@lru_cache(maxsize=1)
def _exponential() -> tuple[int, ...]:
    return quantiles.exponential(_UNIT_MEAN_NS)


@lru_cache(maxsize=8)
def _zipf_ends(keys: int, thousandths: int) -> tuple[int, ...]:
    """Return cumulative integer weights of ranks 1..keys with weight rank**-s."""
    weights = [max(1, round((1 << 40) * rank ** (-thousandths / 1000))) for rank in range(1, keys + 1)]
    return tuple(accumulate(weights))


def _stream_ns(arrivals: Arrivals, start_ns: int, stop_ns: int, key: int) -> list[int]:
    times: list[int] = []
    now_ns, number = start_ns, 0
    table = _exponential()
    while len(times) <= OPERATIONS_MAX:
        if arrivals.shape == "poisson":
            unit_gap = quantiles.lookup(table, draws.chain(key, draws.ARRIVAL_TIME, number))
            now_ns += unit_gap * 1_000_000_000_000 // (arrivals.rate_millihertz * _UNIT_MEAN_NS)
        else:
            now_ns = start_ns + (number + 1) * 1_000_000_000_000 // arrivals.rate_millihertz
        if now_ns >= stop_ns:
            break
        times.append(now_ns)
        number += 1
    return times


def operations(workload: Workload, seed: int) -> list[Operation]:
    """Return the run's operations in order of intended time; the same for every executor, policy and fault.

    Raise ValueError beyond 200,000 operations.
    """
    if workload.arrivals == NO_ARRIVALS:
        return []
    run_key = draws.chain(seed, draws.RUN)
    times = _stream_ns(workload.arrivals, 0, workload.duration, draws.mix(run_key, 0))
    for number, spike in enumerate(workload.spikes, start=1):
        source = Arrivals(workload.arrivals.shape, spike.rate)
        stop_ns = min(spike.at + spike.for_, workload.duration)
        times += _stream_ns(source, spike.at, stop_ns, draws.mix(run_key, number))
    times.sort()
    if len(times) > OPERATIONS_MAX:
        raise ValueError(f"{len(times)} operations are over the limit of {OPERATIONS_MAX} a run")
    return [Operation(at_ns, _key(workload, run_key, number)) for number, at_ns in enumerate(times)]


def spike_operations(workload: Workload, number: int, seed: int) -> int:
    """Return how many operations of a run come from spike `number` (from 1)."""
    spike = workload.spikes[number - 1]
    source = Arrivals(workload.arrivals.shape, spike.rate)
    key = draws.chain(seed, draws.RUN, number)
    return len(_stream_ns(source, spike.at, min(spike.at + spike.for_, workload.duration), key))


def _key(workload: Workload, run_key: int, number: int) -> int:
    draw = draws.chain(run_key, draws.ARRIVAL_KEY, number)
    if workload.skew == 0:
        return draws.scale(draw, workload.keys)
    ends = _zipf_ends(workload.keys, workload.skew)
    return bisect_right(ends, (draw * ends[-1]) >> draws.KEY_BITS)
