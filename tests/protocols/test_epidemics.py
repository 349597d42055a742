"""Epidemics and floods: who is reached, what ends, what a topology is."""

from __future__ import annotations

import pytest

from lab.engines import compiled
from lab.engines.scenario import bare
from lab.protocols import flood
from lab.protocols.epidemic import COIN, COUNTER, NEVER, PULL, PUSH, Epidemic
from lab.protocols.flood import Flood
from validation.world import MS, SECOND, workload, world


@pytest.mark.parametrize("ways", [PUSH, PULL, PUSH | PULL])
def test_anti_entropy_reaches_everyone_and_never_ends(ways: int) -> None:
    params = {"period_ns": 10 * MS, "ways": ways, "stop": NEVER, "feedback": 0, "k": 1}
    runs = compiled.run_many(bare(Epidemic, params, nodes=50, horizon_ns=SECOND), range(20), threads=1)
    assert (runs.counters["reached"] == 50).all()
    assert (runs.counters["removals"] == 0).all()


@pytest.mark.parametrize("stop", [COUNTER, COIN])
@pytest.mark.parametrize("feedback", [0, 1])
def test_rumours_die_out(stop: int, feedback: int) -> None:
    params = {"period_ns": 10 * MS, "ways": PUSH, "stop": stop, "feedback": feedback, "k": 2}
    runs = compiled.run_many(bare(Epidemic, params, nodes=50, horizon_ns=20 * SECOND), range(20), threads=1)
    assert (runs.counters["removals"] == runs.counters["reached"]).all()  # whoever was infective lost interest
    assert (runs.counters["reached"] < 50).any()


@pytest.mark.parametrize(
    ("topology", "width", "edges"),
    [(flood.TOTAL, 0, 66), (flood.LINE, 0, 11), (flood.GRID, 4, 17), (flood.GRID, 5, 16), (flood.TREE, 3, 11)],
)
def test_a_flood_sends_over_every_edge_it_must(topology: int, width: int, edges: int) -> None:
    """12 nodes: with echo every edge carries a value both ways, without each node spares its sender."""
    for echo, expected in ((1, 2 * edges), (0, 2 * edges - 11)):
        params = {"topology": topology, "width": width, "echo": echo, "reads_ppm": 0}
        scenario = world(Flood, params, nodes=12, horizon_ns=3 * SECOND, workload=workload("poisson(50/s)", "1s"))
        history = compiled.run(scenario, 3)
        count = len(history.operations)
        assert history.counters["receipts"] == 12 * count
        if topology != flood.TOTAL or echo:  # at once over ideal links, two nodes may cross each other
            assert history.counters["forwarded"] == expected * count
