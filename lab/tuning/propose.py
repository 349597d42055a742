"""Which settings to try next: an even design first, then Optuna's TPE and small steps around the leaders.

TPE finds regions and keeps the whole Pareto front in view; steps that shrink each round find the bottom of a valley.
All of it is a pure function of the seed and of what was told.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lab.core import draws
from lab.spec.conditions import Space
from lab.spec.schema import Experiment, Tune
from lab.spec.space import DRAW_BITS, Parameter, current_value, share_of, value_at
from lab.tuning.candidate import Candidate
from lab.tuning.resample import FLOOR

if TYPE_CHECKING:
    import optuna

DESIGN_DRAW, SHUFFLE_DRAW, STEP_DRAW = 101, 102, 103
LEADERS = (0, 1, 0, 2)  # the best leader gets half of the steps
CHOICE_CHANGES_PPM = 250_000
TRIES = 20  # points drawn at most for each one wanted; what is known or contradicts itself is left out
Shares = Mapping[str, float]


class Proposer:
    """Draws distinct candidates of a space. `seen` holds every one handed out, the current settings first."""

    def __init__(self, experiment: Experiment, tune: Tune, seed: int) -> None:
        self.conditions = Space(tune, experiment)
        self.space = self.conditions.parameters
        self.experiment = experiment
        self.tune = tune
        self.seed = seed
        current = {parameter.path: current_value(experiment, parameter.path) for parameter in self.space}
        self.current = Candidate(current, experiment, is_current=True)
        self.seen = {tuple(current.values())}
        self._study: optuna.Study | None = None
        self._trials: dict[tuple[str, ...], optuna.Trial] = {}

    def candidate(self, values: Mapping[str, str]) -> Candidate | None:
        """Return the candidate with these values, those that do not matter there set back, or None if it is known,
        two of its settings contradict, or it breaks a constraint.
        """
        settled = self.conditions.settle(values)
        key = tuple(settled[parameter.path] for parameter in self.space)
        if key in self.seen:
            return None
        self.seen.add(key)
        try:
            return Candidate(settled, self.conditions.build(settled))
        except ValueError:
            return None  # for example a cap below the base

    def design(self, count: int) -> list[Candidate]:
        """Return up to `count` points, each parameter spread evenly over its range (a Latin hypercube, keyed)."""
        found: list[Candidate] = []
        for attempt in range(TRIES):
            found += self._distinct(_latin_hypercube(self.space, count, draws.chain(self.seed, attempt)))
            if len(found) >= count:
                break
        return found[:count]

    def steps(self, leaders: Sequence[Candidate], radius: float, count: int, turn: int) -> list[Candidate]:
        """Return up to `count` points at most `radius` (a share of each range) away from a leader, best leader
        first.
        """
        found: list[Candidate] = []
        for number in range(count * TRIES):
            leader = leaders[LEADERS[number % len(LEADERS)] % len(leaders)]
            shares = {parameter.path: share_of(parameter, leader.values[parameter.path]) for parameter in self.space}
            key = draws.chain(self.seed, STEP_DRAW, turn, number)
            found += self._distinct([self._step(shares, leader.values, radius, key)])
            if len(found) >= count:
                break
        return found

    def _step(self, shares: Shares, values: Mapping[str, str], radius: float, key: int) -> dict[str, str]:
        """Move about half of the parameters, at least one, the rest stays."""
        moved = draws.mix(key, 0) % len(self.space)
        point = dict(values)
        for index, parameter in enumerate(self.space):
            luck, where = draws.mix(key, 2 * index + 1), draws.mix(key, 2 * index + 2)
            share = 500_000 if parameter.kind != "choice" else CHOICE_CHANGES_PPM
            if index != moved and luck % 1_000_000 >= share:
                continue
            if parameter.kind == "choice":
                point[parameter.path] = value_at(parameter, where)
            else:
                # A setting that counts may need more than the radius to change at all.
                reach = max(radius, 1.5 / max(1, parameter.high - parameter.low))
                point[parameter.path] = at_share(
                    parameter, shares[parameter.path] + reach * (2 * where / (1 << DRAW_BITS) - 1)
                )
        return point

    def between(self, safe: Candidate, others: Sequence[Candidate]) -> Candidate | None:
        """Return the point halfway from `safe` to the nearest of the others; choices stay. None if there is none."""
        numbers = [parameter for parameter in self.space if parameter.kind != "choice"]

        def distance(other: Candidate) -> float:
            return sum(
                (share_of(p, other.values[p.path]) - share_of(p, safe.values[p.path])) ** 2
                if p.kind != "choice"
                else float(other.values[p.path] != safe.values[p.path])
                for p in self.space
            )

        for other in sorted(others, key=distance):
            shares = {
                p.path: (share_of(p, safe.values[p.path]) + share_of(p, other.values[p.path])) / 2 for p in numbers
            }
            found = self.candidate(safe.values | {p.path: at_share(p, shares[p.path]) for p in numbers})
            if found is not None:
                return found
        return None

    def ask(self, count: int) -> list[Candidate]:
        """Return up to `count` points that Optuna's TPE proposes after what it was told."""
        study, found = self._optuna(), []
        from optuna.trial import TrialState

        distributions = {parameter.path: _distribution(parameter) for parameter in self.space}
        for _ in range(count):
            trial = study.ask(distributions)
            values = {
                parameter.path: str(trial.params[parameter.path])
                if parameter.kind == "choice"
                else at_share(parameter, trial.params[parameter.path])
                for parameter in self.space
            }
            candidate = self.candidate(values)
            if candidate is None:
                study.tell(trial, state=TrialState.FAIL)
                continue
            self._trials[tuple(candidate.values.values())] = trial
            found.append(candidate)
        return found

    def tell(self, candidates: Iterable[Candidate]) -> None:
        """Let Optuna learn from evaluated candidates, whoever proposed them."""
        study = self._optuna()
        from optuna.trial import TrialState

        for candidate in candidates:
            trial = self._trials.pop(tuple(candidate.values.values()), None) or self._enqueued(candidate)
            trial.set_constraint("conditions", float(len(candidate.broken)))
            told = [value for value in candidate.objectives.values() if value is not None]
            if len(told) < len(candidate.objectives):
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, [math.log(max(value, 0.0) + FLOOR) for value in told])

    def _enqueued(self, candidate: Candidate) -> optuna.Trial:
        study = self._optuna()
        values = candidate.values
        study.enqueue_trial(
            {
                parameter.path: values[parameter.path]
                if parameter.kind == "choice"
                else share_of(parameter, values[parameter.path])
                for parameter in self.space
                if parameter.kind != "choice" or values[parameter.path] in parameter.choices
            }
        )
        return study.ask({parameter.path: _distribution(parameter) for parameter in self.space})

    def _optuna(self) -> optuna.Study:
        if self._study is None:
            import optuna

            optuna.logging.set_verbosity(optuna.logging.WARNING)
            sampler = optuna.samplers.TPESampler(seed=self.seed & 0xFFFFFFFF, n_startup_trials=4)
            self._study = optuna.create_study(directions=["minimize"] * len(self.tune.minimise), sampler=sampler)
        return self._study

    def _distinct(self, points: Iterable[Mapping[str, str]]) -> list[Candidate]:
        return [found for values in points if (found := self.candidate(values)) is not None]


def at_share(parameter: Parameter, share: float) -> str:
    """Return the value at a share of the range, moved to its end if it lies outside."""
    top = (1 << DRAW_BITS) - 1
    return value_at(parameter, min(max(int(share * (1 << DRAW_BITS)), 0), top))


def _distribution(parameter: Parameter) -> optuna.distributions.BaseDistribution:
    import optuna

    if parameter.kind == "choice":
        return optuna.distributions.CategoricalDistribution(parameter.choices)
    return optuna.distributions.FloatDistribution(0.0, 1.0)


def _latin_hypercube(space: Sequence[Parameter], count: int, seed: int) -> list[dict[str, str]]:
    """Return `count` points with one in each `count`-th of every range, at a drawn place inside it."""
    columns = {}
    for index, parameter in enumerate(space):
        key = draws.chain(seed, DESIGN_DRAW, index)
        places = sorted(range(count), key=lambda place, key=key: draws.chain(key, SHUFFLE_DRAW, place))  # type: ignore[misc]
        columns[parameter.path] = [
            at_share(parameter, (place + draws.mix(key, row) / (1 << DRAW_BITS)) / count)
            for row, place in enumerate(places)
        ]
    return [{path: column[row] for path, column in columns.items()} for row in range(count)]
