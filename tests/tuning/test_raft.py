"""Raft's election spread, tuned on the protocol itself: too little splits votes, too much is slow to notice. The truth
is a fine grid of spreads, each run on thousands of seeds of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.engines import compiled
from lab.engines.scenario import prepare
from lab.run import RunSet, measure, run_simulated
from lab.spec.schema import Experiment
from lab.spec.space import override
from tests.tuning.repeats import chosen

SPREAD = "system.raft.election_spread"
RAFT = Experiment.model_validate({
    "title": "How wide should election timeouts be spread?",
    "system": {
        "protocol": "raft", "replicas": [{"name": f"n{index}"} for index in range(5)],
        "raft": {"election_timeout": "100ms", "election_spread": "1s", "heartbeat": "50ms"},
    },
    "network": {"links": {"default": {"delay": "20ms"}}},
    "workload": {"arrivals": "constant(1/s)", "duration": "1s"},
    "drain": "4s",
    "tune": {
        "parameters": {SPREAD: "1ms..2s log"}, "minimise": ["leader_first.mean"], "candidates": 20, "seeds": 60,
        "confirm_seeds": 60,
    },
})  # fmt: skip
GRID_MS = (20, 40, 60, 80, 100, 120, 150, 200, 300, 1000)
SEEDS = range(5_000_000, 5_000_300)


def simulate(experiment: Experiment, seeds: Sequence[int]) -> RunSet:
    return run_simulated(experiment, seeds, workers=1, judging=measure)


def mean_ms(spread_ms: float) -> float:
    found = simulate(override(RAFT, {SPREAD: f"{spread_ms:g}ms"}), SEEDS)
    values = [row.values["leader_first"] for row in found.rows]
    assert all(value.value is not None for value in values)
    return float(np.mean([value.value for value in values])) / 1e6  # type: ignore[arg-type]


def test_the_tuner_finds_the_best_election_spread() -> None:
    compiled.load_for(prepare(RAFT))
    truth = {spread: mean_ms(spread) for spread in GRID_MS}
    best = min(truth.values())
    assert truth[GRID_MS[0]] > 1.2 * best, "a narrow spread splits votes: the optimum is inside"
    assert truth[GRID_MS[-1]] > 1.2 * best, "a wide one waits"
    found = chosen(RAFT, simulate, 1)
    spread_ms = found.system.settings.election_spread / 1e6
    assert mean_ms(spread_ms) <= 1.02 * best, (spread_ms, truth)
