"""Search: an even design, then rounds of proposals near what is good, raced on paired seeds.

Every candidate meets the same seeds, so differences are differences of settings. All get a few seeds; whoever is among
the best gets more before it may stay there, so that luck in few runs does not steer the search. What wins here is a
proposal only: the winner of many is flattered by luck, so its gain is measured again on seeds that the search never
saw (`confirm`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lab.spec.schema import Experiment, Tune
from lab.tuning.candidate import Candidate, careful_order, evaluate, extend, order
from lab.tuning.kinds import Run
from lab.tuning.meter import Meter
from lab.tuning.propose import Proposer

ROUNDS = 8
SHRINK = 0.7  # how much smaller the steps are in each round
FINALISTS = 4
SEEDS_LEAST = 4
EDGE_STEPS = 6


class SearchError(Exception):
    """There is nothing to search."""

    exit_code = 2


def stages(total: int) -> tuple[int, int]:
    """Return how many seeds all candidates, and those among the best, are run on."""
    return max(SEEDS_LEAST, total // 2), total


class Race:
    """The state of one search: all candidates with their runs so far."""

    def __init__(self, experiment: Experiment, tune: Tune, run: Run, first_seed: int, meter: Meter) -> None:
        self.proposer = Proposer(experiment, tune, first_seed)
        self.current = self.proposer.current
        self.pool: list[Candidate] = []
        self.tune = tune
        self.meter = meter
        self._run = run
        self._first_seed = first_seed

    def extend(self, candidates: Sequence[Candidate], seeds: int, what: str) -> None:
        """Run candidates on the first `seeds` seeds, the current settings before them, and judge them."""
        chosen = range(self._first_seed, self._first_seed + seeds)
        self.meter.what = what
        for candidate in (self.current, *candidates):
            extend(candidate, chosen, self._run)
            evaluate(candidate, self.current, self.tune)

    def leaders(self, count: int, seeds: int, what: str, key: Callable[[Candidate], Any] = order) -> list[Candidate]:
        """Return the best `count` candidates, each of which has had at least `seeds` seeds."""
        while True:
            best = sorted(self.pool, key=key)[:count]
            behind = [candidate for candidate in best if candidate.run_count < seeds]
            if not behind:
                return best
            self.extend(behind, seeds, what)

    def add(self, candidates: Sequence[Candidate], seeds: int, what: str) -> None:
        """Try new candidates, until the budget is spent, and let the proposer learn from them."""
        for candidate in candidates:
            if self.meter.spent and self.pool:
                return
            self.extend([candidate], seeds, what)
            self.pool.append(candidate)
            self.proposer.tell([candidate])


def search(race: Race) -> list[Candidate]:
    """Return the finalists, best first, all run on `tune.seeds` seeds; `race.pool` holds everything that was tried."""
    tune, proposer = race.tune, race.proposer
    few, full = stages(tune.seeds)
    kept = min(EDGE_STEPS, tune.candidates // 6) if tune.subject_to else 0
    budget = tune.candidates - kept
    first = -(-budget // 2)
    race.add(proposer.design(first), few, "even design")
    if not race.pool:
        raise SearchError("no settings but the current ones were found that meet tune.constraints; widen the ranges")
    radius = max(first, 1) ** (-1 / len(proposer.space))
    for turn in range(1, ROUNDS + 1):
        wanted = round((budget - first) * turn / ROUNDS) + first - len(race.pool)
        if wanted <= 0 or race.meter.spent:
            continue
        what = f"round {turn} of {ROUNDS}"
        leaders = race.leaders(3, full, what)
        fresh = proposer.ask(wanted // 3)
        fresh += proposer.steps(leaders or [race.current], radius, wanted - len(fresh), turn)
        race.add(fresh, few, what)
        radius *= SHRINK
    race.leaders(max(FINALISTS, tune.candidates // 6), full, "leaders")
    if not tune.subject_to:
        return race.leaders(FINALISTS, full, "finalists")
    left = kept - to_the_edge(race, kept)
    if left:
        near = race.leaders(3, full, "last steps", careful_order)
        race.add(proposer.steps(near or [race.current], radius, left, ROUNDS + 1), few, "last steps")
    # The best by score alone lie on the edge of the conditions, where other seeds break them.
    safe = race.leaders(FINALISTS, full, "finalists", careful_order)
    return safe + [bold for bold in race.leaders(FINALISTS, full, "finalists") if bold not in safe]


def to_the_edge(race: Race, count: int) -> int:
    """Halve, `count` times, the way from the best setting that surely meets the conditions to a better one that does
    not: where a condition binds, the optimum lies between. Return how many settings were tried.
    """
    seeds = stages(race.tune.seeds)[-1]
    for done in range(count):
        safe = race.leaders(1, seeds, "edge of the conditions", careful_order)[0]
        if not safe.feasible or safe.doubtful or safe.score is None:
            return done
        bold = [
            candidate
            for candidate in race.pool
            if (candidate.broken or candidate.doubtful) and candidate.score is not None and candidate.score < safe.score
        ]
        between = race.proposer.between(safe, bold)
        if between is None or race.meter.spent:
            return done
        race.add([between], seeds, "edge of the conditions")
    return count


def ranked(race: Race) -> list[Candidate]:
    """Return the current settings and everything that was tried, those with most seeds first, then the best."""
    return sorted((race.current, *race.pool), key=lambda candidate: (-candidate.run_count, *order(candidate)))
