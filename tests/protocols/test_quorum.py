"""Quorum stores: overlapping quorums read what was written, partial ones may not, read repair mends."""

from __future__ import annotations

import numpy as np

from lab.core import quantiles
from lab.engines import compiled
from lab.engines.compiled import Columns
from lab.history import ACKNOWLEDGED, REJECTED
from lab.protocols.quorum import Quorum
from validation.world import MS, SECOND, Leg, between, workload, world


def runs(write: int, read: int, *, loss_ppm: int = 0, repair: int = 0, timeout_ms: int = 0) -> Columns:
    params = {
        "replicas": 3, "write_quorum": write, "read_quorum": read, "writers": 0, "readers": 0, "read_after_ns": 0,
        "timeout_ns": timeout_ms * MS, "repair": repair,
    }  # fmt: skip
    scenario = world(
        Quorum, params, nodes=3, horizon_ns=30 * SECOND, workload=workload("poisson(50/s)", "10s", keys=20),
        leg=between(3, Leg(quantiles.exponential(20 * MS), loss_ppm)),
    )  # fmt: skip
    return compiled.run_many(scenario, range(10), threads=1)


def test_overlapping_quorums_are_always_fresh_and_partial_ones_are_not() -> None:
    for write, read, always in ((2, 2, True), (3, 1, True), (1, 3, True), (1, 1, False)):
        counters = runs(write, read).counters
        assert counters["reads"].sum() > 1000
        assert (counters["fresh"].sum() == counters["reads"].sum()) == always


def test_read_repair_acts_only_where_something_was_missed() -> None:
    lossy = runs(1, 3, loss_ppm=100_000, repair=1).counters
    assert lossy["repairs"].sum() > 100
    assert runs(3, 3, repair=1).counters["repairs"].sum() < lossy["repairs"].sum() / 4  # a later write may be under way
    assert runs(1, 3, loss_ppm=100_000).counters["repairs"].sum() == 0


def test_repair_brings_replicas_together() -> None:
    def different(repair: int) -> int:
        params = {
            "replicas": 3, "write_quorum": 1, "read_quorum": 2, "writers": 0, "readers": 0,
            "read_after_ns": 300 * MS, "timeout_ns": 0, "repair": repair,
        }  # fmt: skip
        scenario = world(
            Quorum, params, nodes=3, horizon_ns=30 * SECOND, workload=workload("poisson(20/s)", "10s", keys=200),
            leg=between(3, Leg(quantiles.exponential(20 * MS), 100_000)),
        )  # fmt: skip
        count = 0
        for seed in range(5):
            states: dict[str, list[list[int] | None]] = {}
            compiled.run(scenario, seed, states=states)
            versions = np.array([states["version"][node] for node in range(3)])
            count += int((versions.max(axis=0) != versions.min(axis=0)).sum())
        return count

    assert different(1) < different(0) / 2


def test_a_put_without_its_quorum_is_refused_and_every_put_gets_one_answer() -> None:
    params = {
        "replicas": 3, "write_quorum": 3, "read_quorum": 1, "writers": 0, "readers": 0, "read_after_ns": -1,
        "timeout_ns": 500 * MS, "repair": 0,
    }  # fmt: skip
    scenario = world(
        Quorum, params, nodes=3, horizon_ns=30 * SECOND, workload=workload("poisson(50/s)", "10s", keys=20),
        leg=between(3, Leg(quantiles.exponential(20 * MS), 100_000)),
    )  # fmt: skip
    outcome = compiled.run(scenario, 1).operations.outcome
    assert set(outcome.tolist()) == {ACKNOWLEDGED, REJECTED}
    assert 0.2 < float(np.mean(outcome == REJECTED)) < 0.6
