"""The Pareto front: settings that no other beats in one objective without losing in another."""

from __future__ import annotations

from collections.abc import Sequence

from lab.tuning.candidate import Candidate
from lab.tuning.search import Race, stages

FRONT_MAX = 12  # settings that are run on all seeds for the front's sake


def pareto(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that meet the conditions and are not dominated, by their first objective.

    One dominates another if it is no worse in every objective and better in one.
    """
    told = [(c, [v for v in c.objectives.values() if v is not None]) for c in candidates if c.feasible and c.objectives]
    points = [(candidate, values) for candidate, values in told if len(values) == len(candidate.objectives)]
    front = [
        (values, candidate)
        for candidate, values in points
        if not any(all(a <= b for a, b in zip(other, values, strict=True)) and other != values for _, other in points)
    ]
    return [candidate for _, candidate in sorted(front, key=lambda pair: pair[0])]


def measured_front(race: Race) -> list[Candidate]:
    """Return the front with every member on all of the search's seeds: few seeds would put lucky settings on it."""
    full = stages(race.tune.seeds)[-1]
    extended = 0
    while True:
        front = pareto((race.current, *race.pool))
        behind = [candidate for candidate in front if candidate.run_count < full][: FRONT_MAX - extended]
        if not behind:
            return [candidate for candidate in front if candidate.run_count >= full]
        race.extend(behind, full, "front")
        extended += len(behind)
