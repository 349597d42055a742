"""Search: random points of the declared space, the current settings among them, raced on paired seeds.

Every candidate meets the same seeds, so differences are differences of settings. Each stage keeps the better third
and gives it
more seeds; the current settings always stay. What wins here is a proposal only: the winner of many is flattered by
luck, so
its gain is measured again on seeds that the search never saw (`confirm`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lab.core import draws
from lab.metrics import METRICS, split_measure
from lab.run import RunSet
from lab.spec.claims import parse_claim
from lab.spec.schema import Experiment, Tune
from lab.spec.space import Parameter, current_value, override, parse_space, value_at
from lab.verdict import metric_units

KEEP_SHARE = 3  # one in three goes on to the next stage
FLOOR = 1e-9
SEARCH_DRAW = 101
Run = Callable[[Experiment, Sequence[int]], RunSet]
Progress = Callable[[str, int, int], None]


@dataclass(slots=True)
class Candidate:
    """One point of the space. `score` is the geometric mean of its objectives relative to the current settings: below
    1 is better.

    None: an objective cannot be told (for example, runs did not converge).
    """

    values: dict[str, str]
    experiment: Experiment
    is_current: bool = False
    stage: int = 0
    runs: RunSet | None = None
    objectives: dict[str, float | None] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    score: float | None = None

    @property
    def feasible(self) -> bool:
        """Whether every condition of `subject_to` held in the runs so far."""
        return not self.broken


def candidates(experiment: Experiment, tune: Tune, seed: int) -> list[Candidate]:
    """Return the current settings and up to `tune.candidates` distinct random points; contradictory points are left
    out.
    """
    space = parse_space(tune, experiment)
    current = {parameter.path: current_value(experiment, parameter.path) for parameter in space}
    found = [Candidate(current, experiment, is_current=True)]
    seen = {tuple(current.values())}
    for number in range(tune.candidates * 4):
        values = _point(space, draws.chain(seed, SEARCH_DRAW, number))
        if tuple(values.values()) in seen:
            continue
        seen.add(tuple(values.values()))
        try:
            found.append(Candidate(values, override(experiment, values)))
        except ValueError:
            continue  # two settings contradict each other, such as a cap below the base
        if len(found) > tune.candidates:
            break
    return found


def _point(space: Sequence[Parameter], key: int) -> dict[str, str]:
    return {parameter.path: value_at(parameter, draws.mix(key, index)) for index, parameter in enumerate(space)}


def loss(measure: str, value: float | None) -> float | None:
    """Return the number to minimise: the value, or 1 - value where higher is better; None if it cannot be told."""
    if value is None:
        return None
    return 1 - value if METRICS[split_measure(measure)[0]].direction == "higher" else value


def evaluate(candidate: Candidate, current: Candidate, tune: Tune) -> None:
    """Fill a candidate's objectives, broken conditions and score from its runs."""
    assert candidate.runs is not None
    runs = candidate.runs
    candidate.objectives = {measure: loss(measure, runs.measure(measure).value) for measure in tune.minimise}
    units = metric_units()
    candidate.broken = []
    for text in tune.subject_to:
        claim = parse_claim(text, units)
        value = runs.measure(claim.measure).value
        if value is None or not claim.holds(value):
            candidate.broken.append(text)
    candidate.score = score(candidate.objectives, current.objectives)


def score(objectives: Mapping[str, float | None], reference: Mapping[str, float | None]) -> float | None:
    """Return the geometric mean of objective / reference; an objective that only the reference lacks counts as one
    half.
    """
    total = 0.0
    for measure, value in objectives.items():
        base = reference[measure]
        if value is None:
            return None
        total += math.log(0.5) if base is None else math.log((value + FLOOR) / (base + FLOOR))
    return math.exp(total / len(objectives))


def order(candidate: Candidate) -> tuple[bool, bool, float]:
    """Return the sort key: feasible first, told first, lower score first."""
    return (not candidate.feasible, candidate.score is None, candidate.score or 0.0)


def stages(total: int, pool: int) -> list[tuple[int, int]]:
    """Return (candidates kept, seeds) per stage: all on a quarter of the seeds, then the better third on half, then
    on all.
    """
    plan, keep = [], pool
    for seeds in (max(4, total // 4), max(4, total // 2), total):
        plan.append((keep, seeds))
        keep = max(4, -(-keep // KEEP_SHARE))
    return plan


def race(pool: list[Candidate], tune: Tune, run: Run, first_seed: int, progress: Progress) -> list[Candidate]:
    """Run the stages; return all candidates, best first. `first_seed` starts the paired seeds."""
    current = next(candidate for candidate in pool if candidate.is_current)
    alive = list(pool)
    for stage, (keep, seed_count) in enumerate(stages(tune.seeds, len(pool)), start=1):
        ranked = sorted((c for c in alive if c is not current), key=order)
        alive = [current, *ranked[: max(1, keep - 1)]]
        for number, candidate in enumerate(alive, start=1):
            _extend(candidate, range(first_seed, first_seed + seed_count), run)
            candidate.stage = stage
            evaluate(candidate, current, tune)
            progress(f"stage {stage}: {len(alive)} settings × {seed_count} seeds", number, len(alive))
    return sorted(pool, key=lambda candidate: (-candidate.stage, *order(candidate)))


def _extend(candidate: Candidate, seeds: Sequence[int], run: Run) -> None:
    """Run the seeds that the candidate has not met yet."""
    done = set(candidate.runs.seeds) if candidate.runs else set()
    missing = [seed for seed in seeds if seed not in done]
    if not missing:
        return
    fresh = run(candidate.experiment, missing)
    if candidate.runs is None:
        candidate.runs = fresh
    else:
        candidate.runs.rows += fresh.rows
        candidate.runs.wall_s += fresh.wall_s
