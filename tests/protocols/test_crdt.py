"""Replicated data types: both executors agree, replicas converge to the right value, seeded mistakes do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from lab.core import quantiles
from lab.engines import compiled, reference
from lab.engines.context import MESSAGE, TraceRow
from lab.engines.identity import Dice
from lab.engines.scenario import Scenario
from lab.history import History
from lab.model.effects import Keep, Outage
from lab.protocols import crdt_counter, crdt_merkle, crdt_register, crdt_set
from lab.protocols.crdt_counter import CrdtCounter
from lab.protocols.crdt_merkle import CrdtMerkle
from lab.protocols.crdt_register import CrdtRegister
from lab.protocols.crdt_set import CrdtSet
from tests.protocols import worlds
from tests.protocols.worlds import difference
from validation.world import MS, SECOND, Leg, between, workload, world

NODES = 5
KEYS = 12
States = dict[str, list[list[int] | None]]


# Both executors


def _parameters(dice: Dice, protocol: Any) -> dict[str, int]:
    found = {"period_ns": 40 * MS, "full_every": dice.choice((0, 1, 3))}
    if protocol is CrdtCounter:
        return {**found, "decrease_ppm": dice.choice((0, 300_000))}
    if protocol is CrdtSet:
        return {**found, "remove_ppm": 300_000, "collect_after_ns": dice.choice((0, 50 * MS))}
    if protocol is CrdtRegister:
        return {
            **found, "keys": KEYS, "eager": dice.below(2), "clock": dice.below(2), "skew_law": dice.below(2),
            "skew_ns": dice.choice((0, 100 * MS)), "drift_ppm": dice.choice((0, 500)),
        }  # fmt: skip
    return {
        "keys": KEYS, "period_ns": 40 * MS, "whole": dice.below(2), "rounds": dice.choice((0, 10)),
        "starters": dice.below(2), "preload": dice.below(2 * KEYS),
    }  # fmt: skip


def case(protocol: Any, number: int) -> tuple[Scenario, int]:
    """Return a random scenario of a protocol and its seed, a pure function of the number."""
    dice = Dice(number)
    nodes = 1 + dice.below(6)
    scenario = world(
        protocol, _parameters(dice, protocol), nodes=nodes, horizon_ns=SECOND,
        outages=worlds._outages(dice, nodes, 1000),
        workload=workload("poisson(60/s)", "800ms", keys=KEYS), service_ns=dice.choice((0, 0, MS)), inbox_limit=16,
        **worlds._links(dice),
    )  # fmt: skip
    return scenario, dice.below(1 << 30)


@pytest.mark.parametrize("protocol", [CrdtCounter, CrdtSet, CrdtRegister, CrdtMerkle])
def test_both_executors_agree(protocol: Any) -> None:
    for number in range(25):
        assert difference(*case(protocol, number)) == "", number
    totals = dict.fromkeys(("lost", "duplicated", "down"), 0)
    for number in range(25):
        for link in compiled.run(*case(protocol, number)).links:
            for what in totals:
                totals[what] += getattr(link, what)
    assert all(totals.values()), totals  # else agreement would prove little


# Convergence, by checks that the seeded mistakes below must fail


@dataclass
class Run:
    """What a run left: history, fields of the replicas, handled events."""

    history: History
    states: States
    trace: list[TraceRow]

    def column(self, field: str) -> list[list[int]]:
        """Return a field of every replica."""
        return [values for values in self.states[field][:NODES] if values is not None]


# n1 is down while others change and collect; n3 and n4 come and go.
OUTAGES = (
    Outage("n1", 1500 * MS, 4 * SECOND, Keep.DURABLE),
    Outage("n3", 500 * MS, 900 * MS, Keep.DURABLE),
    Outage("n4", 2 * SECOND, 2500 * MS, None),
)
CRASHES = OUTAGES[:2]


def run(
    protocol: Any, params: dict[str, int], seed: int, *, outages: Sequence[Outage] = OUTAGES, rate: int = 20
) -> Run:
    """Run a protocol over links that lose, double and reorder for 5 s, then let it settle; client links are ideal."""
    scenario = world(
        protocol, params, nodes=NODES, horizon_ns=12 * SECOND, outages=outages,
        leg=between(NODES, Leg(quantiles.exponential(20 * MS), 200_000, 100_000)),
        workload=workload(f"poisson({rate}/s)", "5s", keys=KEYS),
    )  # fmt: skip
    states: States = {}
    trace: list[TraceRow] = []
    is_ours = protocol in (CrdtCounter, CrdtSet, CrdtRegister, CrdtMerkle)
    engine = compiled if is_ours else reference  # a derived class cannot be lifted
    history = engine.run(scenario, seed, states=states, trace=trace)
    return Run(history, states, trace)


def differ(rows: Sequence[Sequence[int]]) -> bool:
    """Return whether the replicas are not all equal."""
    return any(list(row) != list(rows[0]) for row in rows)


def counter_mistake(run: Run) -> str:
    """Return "" if every replica shows increments - decrements."""
    up, down = run.column("up"), run.column("down")
    values = [sum(ups) - sum(downs) for ups, downs in zip(up, down, strict=True)]
    expected = run.history.counters["increments"] - run.history.counters["decrements"]
    if any(value > expected for value in values):
        return "too high"
    return "" if all(value == expected for value in values) else "not converged"


def set_mistake(run: Run) -> str:
    """Return "" if all replicas have the same elements and no tag is back that was removed."""
    states, live = run.column("state"), run.column("live")
    kind = crdt_set.TAG
    told = [row for row in run.trace if row.what == MESSAGE and row.kind == kind and row.words[2] == crdt_set.REMOVED]
    removed = {row.words[0] for row in told}
    assert len(removed) > 5
    if any(state[tag] == crdt_set.ADDED for state in states for tag in removed):
        return "a removed element is back"
    added = [[int(state == crdt_set.ADDED) for state in of_replica] for of_replica in states]
    for node, tags in enumerate(added):
        counts = [0] * KEYS
        for tag, is_added in enumerate(tags):
            counts[run.column("element")[node][tag]] += is_added
        assert counts == live[node]
    return "not converged" if differ(added) else ""


def register_mistake(run: Run) -> str:
    """Return "" if every replica shows the last write of every key that was accepted.

    Without pauses a write is acknowledged before the next one begins, for the links of the client are ideal.
    """
    versions = run.column("version")
    if differ(versions):
        return "not converged"
    last = [0] * KEYS
    for token in sorted(run.history.accepted.token.tolist()):  # a replica that is down accepts nothing
        last[run.history.operations.key[token]] = token + 1
    return "" if versions[0] == last else "an update is lost"


def counter(full_every: int) -> dict[str, int]:
    return {"period_ns": 50 * MS, "full_every": full_every, "decrease_ppm": 300_000}


def elements(full_every: int, collect_ms: int = 0) -> dict[str, int]:
    return {
        "period_ns": 100 * MS, "full_every": full_every, "remove_ppm": 400_000, "collect_after_ns": collect_ms * MS,
    }  # fmt: skip


def registers(full_every: int, clock: int, skew_ms: int) -> dict[str, int]:
    return {
        "keys": KEYS, "period_ns": 50 * MS, "full_every": full_every, "eager": 0, "clock": clock,
        "skew_law": crdt_register.UNIFORM, "skew_ns": skew_ms * MS, "drift_ppm": 100,
    }  # fmt: skip


def tree(whole: int, keys: int = KEYS) -> dict[str, int]:
    return {"keys": keys, "period_ns": 50 * MS, "whole": whole, "rounds": 0, "starters": 0, "preload": 3}


@pytest.mark.parametrize("full_every", [0, 1, 5])
def test_counters_converge_to_what_was_counted(full_every: int) -> None:
    for seed in range(6):
        done = run(CrdtCounter, counter(full_every), seed)
        assert counter_mistake(done) == ""
        assert done.history.counters["increments"] > done.history.counters["decrements"] > 10


def test_a_g_counter_has_no_decrements() -> None:
    done = run(CrdtCounter, {**counter(1), "decrease_ppm": 0}, 1)
    assert counter_mistake(done) == ""
    assert sum(done.column("up")[2]) == len(done.history.accepted) > 50


@pytest.mark.parametrize(("full_every", "collect_ms"), [(0, 0), (1, 0), (5, 0), (0, 1000), (1, 1000)])
def test_sets_converge_and_nothing_removed_comes_back(full_every: int, collect_ms: int) -> None:
    for seed in range(4):
        done = run(CrdtSet, elements(full_every, collect_ms), seed)
        assert set_mistake(done) == "", seed
        assert bool(done.history.counters["collected"]) == bool(collect_ms)
        left = [state for row in done.column("state") for state in row if state == crdt_set.REMOVED]
        assert bool(left) == (not collect_ms)  # forgotten everywhere, or nowhere


def test_an_addition_that_a_removal_has_not_seen_survives() -> None:
    """Whatever no removal saw is there in the end, wherever removals of the same element went on."""
    for seed in range(4):
        done = run(CrdtSet, elements(1), seed)
        tags = done.column("state")[0]
        told = {row.words[0] for row in done.trace if row.what == MESSAGE and row.kind == crdt_set.TAG}
        removed = {
            row.words[0]
            for row in done.trace
            if row.what == MESSAGE and row.kind == crdt_set.TAG and row.words[2] == crdt_set.REMOVED
        }
        assert all(tags[tag] == crdt_set.ADDED for tag in told - removed)
        element = done.column("element")[0]
        assert {element[tag] for tag in removed} & {element[tag] for tag in told - removed}


@pytest.mark.parametrize("full_every", [0, 1, 5])
@pytest.mark.parametrize("clock", [crdt_register.WALL, crdt_register.HYBRID])
def test_registers_converge_to_the_last_write(full_every: int, clock: int) -> None:
    skew_ms = 0 if clock == crdt_register.WALL else 1000
    for seed in range(6):
        params = {**registers(full_every, clock, skew_ms), "drift_ppm": 0 if clock == crdt_register.WALL else 100}
        assert register_mistake(run(CrdtRegister, params, seed, outages=CRASHES)) == ""


@pytest.mark.parametrize("whole", [0, 1])
def test_trees_converge_to_the_last_write(whole: int) -> None:
    for seed in range(6):
        assert register_mistake(run(CrdtMerkle, tree(whole), seed, rate=40)) == ""


def test_a_replica_that_lost_everything_gets_it_back_by_the_tree() -> None:
    outages = (Outage("n1", 6 * SECOND, 7 * SECOND, Keep.NOTHING),)
    assert register_mistake(run(CrdtMerkle, tree(0), 1, outages=outages)) == ""


@pytest.mark.parametrize("keys", [1, 2, 3, 7, 64, 100])
def test_a_tree_covers_any_number_of_keys(keys: int) -> None:
    scenario = world(
        CrdtMerkle, {**tree(0, keys), "preload": keys}, nodes=3, horizon_ns=10 * SECOND,
        leg=between(3, Leg(quantiles.constant(MS))), workload=workload("constant(1/s)", "1ms", keys=keys),
    )  # fmt: skip
    states: States = {}
    compiled.run(scenario, 4, states=states)
    assert states["version"][:3] == [[1] * keys] * 3


def test_deltas_and_trees_cost_less_than_everything() -> None:
    bytes_of = [run(CrdtCounter, counter(every), 1).history.counters["bytes"] for every in (1, 5, 0)]
    assert bytes_of[0] > bytes_of[1] > bytes_of[2]
    bytes_of = [run(CrdtSet, elements(every), 1).history.counters["bytes"] for every in (1, 5, 0)]
    assert bytes_of[0] > 2 * bytes_of[1] > 2 * bytes_of[2]
    costs = [run(CrdtMerkle, tree(whole), 1, outages=()).history.counters for whole in (0, 1)]
    assert costs[1]["hashes"] == 0
    assert costs[0]["bytes"] < costs[1]["bytes"] / 2


@pytest.mark.parametrize(
    ("module", "protocol"),
    [
        (crdt_counter, CrdtCounter), (crdt_set, CrdtSet), (crdt_register, CrdtRegister), (crdt_merkle, CrdtMerkle),
    ],
)  # fmt: skip
def test_settings_give_the_parameters(module: Any, protocol: Any) -> None:
    experiment = SimpleNamespace(workload=SimpleNamespace(keys=KEYS))
    settings = module.Settings()
    assert list(settings.parameters(experiment)) == list(protocol.parameters)
    assert settings.problems(experiment) == []
    done = run(protocol, settings.parameters(experiment), 1)
    assert len(done.history.accepted) > 50


def test_a_skew_over_the_largest_is_refused() -> None:
    assert [name for name, _ in crdt_register.Settings(skew="101s").problems(None)] == ["skew"]


# Seeded mistakes


class SummingCounter(CrdtCounter):
    """B5: merges by sum instead of maximum."""

    def merge(self, ctx: Any, source: int, slot: int, up: int, down: int) -> None:
        self.up[slot] = min(self.up[slot] + up, 1 << 40)
        self.down[slot] = min(self.down[slot] + down, 1 << 40)
        self.held_by[slot] = 1 << ctx.me | 1 << source


class HastySet(CrdtSet):
    """B6: collects tombstones without waiting until every replica has them."""

    def collect_later(self, ctx: Any, tag: int) -> None:
        ctx.timer(ctx.p.collect_after_ns, crdt_set.COLLECT, tag)

    def collect(self, ctx: Any, tag: int) -> None:
        if self.state[tag] == crdt_set.REMOVED:
            self.state[tag] = crdt_set.UNKNOWN


class ShortTree(CrdtMerkle):
    """B11: its anti-entropy leaves out the last page, here the last key."""

    def differ(self, ctx: Any, peer: int, place: int) -> None:
        if place != 2 * ctx.p.keys - 1:
            super().differ(ctx, peer, place)


def test_a_counter_that_adds_when_it_merges_is_caught() -> None:
    assert {counter_mistake(run(SummingCounter, {**counter(1), "decrease_ppm": 0}, seed)) for seed in range(3)} == {
        "too high"
    }


def test_tombstones_collected_too_early_are_caught() -> None:
    found = [set_mistake(run(HastySet, elements(1, 200), seed)) for seed in range(3)]
    assert "a removed element is back" in found
    assert not any(set_mistake(run(CrdtSet, elements(1, 200), seed)) for seed in range(3))  # the same, waiting


def test_anti_entropy_without_the_last_page_is_caught() -> None:
    found = [run(ShortTree, tree(0), seed, rate=40) for seed in range(3)]
    assert {register_mistake(done) for done in found} == {"not converged"}
    for done in found:
        versions = done.column("version")
        different = [key for key in range(KEYS) if len({row[key] for row in versions}) > 1]
        assert different == [KEYS - 1]  # few keys, for good


def test_lost_updates_by_a_skewed_wall_clock_are_caught() -> None:
    found = [run(CrdtRegister, registers(1, crdt_register.WALL, 1000), seed, outages=CRASHES) for seed in range(5)]
    assert "an update is lost" in {register_mistake(done) for done in found}
    assert all(register_mistake(done) != "not converged" for done in found)  # they agree, on the wrong value
    assert sum(done.history.counters["hidden"] + done.history.counters["conflicts"] for done in found) > 0


def test_a_tag_or_a_slot_from_a_derived_class_runs_as_the_base_does() -> None:
    """The controls differ in their mistake alone: a derived class without one gives the same run."""

    class Same(CrdtCounter):
        pass

    one, other = run(Same, counter(0), 5), run(CrdtCounter, counter(0), 5)
    assert one.history.digest() == other.history.digest()
