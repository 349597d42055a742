"""How far a search is, and when it must stop: runs counted where they are made, against what is still planned."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from lab.core.units import duration_text
from lab.run import RunSet
from lab.spec.schema import Experiment, Tune, budget_limits
from lab.tuning.kinds import Progress, Run

SEARCH, CONFIRM, PRESETS, SENSITIVITY = "search", "confirm", "presets", "sensitivity"


class Meter:
    """Counts the runs of a search by phase. `plan` holds how many each phase will probably make.

    A budget ends the search alone: what it found is always confirmed.
    """

    def __init__(self, tune: Tune, plan: Mapping[str, int], progress: Progress) -> None:
        self.plan = dict(plan)
        self.phase, self.what = SEARCH, ""
        self.made = dict.fromkeys(plan, 0)
        self._progress = progress
        self._limit_ns, self._limit_runs = budget_limits(tune.stop.budget)
        self._started = time.monotonic_ns()

    def run(self, run: Run) -> Run:
        """Return `run`, counted."""

        def counted(experiment: Experiment, seeds: Sequence[int]) -> RunSet:
            found = run(experiment, seeds)
            self.made[self.phase] += len(seeds)
            self._tell()
            return found

        return counted

    def enter(self, phase: str, what: str = "") -> None:
        """Begin a phase; those before it are over."""
        self.phase, self.what = phase, what or phase
        for earlier in list(self.plan)[: list(self.plan).index(phase)]:
            self.plan[earlier] = self.made[earlier]

    def finish(self) -> None:
        """Say that everything is done."""
        self.plan = dict(self.made)
        self._tell()

    @property
    def spent(self) -> bool:
        """Whether the search has used up its budget."""
        if self._limit_runs is not None and self.made[SEARCH] >= self._limit_runs:
            return True
        return self._limit_ns is not None and time.monotonic_ns() - self._started >= self._limit_ns

    def limit_text(self) -> str:
        """Return the budget in words."""
        return f"{self._limit_runs} runs" if self._limit_runs is not None else duration_text(self._limit_ns or 0)

    def _tell(self) -> None:
        done = sum(self.made.values())
        total = sum(max(self.plan[phase], self.made[phase]) for phase in self.plan)
        self._progress(f"tuning: {self.what}, runs", done, max(total, done))


def planned(tune: Tune, presets: int, few: int, full: int, wide: int) -> dict[str, int]:
    """Return about how many runs each phase makes: `few` and `full` seeds a candidate, `wide` seeds of sensitivity."""
    worlds, dimensions = max(1, len(tune.scenarios)), len(tune.parameters)
    sensitivity = dimensions * 11 + 4 * (dimensions + 1) + tune.sobol * (dimensions + 2)
    return {
        SEARCH: worlds * ((tune.candidates + 1) * few + (tune.candidates // 3 + 8) * (full - few) + 5 * full),
        CONFIRM: worlds * 2 * tune.confirm_seeds,
        PRESETS: worlds * presets * tune.confirm_seeds,
        SENSITIVITY: worlds * wide * sensitivity,
    }
