"""Replication: time to commit, updates under way, keys in conflict."""

from __future__ import annotations

from functools import lru_cache, partial
from math import exp

import numpy as np
from numpy.typing import NDArray

from lab.core import quantiles
from lab.engines import compiled
from lab.model.workload import operations
from validation.case import Case, Estimate, mean, quantile, seeds
from validation.changelogs import replicated
from validation.world import MS, SECOND, Leg, Table, constant, workload

GROUP = "replication"
UNIT_NS = 10 * MS  # mean of an exponential leg: the unit of the targets


@lru_cache(maxsize=8)
def commits(followers: int, mode: str, key: int, n: int) -> NDArray[np.float64]:
    """Return the time to acknowledge each update, exponential legs each way, in mean legs."""
    table = quantiles.exponential(UNIT_NS)
    a_run = min(n, 20_000)
    scenario = replicated(
        followers=followers, mode=mode, leg=lambda source, target: Leg(table), arrivals="constant(1/s)",
        duration=f"{a_run * 1000 + 1}ms", horizon_ns=(a_run + 10) * SECOND,
    )  # fmt: skip
    found = [
        history.operations.acknowledged_ns - history.operations.intended_ns
        for history in compiled.histories(scenario, seeds(key, n // a_run))
    ]
    return np.concatenate(found) / UNIT_NS


def commit(followers: int, mode: str, what: str, key: int, n: int) -> Estimate:
    """Return the mean or the p99 of `commits`."""
    values = commits(followers, mode, key, n)
    return mean(values) if what == "mean" else quantile(values, 0.99)


def under_way(rate: int, delay: Table, key: int, runs: int) -> Estimate:
    """Return how many updates the leader has accepted and the follower has not got, at an instant."""
    at_ns = 8 * SECOND
    scenario = replicated(
        followers=1, mode="async", leg=lambda source, target: Leg(delay), arrivals=f"poisson({rate}/s)",
        duration="10s", horizon_ns=20 * SECOND,
    )  # fmt: skip
    counts = []
    for history in compiled.histories(scenario, seeds(key, runs)):
        arrived = history.applies.time_ns[history.applies.replica == 1]
        accepted = history.accepted.time_ns
        counts.append(float(np.count_nonzero(accepted <= at_ns) - np.count_nonzero(arrived <= at_ns)))
    return mean(counts)


def differing(what: str, keys: int, rate: int, seconds: int, key: int, runs: int) -> Estimate:
    """Return keys written on both sides of a partition (conflicting) or on either (differing)."""
    side = workload(f"poisson({rate}/s)", f"{seconds}s", keys=keys)
    counts = []
    for seed in seeds(key, runs):
        written = [{operation.key for operation in operations(side, seed ^ bit)} for bit in (0, 1)]
        counts.append(len(written[0] & written[1]) if what == "conflicting" else len(written[0] | written[1]))
    return mean(counts)


def _commits() -> list[Case]:
    rows = [
        (2, 1, "quorum", 1.25, 3.8897), (4, 2, "quorum", 1.437789, 3.4537), (6, 3, "quorum", 1.511545, 3.1857),
        (2, 2, "sync", 2.75, 7.4273), (4, 4, "sync", 3.547164, 8.2077),
    ]  # fmt: skip
    return [
        Case(
            f"commit with {acks} of {followers} followers: {what}", GROUP,
            f"changelog protocol, {mode} mode, legs Exp(1) each way; {what} time to acknowledge; slack .1 % for tables",
            "order statistics of the Erlang law", partial(commit, followers, mode, what), target,
            full=1_000_000, small=20_000, slack=0.001 * target,
        )
        for followers, acks, mode, *targets in rows
        for what, target in zip(("mean", "p99"), targets, strict=True)
    ]  # fmt: skip


def _lags() -> list[Case]:
    rows = [("constant 50 ms", constant(50 * MS), 200, 10.0), ("Exp(100 ms)", quantiles.exponential(100 * MS), 50, 5.0)]
    return [
        Case(
            f"updates under way, {rate}/s, delay {name}", GROUP,
            "changelog protocol, async mode, Poisson writes; accepted and not yet at the follower, at an instant",
            "M/G/infinity: rate x mean delay", partial(under_way, rate, delay), target, full=4000, small=100,
            slack=0.001 * target,
        )
        for name, delay, rate, target in rows
    ]  # fmt: skip


def _keys() -> list[Case]:
    cases = []
    for keys, rate, seconds, sizes in ((100, 5, 10, (4000, 200)), (1000, 50, 20, (400, 20))):
        hit = 1 - exp(-rate * seconds / keys)
        for what, target in (("conflicting", keys * hit**2), ("differing", keys * (1 - (1 - hit) ** 2))):
            cases.append(
                Case(
                    f"{what} keys after {seconds} s of partition, {rate}/s a side, {keys} keys", GROUP,
                    "two workloads (Poisson arrivals, uniform keys) written on the sides of a partition",
                    "occupancy with Poisson throws", partial(differing, what, keys, rate, seconds), target,
                    full=sizes[0], small=sizes[1],
                )
            )  # fmt: skip
    return cases


CASES = [*_commits(), *_lags(), *_keys()]
CONTROLS = [
    Case(
        "control: all followers for a majority", GROUP, "sync mode held against the target of quorum mode",
        "order statistics", partial(commit, 4, "sync", "mean"), 1.437789, full=20_000, small=20_000,
        slack=0.0015, flaw="another mode",
    ),
    Case(
        "control: 20 % more writes", GROUP, "60/s held against the lag of 50/s", "M/G/infinity",
        partial(under_way, 60, quantiles.exponential(100 * MS)), 5.0, full=400, small=400, flaw="rate + 20 %",
    ),
]  # fmt: skip
