"""Runs in several scenarios as one: each objective is taken in every scenario, and the worst, the mean of all, or the
mean of the worst share of them (CVaR, Rockafellar and Uryasev 2000) counts.

All scenarios are run on the same seeds and weigh the same. An objective that one scenario cannot tell is told by none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lab.run import RunSet
from lab.spec.scenarios import scenarios
from lab.spec.schema import Experiment, robust_share
from lab.tuning.kinds import Run

Values = NDArray[np.float64]


@dataclass(slots=True)
class ScenarioRuns(RunSet):
    """The same seeds in each scenario. `rows` are those of the first; `share` is the worst share that counts."""

    parts: dict[str, RunSet] = field(default_factory=dict)
    share: float = 0.0


def over_scenarios(run: Run) -> Run:
    """Return `run` in every scenario of an experiment; where it has none, `run` as it is."""

    def everywhere(experiment: Experiment, seeds: Sequence[int]) -> RunSet:
        tune = experiment.tune
        if tune is None or not tune.scenarios:
            return run(experiment, seeds)
        parts = {name: run(world, seeds) for name, world in scenarios(experiment).items()}
        first = next(iter(parts.values()))
        wall_s = sum(part.wall_s for part in parts.values())
        share = robust_share(tune.robust)
        return ScenarioRuns(experiment, first.plane, first.executor, first.rows, wall_s, parts, share)

    return everywhere


def parts_of(runs: RunSet) -> dict[str, RunSet]:
    """Return the runs by scenario; by the empty name where there are no scenarios."""
    return runs.parts if isinstance(runs, ScenarioRuns) else {"": runs}


def share_of_worst(runs: RunSet) -> float:
    """Return the share of scenarios, the worst first, whose mean counts."""
    return runs.share if isinstance(runs, ScenarioRuns) else 0.0


def first_runs(runs: RunSet, count: int) -> RunSet:
    """Return the first `count` runs: settings are compared on the seeds that both have met."""
    if len(runs.rows) <= count:
        return runs
    if isinstance(runs, ScenarioRuns):
        parts = {name: first_runs(part, count) for name, part in runs.parts.items()}
        rows = next(iter(parts.values())).rows
        return ScenarioRuns(runs.experiment, runs.plane, runs.executor, rows, 0.0, parts, runs.share)
    return RunSet(runs.experiment, runs.plane, runs.executor, runs.rows[:count])


def append(runs: RunSet, fresh: RunSet) -> None:
    """Add the runs of further seeds, in every scenario."""
    more = parts_of(fresh)
    for name, part in parts_of(runs).items():
        part.rows += more[name].rows  # the first scenario's list is `runs.rows`, too
    runs.wall_s += fresh.wall_s


def combined(losses: Values, share: float) -> Values:
    """Return, for losses of shape (scenarios, samples), the mean of the worst `share` of scenarios in each sample; 0 is
    the worst alone. A scenario that the share cuts counts in part. NaN in one scenario makes the sample NaN.
    """
    count = len(losses)
    ordered = -np.sort(-losses, axis=0)
    weights = np.clip(share * count - np.arange(count), 0.0, 1.0) if share * count > 1 else np.eye(1, count)[0]
    found: Values = (ordered * (weights / weights.sum())[:, None]).sum(axis=0)
    return np.where(np.isnan(losses).any(axis=0), np.nan, found)
