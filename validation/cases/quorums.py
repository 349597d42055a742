"""Quorum staleness (PBS), quorum availability and redundant reads: `lab.protocols.quorum` over laws as link tables."""

from __future__ import annotations

from functools import lru_cache, partial
from math import exp

import numpy as np
from numpy.typing import NDArray

from lab.core import quantiles
from lab.engines import compiled
from lab.protocols.quorum import PLAIN, Quorum
from validation.case import Case, Estimate, quantile, seeds, share
from validation.world import IDEAL, MS, Leg, Table, constant, mixture, shifted, workload, world

GROUP = "quorums"
PBS = "Bailis et al. 2012, Probabilistically Bounded Staleness for Practical Partial Quorums"
TRIALS_A_RUN = 20_000
WARM_UP = 100  # versions, so that there is something to be behind of
STALE = 0.001  # the share of stale reads at a time of 99.9 % visibility


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
    name: str, replicas: int, read_quorum: int, write_quorum: int, after_ns: int, key: int, n: int
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
        "readers": sites, "read_after_ns": after_ns, "timeout_ns": 0, "repair": 0,
        "copies": replicas, **PLAIN,
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
        reads.append((applies.time_ns[at_client] - operations.acknowledged_ns[tokens] - after_ns) / MS)
        writes.append((operations.acknowledged_ns - operations.intended_ns) / MS)
        fresh += history.counters["fresh"]
    return fresh, np.concatenate(reads), np.concatenate(writes)


def consistent(
    name: str, read_quorum: int, write_quorum: int, after_ms: float, target: float, key: int, n: int
) -> Estimate:
    """Return the share of reads that see the write."""
    fresh, reads, _ = trials(name, 3, read_quorum, write_quorum, round(after_ms * MS), key, n)
    return share(fresh, len(reads), target)


def stale(name: str, read_quorum: int, write_quorum: int, after_ms: float, key: int, n: int) -> Estimate:
    """Return the share of reads that miss the write; 0 is expected where the paper's time of 99.9 % is 0."""
    fresh, reads, _ = trials(name, 3, read_quorum, write_quorum, round(after_ms * MS), key, n)
    return share(len(reads) - fresh, len(reads), STALE)


@lru_cache(maxsize=2)
def versions_behind(replicas: int, key: int, n: int) -> NDArray[np.int64]:
    """Return how many versions each read is behind (0: the newest) where a write and a read reach one replica each.

    Writer and reader i have no link but that to replica i; which of them coordinates is drawn.
    """

    def leg(source: int, target: int) -> Leg:
        coordinator, replica = max(source, target), min(source, target)
        if replica < replicas <= coordinator < 3 * replicas:
            return Leg(loss_ppm=0 if coordinator % replicas == replica else 1_000_000)
        return IDEAL

    params = {
        "replicas": replicas, "write_quorum": 1, "read_quorum": 1, "writers": replicas, "readers": replicas,
        "read_after_ns": MS, "timeout_ns": 0, "repair": 0,
        "copies": replicas, **PLAIN,
    }  # fmt: skip
    scenario = world(
        Quorum, params, nodes=3 * replicas, horizon_ns=(TRIALS_A_RUN + 5) * 10 * MS, leg=leg,
        workload=workload("constant(100/s)", f"{10 * TRIALS_A_RUN + 1}ms", keys=1),
    )  # fmt: skip
    behind = []
    for history in compiled.histories(scenario, seeds(key, max(1, n // TRIALS_A_RUN))):
        applies = history.applies
        of_client = applies.replica == 3 * replicas
        behind.append((applies.token[of_client] + 1 - applies.sequence[of_client])[WARM_UP:])
    return np.concatenate(behind)


def within(versions: int, target: float, key: int, n: int) -> Estimate:
    """Return the share of reads that return one of the newest versions."""
    behind = versions_behind(3, key, n)
    return share(int(np.count_nonzero(behind < versions)), len(behind), target)


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
        "copies": replicas, **PLAIN,
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
        ("SSD", 3, 1, 0, 1.0), ("SSD", 1, 3, 0, 1.0), ("WAN", 1, 1, 0, 0.3336), ("WAN", 1, 1, 10, 0.3337),
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


def _visibility() -> list[Case]:
    """Times until 99.9 % of reads see the write: the share that misses it then must be .001."""
    text = "quorum protocol, WARS legs as link tables; share of reads that miss the write {:g} ms after its ack"
    # Time, its error in the recomputed target, and the rate (per ms) at which the share of stale reads falls there.
    rows = [
        ("SSD", 1, 1, 1.967, 0.0036, 1.66), ("SSD", 1, 2, 1.852, 0.004, 1.66), ("WAN", 1, 1, 116.1, 0.11, 0.04),
        ("4", 1, 1, 1.013, 0.0015, 4.0), ("2", 1, 1, 2.449, 0.002, 2.0), ("1", 1, 1, 5.51, 0.005, 1.0),
        ("0.5", 1, 1, 11.84, 0.01, 0.5), ("0.2", 1, 1, 31.2, 0.05, 0.2), ("0.1", 1, 1, 63.7, 0.1, 0.1),
    ]  # fmt: skip
    return [
        Case(
            f"PBS {name} R={r} W={w}: stale at {t:g} ms" if name in ("SSD", "WAN")
            else f"PBS exponential writes rate {name}: stale at {t:g} ms",
            GROUP, text.format(t), PBS + ", time until 99.9 % are consistent, recomputed",
            partial(stale, name, r, w, t), STALE, full=1_000_000, small=20_000, target_error=STALE * error * rate,
        )
        for name, r, w, t, error, rate in rows
    ]  # fmt: skip


def _versions() -> list[Case]:
    cases = []
    for versions in (2, 3, 5, 10):
        target = 1 - (2 / 3) ** versions
        cases.append(
            Case(
                f"PBS k-staleness N=3 R=W=1: within {versions} versions", GROUP,
                "quorum protocol, a write and a read reach one random replica each; share of reads that return one of"
                f" the newest {versions} versions; slack for dependent reads",
                PBS + ", 1 - (C(N-W,R) / C(N,R))^k", partial(within, versions, target), target, full=1_000_000,
                small=20_000, slack=0.0005,
            )
        )  # fmt: skip
    return cases


def _latencies() -> list[Case]:
    text = "quorum protocol, WARS legs as link tables; 99.9 % quantile of {} latency, ms"
    rows = [
        ("SSD", 3, 1, "read", 0.655, 0.002), ("SSD", 3, 2, "read", 1.630, 0.008), ("SSD", 3, 3, "read", 4.112, 0.019),
        ("SSD", 3, 1, "write", 0.654, 0.002), ("SSD", 3, 2, "write", 1.631, 0.011),
        ("SSD", 3, 3, "write", 4.109, 0.018), ("WAN", 3, 1, "read", 3.429, 0.024), ("WAN", 3, 1, "write", 55.2, 1.1),
    ]  # fmt: skip
    return [
        Case(
            f"PBS {name} {which} quorum {quorum} p99.9", GROUP, text.format(which), PBS,
            partial(latency, name, replicas, quorum, which, 0.999), target, full=400_000, small=20_000,
            target_error=error / 20**0.5,
        )
        for name, replicas, quorum, which, target, error in rows
    ]  # fmt: skip


def _redundancy() -> list[Case]:
    rows = [
        (1, 1, 168.19), (2, 1, 11.05), (2, 2, 200.39), (3, 1, 5.60), (3, 2, 32.95), (3, 3, 219.23), (4, 1, 4.83),
        (4, 2, 6.47), (4, 3, 48.90), (4, 4, 232.59), (5, 1, 4.45), (5, 2, 5.30), (5, 3, 7.41), (5, 4, 60.70),
        (5, 5, 242.96),
    ]  # fmt: skip
    return [
        Case(
            f"redundant reads, send {k} wait for {w}, p99.9", GROUP,
            f"quorum protocol: a read of {k} replicas returns after {w}; p99.9, ms; slack .1 % for rounding",
            "exact convolution of the law published by P. Bailis, 2012-09-20",
            partial(latency, "redundant", k, w, "read", 0.999), target, full=400_000, small=20_000,
            slack=0.001 * target,
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


CASES = [*_staleness(), *_visibility(), *_versions(), *_latencies(), *_redundancy(), *_availability()]
CONTROLS = [
    Case(
        "control: writes half as fast", GROUP, "exponential writes of rate .5 held against the target of rate 1", PBS,
        partial(consistent, "0.5", 1, 1, 0, 0.7521), 0.7521, full=20_000, small=20_000, flaw="rate halved",
    ),
    Case(
        "control: read half a millisecond early", GROUP, "1.467 ms held against the time of 99.9 %, 1.967 ms", PBS,
        partial(stale, "SSD", 1, 1, 1.467), STALE, full=100_000, small=100_000, flaw="read earlier",
    ),
    Case(
        "control: within 3 versions for 2", GROUP, "3 versions held against the closed form of 2", "closed form",
        partial(within, 3, 5 / 9), 5 / 9, full=20_000, small=20_000, slack=0.0005, flaw="k + 1",
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
