"""A candidate: one point of the space, its runs so far, and how it compares with the current settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lab.metrics import METRICS, split_measure
from lab.run import RunSet, units_of
from lab.spec.claims import Claim, parse_claim
from lab.spec.schema import Experiment, Tune
from lab.tuning.kinds import Run
from lab.tuning.resample import aggregated, column, floors, point_value, seed_draws
from lab.tuning.robust import append, combined, first_runs, parts_of, share_of_worst

SURE = 0.95
CONDITION_RESAMPLES = 200


@dataclass(slots=True)
class Candidate:
    """One point of the space. `score` is the geometric mean of its objectives relative to the current settings: below
    1 is better. None: an objective cannot be told (for example, runs did not converge).

    `stage` counts the times it was given more seeds; 0 means that it has not been run. `broken` are the conditions that
    do not hold in its runs, `doubtful` those that other seeds may well break: each held in less than 95 % of resamples.
    """

    values: dict[str, str]
    experiment: Experiment
    is_current: bool = False
    stage: int = 0
    runs: RunSet | None = None
    objectives: dict[str, float | None] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)
    score: float | None = None

    @property
    def feasible(self) -> bool:
        """Whether every condition of `subject_to` held in the runs so far."""
        return not self.broken

    @property
    def run_count(self) -> int:
        """How many runs it has had."""
        return len(self.runs.rows) if self.runs else 0


def loss(measure: str, value: float | None) -> float | None:
    """Return the number to minimise: the value, or 1 - value where higher is better; None if it cannot be told."""
    if value is None:
        return None
    return 1 - value if METRICS[split_measure(measure)[0]].direction == "higher" else value


def evaluate(candidate: Candidate, current: Candidate, tune: Tune) -> None:
    """Fill a candidate's objectives, broken conditions and score from its runs and the current settings' on its
    seeds.
    """
    assert candidate.runs is not None and current.runs is not None
    runs = candidate.runs
    reference = first_runs(current.runs, len(runs.rows))
    candidate.objectives = losses(runs, tune.minimise)
    units = units_of(runs.experiment.system.protocol)
    candidate.broken, candidate.doubtful = [], []
    for text in tune.subject_to:
        claim = parse_claim(text, units)
        for scenario, part in parts_of(runs).items():
            value = point(part, claim.measure)
            where = in_scenario_text(text, scenario)
            if value is None or not claim.holds(value):
                candidate.broken.append(where)
            if _share_holding(part, claim) < SURE:
                candidate.doubtful.append(where)
    candidate.score = score(candidate.objectives, losses(reference, tune.minimise))


def in_scenario_text(text: str, scenario: str) -> str:
    """Return `text in scenario`; there is no scenario where none is declared."""
    return f"{text} in {scenario}" if scenario else text


def _share_holding(runs: RunSet, claim: Claim) -> float:
    """Return the share of resampled seeds in which a claim holds; it depends on the values of the runs alone."""
    name, aggregate = split_measure(claim.measure)
    values = column(runs.rows, name)
    if len(set(values.tolist())) == 1:
        return float(claim.holds(float(values[0])))
    found = aggregated(values[seed_draws(len(values), 0, CONDITION_RESAMPLES)], aggregate)
    return sum(claim.holds(float(value)) for value in found) / len(found)


def losses(runs: RunSet, measures: Iterable[str]) -> dict[str, float | None]:
    """Return each objective's number to minimise over the runs, and over their scenarios."""
    parts, share = parts_of(runs).values(), share_of_worst(runs)
    found: dict[str, float | None] = {}
    for measure in measures:
        told = [loss(measure, point(part, measure)) for part in parts]
        values = np.array([[np.nan if value is None else value] for value in told])
        whole = float(combined(values, share)[0])
        found[measure] = None if math.isnan(whole) else whole
    return found


def point(runs: RunSet, measure: str) -> float | None:
    """Return a measure over the runs without its interval, which the search has no use for."""
    name, aggregate = split_measure(measure)
    return point_value(column(runs.rows, name), aggregate)


def score(objectives: Mapping[str, float | None], reference: Mapping[str, float | None]) -> float | None:
    """Return the geometric mean of objective / reference; an objective that only the reference lacks counts as one
    half, and what is next to nothing counts as its floor.
    """
    total, least = 0.0, floors(reference)
    for measure, value in objectives.items():
        base = reference[measure]
        if value is None:
            return None
        total += math.log(0.5) if base is None else math.log(max(value, least[measure]) / max(base, least[measure]))
    return math.exp(total / len(objectives))


def order(candidate: Candidate) -> tuple[bool, bool, float]:
    """Return the sort key: feasible first, told first, lower score first."""
    return (not candidate.feasible, candidate.score is None, candidate.score or 0.0)


def careful_order(candidate: Candidate) -> tuple[bool, bool, bool, float]:
    """Return the sort key for what is proposed: as `order`, but conditions that other seeds may break come later."""
    broken, untold, value = order(candidate)
    return (broken, untold, bool(candidate.doubtful), value)


def extend(candidate: Candidate, seeds: Sequence[int], run: Run) -> None:
    """Run the seeds that the candidate has not met yet."""
    done = set(candidate.runs.seeds) if candidate.runs else set()
    missing = [seed for seed in seeds if seed not in done]
    if not missing:
        return
    fresh = run(candidate.experiment, missing)
    candidate.stage += 1
    if candidate.runs is None:
        candidate.runs = fresh
    else:
        append(candidate.runs, fresh)
