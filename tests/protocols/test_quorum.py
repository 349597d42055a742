"""Quorum stores: overlapping quorums read what was written, partial ones may not, read repair mends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.checkers import CHECKERS, check
from lab.core import quantiles
from lab.engines import compiled
from lab.engines.compiled import Columns
from lab.history import ACKNOWLEDGED, REJECTED, History
from lab.metrics import METRICS
from lab.model.effects import Keep, Outage
from lab.protocols.quorum import PLAIN, Quorum
from validation.world import MS, SECOND, Leg, between, workload, world


def runs(write: int, read: int, *, loss_ppm: int = 0, repair: int = 0, timeout_ms: int = 0) -> Columns:
    params = {
        "replicas": 3, "write_quorum": write, "read_quorum": read, "writers": 0, "readers": 0, "read_after_ns": 0,
        "timeout_ns": timeout_ms * MS, "repair": repair, "copies": 3, **PLAIN,
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
            "read_after_ns": 300 * MS, "timeout_ns": 0, "repair": repair, "copies": 3, **PLAIN,
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
        "timeout_ns": 500 * MS, "repair": 0, "copies": 3, **PLAIN,
    }  # fmt: skip
    scenario = world(
        Quorum, params, nodes=3, horizon_ns=30 * SECOND, workload=workload("poisson(50/s)", "10s", keys=20),
        leg=between(3, Leg(quantiles.exponential(20 * MS), 100_000)),
    )  # fmt: skip
    outcome = compiled.run(scenario, 1).operations.outcome
    assert set(outcome.tolist()) == {ACKNOWLEDGED, REJECTED}
    assert 0.2 < float(np.mean(outcome == REJECTED)) < 0.6


MANY = {
    "replicas": 6, "write_quorum": 2, "read_quorum": 2, "writers": 0, "readers": 0, "read_after_ns": -1,
    "timeout_ns": 400 * MS, "repair": 0, "copies": 3,
} | PLAIN  # fmt: skip
SLOPPY = MANY | {"patience_ns": 40 * MS, "hints": 1000}
HANDOFF = SLOPPY | {"handoff_ns": 200 * MS}
States = dict[str, list[list[int] | None]]


def outage(params: dict[str, int], down: Sequence[int] = (0,), keep: Keep = Keep.DURABLE) -> tuple[History, States]:
    """Return a run of 10 s in which replicas are down from 1 s to 5 s, and its fields."""
    outages = [Outage(f"n{node}", SECOND, 5 * SECOND, keep) for node in down]
    scenario = world(
        Quorum, params, nodes=6, horizon_ns=12 * SECOND, workload=workload("poisson(60/s)", "8s", keys=300),
        leg=between(6, Leg(quantiles.exponential(3 * MS))), outages=outages,
    )  # fmt: skip
    states: States = {}
    return compiled.run(scenario, 1, states=states), states


def stale_copies(history: History) -> float:
    found = METRICS["stale_copies"].function(history).value
    assert found is not None
    return found


def test_a_key_lives_on_its_homes_alone() -> None:
    _, states = outage(MANY, ())
    for node in range(6):
        versions = states["version"][node]
        assert versions is not None
        held = {key for key, version in enumerate(versions) if version}
        assert len(held) > 50
        assert all((node - key) % 6 < 3 for key in held)


def test_a_handoff_heals_what_an_outage_left_and_nothing_else_does() -> None:
    for params in (MANY, SLOPPY):
        history, _ = outage(params)
        assert stale_copies(history) > 0.05
    history, states = outage(HANDOFF)
    assert stale_copies(history) == 0
    counters = history.counters
    assert counters["handed_over"] == counters["hints"] > 50
    assert {count for counts in states["hint_count"] if counts for count in counts} == {0}
    # A home that is down is asked about once a period by each that keeps hints for it; it then gets them all.
    assert counters["handoffs"] < counters["handed_over"] + 3 * 4 * 5 + 20


def test_stand_ins_make_a_sloppy_quorum_available() -> None:
    strict, sloppy = (outage(params, (0, 1))[0] for params in (MANY, SLOPPY))
    refused = [int((history.operations.outcome == REJECTED).sum()) for history in (strict, sloppy)]
    assert refused[0] > 20
    assert refused[1] == 0
    asked, kept = sloppy.counters["stand_ins"], sloppy.counters["hints"]
    assert asked > kept > 50, "replicas that are down cannot stand in"
    assert strict.counters["stand_ins"] == 0


def test_a_full_stand_in_does_not_answer() -> None:
    history, states = outage(SLOPPY | {"hints": 2})
    assert history.counters["hints_refused"] > 20
    assert {count for counts in states["hint_count"] if counts for count in counts} == {0, 2}
    assert stale_copies(history) > 0.05


def test_hints_survive_a_restart_on_disk_alone() -> None:
    """The home is down longer than the stand-ins, which crash meanwhile."""
    for keep, is_healed in ((Keep.DURABLE, True), (Keep.NOTHING, False)):
        outages = [Outage("n0", SECOND, 5 * SECOND, Keep.DURABLE)]
        outages += [Outage(f"n{node}", 4 * SECOND, 4500 * MS, keep) for node in (1, 2, 3, 4, 5)]
        scenario = world(
            Quorum, HANDOFF, nodes=6, horizon_ns=12 * SECOND, workload=workload("poisson(60/s)", "4s", keys=300),
            leg=between(6, Leg(quantiles.exponential(3 * MS))), outages=outages,
        )  # fmt: skip
        history = compiled.run(scenario, 1)
        assert (stale_copies(history) < 0.05) == is_healed
        assert check(CHECKERS["acknowledged_kept"], history).valid is is_healed


def test_reads_of_the_workload_are_fresh_where_quorums_overlap() -> None:
    for read_quorum, always in ((2, True), (1, False)):
        params = MANY | {"reads_ppm": 500_000, "read_quorum": read_quorum}
        scenario = world(
            Quorum, params, nodes=6, horizon_ns=12 * SECOND, workload=workload("poisson(300/s)", "8s", keys=5),
            leg=between(6, Leg(quantiles.exponential(20 * MS))),
        )  # fmt: skip
        history = compiled.run(scenario, 1)
        counters, count = history.counters, len(history.operations)
        assert 0.45 * count < counters["reads"] < 0.55 * count
        assert (counters["fresh"] == counters["reads"]) is always
        assert (METRICS["stale_reads"].function(history).value == 0) is always
        assert len(history.accepted) == count - counters["reads"]
