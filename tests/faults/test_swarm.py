"""Faults that are drawn from the seed: shapes of partitions, schedules, the liveness phase, every plane alike."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lab.checkers.validity import Validity
from lab.cli import cli
from lab.engines import compiled, reference
from lab.engines.scenario import prepare, prepare_seed
from lab.faults import FAULTS
from lab.faults.swarm import RECIPES, Swarm
from lab.model.shapes import SHAPES, cuts_of
from lab.run import measure, run_simulated, run_with
from lab.spec.drawing import for_seed, is_drawn
from lab.spec.load import load_experiment
from lab.spec.schema import Experiment
from lab.verdict import judge_claims

from .test_inside import both, experiment

NAMES = ("a", "b", "c", "d", "e")
SWARM: dict[str, Any] = {
    "at": "200ms", "for": "900ms", "lasting": "50ms..300ms", "count": "2..5",
    "faults": [kind for kind in RECIPES if kind != "clock_offset"],
}  # fmt: skip


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_cut_something_from_their_fewest_replicas_on(shape: str, count: int) -> None:
    names = tuple("abcdefg"[:count])
    cuts = cuts_of(shape, names, 1)
    assert bool(cuts) == (count >= SHAPES[shape][1])
    assert cuts <= set(permutations(names, 2))


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7])
def test_in_a_majorities_ring_everyone_hears_a_majority_and_no_two_the_same(count: int) -> None:
    names = tuple("abcdefg"[:count])
    cuts = cuts_of("majorities_ring", names, 0)
    heard = {target: frozenset(name for name in names if (name, target) not in cuts) for target in names}
    assert {len(who) for who in heard.values()} == {count // 2 + 1}
    assert len(set(heard.values())) == count and all(target in who for target, who in heard.items())


def test_a_bridge_hears_both_sides_which_do_not_hear_each_other() -> None:
    cuts = cuts_of("bridge", NAMES, 0)
    assert ("a", "d") in cuts and ("e", "b") in cuts
    assert not [pair for pair in cuts if "c" in pair]


def test_every_order_and_size_is_drawn_about_equally_often() -> None:
    fault = FAULTS["partition"].model_validate({"at": "1s", "for": "1s", "shape": "random"})
    drawn = [fault.drawn(NAMES[:3], key * 7919 + 1, ())[0] for key in range(1200)]
    orders: dict[str, int] = {}
    sizes: dict[int, int] = {}
    for one in drawn:
        orders[" ".join(one.order)] = orders.get(" ".join(one.order), 0) + 1  # type: ignore[attr-defined]
        sizes[one.size] = sizes.get(one.size, 0) + 1  # type: ignore[attr-defined]
    assert len(orders) == 6 and all(140 < number < 260 for number in orders.values())
    assert set(sizes) == {1, 2} and all(500 < number < 700 for number in sizes.values())


def test_a_partition_without_a_draw_is_the_same_under_every_seed() -> None:
    order = ["f1", "leader", "f2", "f3"]
    one = experiment([{"partition": {"at": "300ms", "for": "700ms", "shape": "isolate", "order": order}}])
    assert not is_drawn(one) and for_seed(one, 1) is one
    drawn = experiment([{"partition": {"at": "300ms", "for": "700ms", "shape": "isolate"}}])
    assert len({for_seed(drawn, seed).faults[0].label() for seed in range(20)}) == 20 or is_drawn(drawn)
    assert not is_drawn(for_seed(drawn, 1)) and for_seed(drawn, 1).horizon_ns == drawn.horizon_ns


def test_what_is_drawn_must_be_prepared_with_a_seed() -> None:
    with pytest.raises(ValueError, match="prepare a seed"):
        prepare(experiment([{"swarm": SWARM}]))


def test_schedules_are_the_seeds_alone_and_differ() -> None:
    one = experiment([{"swarm": SWARM}])
    labels = [tuple(fault.label() for fault in for_seed(one, seed).faults) for seed in range(60)]
    assert labels == [tuple(fault.label() for fault in for_seed(one, seed).faults) for seed in range(60)]
    assert len(set(labels)) > 55
    kinds = {fault.kind for seed in range(200) for fault in for_seed(one, seed).faults}
    assert kinds == set(SWARM["faults"]), "every kind is reached"
    alone = [seed for seed in range(200) if len({fault.kind for fault in for_seed(one, seed).faults}) == 1]
    assert alone, "some runs meet one kind alone"


def test_schedules_keep_their_promises() -> None:
    one = experiment([{"swarm": {**SWARM, "heal_by": "1200ms", "hardness": "50%..60%"}}])
    for seed in range(150):
        faults = for_seed(one, seed).faults
        assert 1 <= len(faults) <= 5
        for fault in faults:
            assert 200_000_000 <= fault.start_ns < 1_100_000_000 and fault.stop_ns <= 1_200_000_000
            assert fault.problems(one.system.names) == []
        for node in one.system.names:
            outages = sorted((o.start_ns, o.stop_ns) for f in faults for o in f.outages() if o.node == node)
            assert all(first[1] <= second[0] for first, second in pairwise(outages))
        assert for_seed(one, seed).horizon_ns == one.horizon_ns


def test_a_told_outage_is_not_doubled_by_a_drawn_one() -> None:
    crash = [{"crash": {"at": "200ms", "for": "1s", "node": name}} for name in ("leader", "f1", "f2")]
    one = experiment([*crash, {"swarm": {**SWARM, "faults": ["pause"]}}])
    drawn = [fault.node for seed in range(30) for fault in for_seed(one, seed).faults[3:]]  # type: ignore[attr-defined]
    assert drawn and set(drawn) == {"f3"}


def test_executors_and_workers_agree_on_drawn_schedules() -> None:
    one = experiment([{"swarm": SWARM}])
    seeds = range(1, 7)
    for seed in seeds:
        both(prepare_seed(one, seed), seed)
    runs = {name: run_simulated(one, seeds, executor=name, workers=1) for name in ("reference", "compiled")}
    assert runs["reference"].digest() == runs["compiled"].digest()
    assert [len(row.faults) for row in runs["compiled"].rows] == [len(for_seed(one, seed).faults) for seed in seeds]
    assert len({row.trace_hash for row in runs["compiled"].rows}) == len(seeds)
    other = experiment([{"swarm": {**SWARM, "hardness": "10%"}}])
    assert run_simulated(other, seeds, executor="compiled", workers=1).digest() != runs["compiled"].digest()


def test_real_replicas_are_given_the_same_schedule() -> None:
    one = experiment([{"swarm": {**SWARM, "faults": ["drop", "crash"]}}])
    given: list[Experiment] = []

    def runner(told: Experiment, seed: int) -> Any:
        given.append(told)
        return reference.run(prepare(told), seed)

    result = run_with(runner, one, [3, 4], "containers", "containers")
    assert [told.faults for told in given] == [for_seed(one, seed).faults for seed in (3, 4)]
    assert [row.faults for row in result.rows] == [row.faults for row in run_simulated(one, [3, 4], workers=1).rows]


def test_a_swarm_names_the_kinds_that_containers_cannot_carry() -> None:
    swarm = Swarm.model_validate({**SWARM, "faults": ["drop", "corrupt", "crash", "flapping"]})
    assert "flapping" in swarm.refusal() and "drop" not in swarm.refusal()
    assert Swarm.model_validate({**SWARM, "faults": ["drop", "crash", "partition"]}).refusal() == ""


def test_the_liveness_phase_finds_what_never_heals() -> None:
    """Control: without reconciliation and with one attempt, an update lost in a partition is never repaired."""
    swarm = {"swarm": {"at": "200ms", "for": "1s", "faults": ["partition"], "count": "3", "lasting": "300ms..400ms"}}
    broken = {"timeout": "30ms", "retry": {"attempts": 1}, "reconcile_every": "0s"}
    healthy = run_simulated(experiment([swarm]), range(1, 6), workers=1)
    stuck = run_simulated(experiment([swarm], policy=broken), range(1, 6), workers=1)
    assert all(row.validities["convergence"].valid is True for row in healthy.rows)
    assert any(row.validities["convergence"].valid is False for row in stuck.rows)


def test_the_experiment_file_runs_and_converges() -> None:
    one = load_experiment(Path(__file__).parents[2] / "experiments" / "swarm.yaml")
    history = compiled.run(prepare_seed(one, 1), 1)
    row = measure(history)
    assert history.faults and row.values["convergence_final"].value is not None


def test_sweeps_run_drawn_schedules_seed_by_seed() -> None:
    from lab.blocks import run_block

    one = experiment([{"swarm": SWARM}])
    found = run_block(one, [{}, {"policy.timeout": "90ms"}], 0, range(1, 4))
    assert found["seed"].tolist() == [1, 2, 3] * 2 and found["point"].tolist() == [0] * 3 + [1] * 3
    expected = run_simulated(one, range(1, 4), workers=1)
    assert found["trace_hash"].tolist()[:3] == [int(row.trace_hash, 16) for row in expected.rows]


def test_drawn_faults_count_as_evidence_only_if_every_kind_acted_somewhere() -> None:
    one = experiment([{"swarm": {**SWARM, "faults": ["crash", "drop"], "hardness": "100%"}}])
    runs = run_simulated(one, range(1, 7), workers=1)
    idle = [replace(row, faults=tuple(replace(f, bit=0 if f.kind == "drop" else f.bit) for f in row.faults))
            for row in runs.rows]  # fmt: skip
    one_idle = [replace(runs.rows[0], validities={**runs.rows[0].validities, "faults_bit": Validity(None, "one idle")})]
    assert {fault.kind for row in runs.rows for fault in row.faults} == {"crash", "drop"}

    def open_claims(rows: list[Any]) -> list[str]:
        found = judge_claims({"base": replace(runs, rows=rows)}, [], "lab replay {seed}{variant}")
        return [claim.reason for claim in found if claim.text == "faults_bit"]

    assert open_claims([*one_idle, *runs.rows[1:]]) == []
    idle[0] = replace(idle[0], validities=one_idle[0].validities)
    (reason,) = open_claims(idle)
    assert "drop" in reason and "crash" not in reason


def test_the_commands_show_what_was_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    file = Path(__file__).parents[2] / "experiments" / "swarm.yaml"
    monkeypatch.setenv("DRIFTLAB_CACHE", os.environ.get("DRIFTLAB_CACHE") or str(Path.cwd() / ".lab" / "cache"))
    monkeypatch.chdir(tmp_path)

    def lab(*arguments: str) -> str:
        result = CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False)
        return result.output

    one = load_experiment(file)
    first = for_seed(one, 1).faults[0].label()
    assert first in lab("plan", str(file)) and first in lab("replay", str(file), "--seed", "1", "--limit", "1")
    listed = lab("list")
    assert "swarm" in listed and "flaky_switch" in listed and "three_continents" in listed
    lab("run", str(file), "--seeds", "3", "--workers", "1", "--quiet")
    (folder,) = [path for path in tmp_path.glob("results/swarm/*") if path.is_dir()]
    table = pd.read_parquet(folder / "faults.parquet")
    drawn = {seed: [fault.label() for fault in for_seed(one, seed).faults] for seed in (1, 2, 3)}
    assert {int(seed): rows["label"].tolist() for seed, rows in table.groupby("seed")} == drawn
    assert table.groupby("index")["kind"].nunique().max() == 1
    assert "(drawn)" in (folder / "report.html").read_text(encoding="utf-8")
