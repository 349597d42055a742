"""Quorum staleness (PBS), quorum availability and redundant reads: `lab.protocols.quorum` over laws as link tables."""

from __future__ import annotations

from functools import lru_cache, partial
from math import exp

import numpy as np
from numpy.typing import NDArray

from lab.core import quantiles
from lab.engines import compiled
from lab.protocols.quorum import Quorum
from validation.case import Case, Estimate, quantile, seeds, share
from validation.world import IDEAL, MS, Leg, Table, constant, mixture, shifted, workload, world

GROUP = "quorums"
PBS = "Bailis et al. 2012, Probabilistically Bounded Staleness for Practical Partial Quorums"
TRIALS_A_RUN = 20_000
LIMIT = "the slowest of three replies lies in the last interval of the link tables, beyond the quantile 1 - 1/4096"


def pareto_cdf(minimum: float, shape: float, x: float) -> float:
    """P(X <= x) of the Pareto law, milliseconds."""
    return 1 - (minimum / x) ** shape if x > minimum else 0.0


def exponential_cdf(rate: float, x: float) -> float:
    """P(X <= x) of the exponential law, rate per millisecond."""
    return 1 - exp(-rate * x)


@lru_cache(maxsize=1)
def ssd() -> Table:
    """LNKD-SSD of the paper: every leg."""
    return mixture([(0.9122, partial(pareto_cdf, 0.235, 10)), (0.0878, partial(exponential_cdf, 1.66))], 0, 100)


@lru_cache(maxsize=1)
def disk() -> Table:
    """LNKD-DISK of the paper: the write leg; its other legs are those of LNKD-SSD."""
    return mixture([(0.38, partial(pareto_cdf, 1.05, 1.51)), (0.62, partial(exponential_cdf, 0.183))], 0, 10_000)


@lru_cache(maxsize=1)
def redundant() -> Table:
    """The read leg of the redundancy study: 98.2 % Pareto(1.5, 3.8), 1.8 % Exp(.0217)."""
    return mixture([(0.982, partial(pareto_cdf, 1.5, 3.8)), (0.018, partial(exponential_cdf, 0.0217))], 0, 2000)


Legs = tuple[Table, Table, Table, Table]  # W, A, R, S
Latencies = NDArray[np.float64]


def legs_of(name: str) -> Legs:
    """Return the four legs of a model."""
    if name == "SSD":
        return (ssd(),) * 4
    if name == "WAN":
        return (disk(), ssd(), ssd(), ssd())
    if name == "redundant":
        return (constant(0), constant(0), redundant(), redundant())
    rate = float(name)  # exponential writes of this rate, the other legs of rate 1
    unit = quantiles.exponential(MS)
    return (quantiles.exponential(round(MS / rate)), unit, unit, unit)


@lru_cache(maxsize=64)
def trials(
    name: str, replicas: int, read_quorum: int, write_quorum: int, after_ms: int, key: int, n: int
) -> tuple[int, Latencies, Latencies]:
    """Return (consistent reads, read latencies, write latencies) of n writes, each followed by a read; milliseconds."""
    sites = replicas if name == "WAN" else 1
    write, ack, request, reply = legs_of(name)
    first_reader = replicas + sites

    def leg(source: int, target: int) -> Leg:
        coordinator, replica = max(source, target), min(source, target)
        if not (replica < replicas <= coordinator < first_reader + sites):
            return IDEAL
        is_write = coordinator < first_reader
        table = (write if is_write else request) if source == coordinator else (ack if is_write else reply)
        site = coordinator - replicas if is_write else coordinator - first_reader
        return Leg(shifted(table, 75 * MS) if name == "WAN" and site != replica else table)

    params = {
        "replicas": replicas, "write_quorum": write_quorum, "read_quorum": read_quorum, "writers": sites,
        "readers": sites, "read_after_ns": after_ms * MS, "timeout_ns": 0, "repair": 0,
    }  # fmt: skip
    a_run = min(n, TRIALS_A_RUN)
    scenario = world(
        Quorum, params, nodes=replicas + 2 * sites, horizon_ns=(a_run + 5) * 2000 * MS, leg=leg,
        workload=workload("constant(0.5/s)", f"{2 * a_run + 1}s", keys=1),
    )  # fmt: skip
    fresh, reads, writes = 0, [], []
    for history in compiled.histories(scenario, seeds(key, n // a_run)):
        operations, applies = history.operations, history.applies
        at_client = applies.replica == replicas + 2 * sites
        tokens = applies.token[at_client]
        reads.append((applies.time_ns[at_client] - operations.acknowledged_ns[tokens]) / MS - after_ms)
        writes.append((operations.acknowledged_ns - operations.intended_ns) / MS)
        fresh += history.counters["fresh"]
    return fresh, np.concatenate(reads), np.concatenate(writes)


def consistent(
    name: str, read_quorum: int, write_quorum: int, after_ms: int, target: float, key: int, n: int
) -> Estimate:
    """Return the share of reads that see the write."""
    fresh, reads, _ = trials(name, 3, read_quorum, write_quorum, after_ms, key, n)
    return share(fresh, len(reads), target)


def latency(name: str, replicas: int, quorum: int, which: str, q: float, key: int, n: int) -> Estimate:
    """Return a quantile of the latency of reads or writes, milliseconds."""
    read_quorum, write_quorum = (quorum, 1) if which == "read" else (1, quorum)
    _, reads, writes = trials(name, replicas, read_quorum, write_quorum, 0, key, n)
    return quantile(reads if which == "read" else writes, q)


def available(replicas: int, needed: int, loss_ppm: int, target: float, key: int, n: int) -> Estimate:
    """Return the share of puts that reach a write quorum when every replica is unreachable with a probability."""
    params = {
        "replicas": replicas, "write_quorum": needed, "read_quorum": 1, "writers": 1, "readers": 0,
        "read_after_ns": -1, "timeout_ns": 10 * MS, "repair": 0,
    }  # fmt: skip

    def leg(source: int, target: int) -> Leg:
        return Leg(loss_ppm=loss_ppm) if source == replicas and target < replicas else IDEAL

    a_run = min(n, 100_000)
    scenario = world(
        Quorum, params, nodes=replicas + 1, horizon_ns=(a_run + 5) * 20 * MS, leg=leg,
        workload=workload("constant(50/s)", f"{20 * a_run + 10}ms", keys=1),
    )  # fmt: skip
    runs = compiled.run_many(scenario, seeds(key, n // a_run))
    operations, failed = int(runs.operations.sum()), int(runs.counters["failed"].sum())
    return share(operations - failed, operations, target)


def _staleness() -> list[Case]:
    text = "quorum protocol, WARS legs as link tables, the client reads {} after the acknowledgement; share of reads"
    rows = [
        ("SSD", 1, 1, 0, 0.97361), ("SSD", 1, 2, 0, 0.97831), ("SSD", 2, 1, 0, 0.99941), ("SSD", 1, 1, 10, 1.0),
        ("SSD", 3, 1, 0, 1.0), ("WAN", 1, 1, 0, 0.3336), ("WAN", 1, 1, 10, 0.3337),
        ("4", 1, 1, 0, 0.9429), ("2", 1, 1, 0, 0.8667), ("1", 1, 1, 0, 0.7521), ("0.5", 1, 1, 0, 0.6252),
        ("0.2", 1, 1, 0, 0.4873), ("0.1", 1, 1, 0, 0.4198),
    ]  # fmt: skip
    return [
        Case(
            f"PBS {name} R={r} W={w} P(consistent, t={t} ms)" if name in ("SSD", "WAN")
            else f"PBS exponential writes rate {name}: P(consistent, t=0)",
            GROUP, text.format(f"{t} ms") + " that see the write", PBS,
            partial(consistent, name, r, w, t, target), target, full=400_000, small=20_000,
            target_error=0.5e-4 if name != "SSD" else 0.5e-5,
        )
        for name, r, w, t, target in rows
    ]  # fmt: skip


def _latencies() -> list[Case]:
    text = "quorum protocol, WARS legs as link tables; 99.9 % quantile of {} latency, ms"
    cut = "; slack for the link tables, which end at the quantile 1 - 1/8192"
    rows = [
        ("SSD", 3, 1, "read", 0.655, 0.002, 0.002), ("SSD", 3, 2, "read", 1.630, 0.008, 0.01),
        ("SSD", 3, 3, "read", 4.112, 0.019, 0.06), ("SSD", 3, 2, "write", 1.631, 0.011, 0.01),
        ("WAN", 3, 1, "read", 3.429, 0.024, 0.02), ("WAN", 3, 1, "write", 55.2, 1.1, 0.5),
    ]  # fmt: skip
    return [
        Case(
            f"PBS {name} {which} quorum {quorum} p99.9", GROUP, text.format(which) + cut, PBS,
            partial(latency, name, replicas, quorum, which, 0.999), target, full=400_000, small=20_000,
            target_error=error / 20**0.5, slack=slack, limit=LIMIT if quorum == 3 else "",
        )
        for name, replicas, quorum, which, target, error, slack in rows
    ]  # fmt: skip


def _redundancy() -> list[Case]:
    rows = [
        (1, 1, 168.19), (2, 1, 11.05), (2, 2, 200.39), (3, 1, 5.60), (3, 2, 32.95), (3, 3, 219.23), (4, 2, 6.47),
        (4, 3, 48.90), (5, 3, 7.41), (5, 4, 60.70),
    ]  # fmt: skip
    text = (
        "quorum protocol: a read of {} replicas returns after {}; p99.9, ms; slack 1 % for the link tables, which"
        " end at the quantile 1 - 1/8192"
    )
    return [
        Case(
            f"redundant reads, send {k} wait for {w}, p99.9", GROUP, text.format(k, w),
            "exact convolution of the law published by P. Bailis, 2012-09-20",
            partial(latency, "redundant", k, w, "read", 0.999), target, full=400_000, small=20_000,
            slack=0.01 * target, limit=LIMIT if (k, w) == (3, 3) else "",
        )
        for k, w, target in rows
    ]  # fmt: skip


def _availability() -> list[Case]:
    rows = [(3, 2, 10_000, 0.999702), (5, 3, 100_000, 0.99144), (5, 3, 10_000, 0.99999015)]
    return [
        Case(
            f"quorum {q} of {n}, each up with {1 - loss / 1e6:.2f}", GROUP,
            "quorum protocol: the write leg loses messages independently; share of puts that succeed",
            "binomial law", partial(available, n, q, loss, target), target, full=1_000_000, small=100_000,
        )
        for n, q, loss, target in rows
    ]  # fmt: skip


CASES = [*_staleness(), *_latencies(), *_redundancy(), *_availability()]
CONTROLS = [
    Case(
        "control: writes half as fast", GROUP, "exponential writes of rate .5 held against the target of rate 1", PBS,
        partial(consistent, "0.5", 1, 1, 0, 0.7521), 0.7521, full=20_000, small=20_000, flaw="rate halved",
    ),
    Case(
        "control: waits for one reply more", GROUP, "two of three replies held against the target of one of three",
        "exact convolution", partial(latency, "redundant", 3, 2, "read", 0.999), 5.60, full=20_000, small=20_000,
        slack=0.056, flaw="read quorum + 1",
    ),
    Case(
        "control: loss doubled", GROUP, "2 % loss held against the target of 1 %", "binomial law",
        partial(available, 3, 2, 20_000, 0.999702), 0.999702, full=100_000, small=100_000, flaw="loss doubled",
    ),
]  # fmt: skip
