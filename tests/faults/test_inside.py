"""Faults of replicas in the simulator: both executors alike, the stated model by hand, controls that differ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lab.core.nodes import committed_ns, skew_ns, slowed_ns
from lab.engines import compiled, node_picture, picture, reference
from lab.engines.scenario import Scenario, prepare, prepare_seed
from lab.faults.base import LINK_MEMORY, STAGES
from lab.history import History
from lab.spec.schema import Experiment

MS = 1_000_000
NEEDS = frozenset({LINK_MEMORY, STAGES})  # one module for all cases here
AT = {"at": "300ms", "for": "700ms"}
ONE_OF_EACH: tuple[tuple[str, list[dict[str, Any]]], ...] = (
    ("slow_node", [{"slow_node": {**AT, "node": "f1", "service": "15ms"}}]),
    ("disk_stall", [{"disk_stall": {**AT, "node": "leader", "by": "40ms"}}]),
    (
        "all at one replica",
        [
            {"disk_stall": {**AT, "node": "f2", "by": "40ms"}},
            {"slow_node": {"at": "500ms", "for": "700ms", "node": "f2", "service": "5ms"}},
            {"pause": {"at": "600ms", "for": "100ms", "node": "f2"}},
            {"crash": {"at": "800ms", "for": "300ms", "node": "f2"}},
        ],
    ),
    ("overload", [{"overload": {**AT, "rate": "300/s"}}]),
    ("flapping", [{"flapping": {**AT, "period": "100ms", "duty": "40%"}}]),
    ("clog", [{"clog": {**AT, "node": "f1", "direction": "in"}}]),
    ("swizzle_clog", [{"swizzle_clog": {"at": "300ms", "for": "1200ms"}}]),
    ("partition", [{"partition": {**AT, "shape": "majorities_ring"}}]),
)


def experiment(faults: list[dict[str, Any]], **changes: Any) -> Experiment:
    document = {
        "title": "t",
        "system": {"replicas": [{"name": name} for name in ("leader", "f1", "f2", "f3")]},
        "network": {"links": {"default": {"delay": "uniform(1ms, 20ms)", "loss": "1%"}}},
        "workload": {"arrivals": "poisson(100/s)", "duration": "1500ms", "keys": 20},
        "faults": faults,
        "drain": "3s",
        **changes,
    }
    return Experiment.model_validate(document)


def both(scenario: Scenario, seed: int) -> History:
    """Return the history on which both executors agree, every field included."""
    expected_states: dict[str, list[list[int] | None]] = {}
    states: dict[str, list[list[int] | None]] = {}
    expected = reference.run(scenario, seed, strict=True, states=expected_states)
    history = compiled.run(scenario, seed, states=states)
    assert history.trace_hash == expected.trace_hash and history.digest() == expected.digest()
    assert states == expected_states
    return history


@pytest.mark.parametrize(("name", "faults"), ONE_OF_EACH, ids=[name for name, _ in ONE_OF_EACH])
def test_executors_agree_and_the_fault_bites(name: str, faults: list[dict[str, Any]]) -> None:
    one = experiment(faults)
    calm = reference.run(prepare(experiment([], drain="4s")), 1)
    scenario = replace(prepare_seed(one, 1), needs=NEEDS)
    scenario = scenario if scenario.plan.extras else replace(scenario, plan=_remembering(one))
    history = both(scenario, 1)
    assert history.trace_hash != calm.trace_hash
    assert all(fault.bit for fault in history.faults)
    assert history.trace_hash != both(replace(scenario), 2).trace_hash


def _remembering(one: Experiment) -> Any:
    from lab.spec.drawing import for_seed

    return prepare(for_seed(one, 1), NEEDS).plan


def test_one_module_serves_all_and_extras_that_nothing_needs_change_nothing() -> None:
    one = experiment([{"slow_node": {**AT, "node": "f1", "service": "15ms"}}])
    plain, forced = prepare(one), prepare(one, NEEDS)
    assert not plain.plan.extras and forced.plan.extras
    assert reference.run(plain, 3).trace_hash == reference.run(forced, 3).trace_hash


def test_service_is_one_after_the_other_and_heals_at_once() -> None:
    memory = [0, 0, 0]
    assert [slowed_ns(memory, now, 10, 100) for now in (5, 6, 40, 85, 86, 87)] == [15, 25, 50, 95, 100, 100]


def test_commits_are_shared_by_what_arrives_meanwhile() -> None:
    memory = [0, 0, 0]
    # 5 finds the disk idle; 6 and 14 arrive during its commit and share the next; 16 is during that one.
    assert [committed_ns(memory, now, 10, 100) for now in (5, 6, 14, 16, 60, 95, 96)] == [15, 25, 25, 35, 70, 100, 100]


def test_a_slow_node_serves_one_message_a_service_time() -> None:
    fault = picture.fault_of({"slow_node": {"node": "b", "service": "25ms"}})
    trace: list[reference.TraceRow] = []
    reference.run(picture.world(fault, "message"), 1, trace=trace)
    times = [row.time_ns // MS for row in trace if row.what == reference.MESSAGE]
    # Messages arrive every 10 ms from 10 ms on; those from 100 to 290 ms are in the queue, which heals at 300 ms.
    assert times[:9] == list(range(10, 100, 10))
    assert times[9:17] == [125, 150, 175, 200, 225, 250, 275, 300]
    assert times[17:30] == [300] * 13 and times[30:] == list(range(310, 410, 10))


def test_a_crash_takes_what_waits() -> None:
    slow = {"slow_node": {"at": "100ms", "for": "900ms", "node": "f1", "service": "200ms"}}
    crash = {"crash": {"at": "500ms", "for": "100ms", "node": "f1"}}
    down = [
        sum(link.down for link in reference.run(prepare(experiment(faults)), 1).links)
        for faults in ([crash], [slow, crash])
    ]
    assert down[1] > down[0] + 5


def test_clocks_are_a_pure_function_of_the_plan() -> None:
    assert skew_ns(0, 7, 0, 0) == 7
    assert skew_ns(2_000_000, -5, 1000, 0) == -5 + 2000
    assert [skew_ns(passed, 9, 0, 10) for passed in (0, 9, 10, 19, 20)] == [9, 9, 0, 0, 9]


REGISTER = {
    "title": "t",
    "system": {"protocol": "crdt_register", "replicas": [{"name": name} for name in ("a", "b", "c")],
               "crdt_register": {"period": "40ms"}},
    "network": {"links": {"default": {"delay": "2ms"}}},
    "workload": {"arrivals": "poisson(200/s)", "duration": "1s", "keys": 3},
    "drain": "1s",
}  # fmt: skip


def test_a_fast_clock_hides_later_writes_and_both_executors_see_it() -> None:
    def hidden(faults: list[dict[str, Any]]) -> History:
        return both(prepare(Experiment.model_validate({**REGISTER, "faults": faults})), 4)

    fast = {"clock_offset": {"at": "100ms", "for": "500ms", "node": "b", "offset": "300ms"}}
    strobe = {"clock_offset": {**fast["clock_offset"], "strobe": "20ms", "drift_ppm": 50_000}}
    calm, wrong, flipping = hidden([]), hidden([fast]), hidden([strobe])
    assert calm.counters["hidden"] == 0
    assert wrong.counters["hidden"] > 10
    assert flipping.counters["hidden"] > 0 and flipping.trace_hash != wrong.trace_hash
    assert wrong.faults[0].bit and flipping.faults[0].bit and wrong.faults[0].bit > flipping.faults[0].bit


def test_a_clock_that_nobody_reads_is_a_note() -> None:
    history = reference.run(
        prepare(experiment([{"clock_offset": {**AT, "node": "leader", "offset": "-2s"}}], drain="4s")), 1
    )
    assert history.trace_hash == reference.run(prepare(experiment([], drain="4s")), 1).trace_hash
    assert history.faults[0].bit is None
    assert any("reads no wall clock" in note for note in history.notes)


def test_overload_adds_what_a_spike_adds() -> None:
    fault = experiment([{"overload": {**AT, "rate": "300/s"}}])
    workload = {"arrivals": "poisson(100/s)", "duration": "1500ms", "keys": 20}
    spiked = experiment([], workload={**workload, "spikes": [{**AT, "rate": "300/s"}]})
    one, other = reference.run(prepare(fault), 5), reference.run(prepare(spiked), 5)
    assert one.operations.intended_ns.tolist() == other.operations.intended_ns.tolist()
    base = len(prepare(experiment([])).operations(5))
    assert one.faults[0].bit == len(one.operations.key) - base > 100


def test_the_page_is_what_runs_give() -> None:
    from pathlib import Path

    page = Path(__file__).parents[2] / "docs" / "node-faults.md"
    assert page.read_text(encoding="utf-8") == node_picture.gallery()
