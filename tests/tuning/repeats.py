"""The oracles many times over: `python -m tests.tuning.repeats [REPEATS]` prints how often the tuner was off by more
than one percent, and how often it claimed a gain where there is none. Minutes; the tests hold a part of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from lab.spec.schema import Experiment
from lab.tuning.confirm import GAIN, confirm
from lab.tuning.kinds import Run
from lab.tuning.meter import Meter, planned
from lab.tuning.recommend import fresh_runs
from lab.tuning.search import Race, search
from lab.tuning.select import select
from tests.tuning import oracles
from tests.tuning.oracles import problem

RESTARTS = {
    "restart, Pareto 1.5": (oracles.pareto(1.5), 2.278831),
    "restart, Pareto 3": (oracles.pareto(3), 1.491677),
    "restart, lognormal 1": (oracles.lognormal(1), 1.471025),
    "restart, lognormal 1.5": (oracles.lognormal(1.5), 1.273294),
}
BUDGETS = {0.01: 30.916, 0.02: 28.150, 0.05: 24.992, 0.1: 22.825}


def chosen(plan: Experiment, run: Run, first_seed: int) -> Experiment:
    """Return what the search proposes, without confirming it."""
    race = _race(plan, run, first_seed)
    return select(race, search(race), first_seed)[0].experiment


def status(plan: Experiment, run: Run, first_seed: int) -> str:
    """Return what a search and its confirmation come to."""
    race = _race(plan, run, first_seed)
    winner, _ = select(race, search(race), first_seed)
    assert plan.tune is not None
    current, proposed = fresh_runs(race.current, winner, plan.tune, first_seed, run)
    return confirm(current, proposed, plan.tune, first_seed).status


def _race(plan: Experiment, run: Run, first_seed: int) -> Race:
    assert plan.tune is not None
    meter = Meter(plan.tune, planned(plan.tune, 0, 1, 1, 1), lambda *_: None)
    return Race(plan, plan.tune, run, first_seed, meter)


def restart_losses(name: str, repeats: int) -> list[float]:
    """Return the value of each proposal as a multiple of the optimum's."""
    law, least = RESTARTS[name]
    plan, run = problem("30s", "200ms..30s log"), oracles.restart_runner(law)
    found = (chosen(plan, run, 1 + 10_000 * repeat) for repeat in range(repeats))
    return [oracles.restart_mean(law, experiment.policy.timeout / 1e9) / least for experiment in found]


def hedge_losses(budget: float, repeats: int) -> list[float]:
    """Return the value of each proposal as a multiple of the optimum's."""
    law = oracles.disk()
    objective, condition = "acknowledge_latency_p99.mean", f"amplification <= {1 + budget}"
    plan, run = problem("60s", "2s..80s log", objective, [condition]), oracles.hedge_runner(law)
    found = (chosen(plan, run, 1 + 10_000 * repeat) for repeat in range(repeats))
    return [oracles.hedged_p999(law, experiment.policy.timeout / 1e9) / BUDGETS[budget] for experiment in found]


def false_gains(repeats: int) -> int:
    """Return how many searches claimed a gain where every timeout is as good."""
    plan = problem("5s", "200ms..30s log", candidates=12, seeds=16, confirm_seeds=30)
    run = oracles.restart_runner(oracles.exponential())
    return sum(status(plan, run, 1 + 10_000 * repeat) == GAIN for repeat in range(repeats))


def main(repeats: int) -> None:
    """Print a line a problem."""
    tasks: list[tuple[str, Callable[[], list[float]]]] = [
        *((name, lambda name=name: restart_losses(name, repeats)) for name in RESTARTS),  # type: ignore[misc]
        *((f"hedge, {budget:.0%}", lambda budget=budget: hedge_losses(budget, repeats)) for budget in BUDGETS),  # type: ignore[misc]
    ]
    for name, task in tasks:
        losses = task()
        off = sum(loss > 1.01 for loss in losses)
        print(f"{name}: {off} of {repeats} off by more than 1 %, the worst by {max(losses) - 1:.2%}", flush=True)
    flat = 5 * repeats
    print(f"flat: {false_gains(flat)} of {flat} claimed a gain; at most 2.5 % are stated")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
