"""Both executors agree in every event, field and counter - and disagree where the input differs."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lab.core.laws import parse_law
from lab.engines import compiled, identity, reference
from lab.engines.compiled.layout import Room
from lab.engines.scenario import BudgetExceeded, bare
from lab.model.effects import LinkEffect
from lab.protocols.mesh import Mesh
from tests.engines.worlds import MS, scenario

CASES = 300
TINY = Room(queue=8, outbox=2, observations=4, operations=2, state=16, trace=4)


def test_random_cases_agree() -> None:
    result = identity.check(CASES, workers=1)
    assert result == {"cases": CASES, "equal": CASES, "differences": []}


def test_cases_reach_every_feature() -> None:
    """The cases would prove little if they did not bite."""
    links = [link for number in range(60) for link in reference.run(identity.case(number).scenario, 1).links]
    for name in ("lost", "cut", "down", "overflow", "duplicated", "reordered"):
        assert sum(getattr(link, name) for link in links) > 0, name
    scenarios = [identity.case(number).scenario for number in range(60)]
    assert {made.protocol.__name__ for made in scenarios} == {"Changelog", "Gossip", "Mesh"}
    assert any(made.settings for made in scenarios)
    assert any(made.bursts for made in scenarios)
    assert {outage.keep for made in scenarios for outage in made.outages} > {None}


def test_traces_agree_row_by_row() -> None:
    made = identity.case(17)
    expected: list[reference.TraceRow] = []
    found: list[reference.TraceRow] = []
    reference.run(made.scenario, made.seed, trace=expected)
    compiled.run(made.scenario, made.seed, trace=found)
    assert len(found) > 100
    assert found == expected


def test_different_seeds_differ() -> None:
    world = scenario(workload={"arrivals": "poisson(20/s)", "duration": "1s", "keys": 5})
    runs = compiled.run_many(world, range(200), threads=1)
    assert len(set(runs.trace_hash.tolist())) == 200


def test_a_different_link_or_parameter_differs() -> None:
    law = [LinkEffect(delay=parse_law("uniform(low=1ms, high=40ms)"))]
    world = bare(Mesh, {"period_ns": 5 * MS}, nodes=4, horizon_ns=100 * MS, effects=law)
    other_row = (*world.plan.rows[0][0][:1], 1, *world.plan.rows[0][0][2:])  # one message in a million is lost
    changed = [
        replace(world, params=world.params._replace(period_ns=5 * MS + 1)),
        replace(world, plan=replace(world.plan, tables=(tuple(value + 1 for value in world.plan.tables[0]),))),
        replace(world, service_ns=1),
    ]
    for other in changed:
        assert compiled.run(other, 1).trace_hash != compiled.run(world, 1).trace_hash
        assert compiled.run(other, 1).digest() == reference.run(other, 1).digest()
    unlucky = replace(world, plan=replace(world.plan, rows=((other_row,),)))
    assert compiled.run(unlucky, 1).trace_hash == compiled.run(world, 1).trace_hash


def test_results_do_not_depend_on_threads_order_chunks_or_room() -> None:
    made = identity.case(23)
    seeds = np.arange(40)
    one = compiled.run_many(made.scenario, seeds, threads=1)
    two = compiled.run_many(made.scenario, seeds, threads=2, chunk=3)
    back = compiled.run_many(made.scenario, seeds[::-1], threads=2)
    tiny = compiled.run_many(made.scenario, seeds, threads=1, room=TINY)
    for other in (two, tiny):
        assert (other.trace_hash == one.trace_hash).all()
        assert (other.event_count == one.event_count).all()
        assert all((other.counters[name] == one.counters[name]).all() for name in one.counters)
    assert (back.trace_hash[::-1] == one.trace_hash).all()
    expected = [reference.run(made.scenario, int(seed)) for seed in seeds[:5]]
    assert [f"{trace:016x}" for trace in one.trace_hash[:5]] == [history.trace_hash for history in expected]
    assert [history.counters for history in expected] == [
        {name: int(column[row]) for name, column in one.counters.items()} for row in range(5)
    ]


def test_policies_are_rows() -> None:
    world = scenario(network={"links": {"default": {"delay": "10ms", "loss": "20%"}}})
    other = replace(world, params=world.params._replace(timeout_ns=40 * MS))
    runs = compiled.run_many(world, range(10), policies=[world.params, other.params])
    assert runs.policy.tolist() == [0] * 10 + [1] * 10
    for row, made in ((3, world), (13, other)):
        assert f"{runs.trace_hash[row]:016x}" == reference.run(made, int(runs.seed[row])).trace_hash


def test_growing_room_changes_nothing() -> None:
    made = identity.case(29)
    grown, plain = (compiled.run(made.scenario, made.seed, room=room, trace=[]) for room in (TINY, None))
    assert grown.digest() == plain.digest()


def test_a_budget_stops_a_compiled_run_where_it_stops_the_reference() -> None:
    sentences = []
    for executor in (reference, compiled):
        with pytest.raises(BudgetExceeded) as caught:
            executor.run(scenario(), 1, events_max=50)  # type: ignore[attr-defined]
        sentences.append(str(caught.value))
    assert sentences[0] == sentences[1]


@pytest.mark.parametrize("hash_seed", ["0", "4321"])
def test_other_processes_agree(hash_seed: str) -> None:
    code = (
        "from lab.engines import compiled, identity, reference\n"
        "made = identity.case(31)\n"
        "print(reference.run(made.scenario, made.seed).digest(), compiled.run(made.scenario, made.seed).digest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    made = identity.case(31)
    assert printed.stdout.split() == [reference.run(made.scenario, made.seed).digest()] * 2
