"""Scenarios: the worlds that settings are judged in, each the experiment with other faults, links or load."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lab.spec.checks import problems
from lab.spec.errors import Path, Problem
from lab.spec.schema import NAME, Experiment, Scenario
from lab.spec.space import accepted, override

AS_WRITTEN = "as written"


def scenarios(experiment: Experiment) -> dict[str, Experiment]:
    """Return the experiment in each of its scenarios by name; without any, itself alone."""
    tune = experiment.tune
    if tune is None or not tune.scenarios:
        return {AS_WRITTEN: experiment}
    return {name: in_scenario(experiment, scenario) for name, scenario in tune.scenarios.items()}


def in_scenario(experiment: Experiment, scenario: Scenario) -> Experiment:
    """Return the experiment in one scenario; raise ValueError for values that contradict themselves."""
    changed = _changed(experiment, scenario)
    return override(changed, scenario.set) if scenario.set else changed


def _changed(experiment: Experiment, scenario: Scenario) -> Experiment:
    names = ("faults", "network", "drain")
    update: dict[str, Any] = {name: value for name in names if (value := getattr(scenario, name)) is not None}
    return experiment.model_copy(update=update)


def scenario_problems(experiment: Experiment) -> Iterator[Problem]:
    """Yield (path, sentence) for each scenario that is impossible or contradicts itself."""
    tune = experiment.tune
    for name, scenario in tune.scenarios.items() if tune else ():
        place: Path = ("tune", "scenarios", name)
        if not NAME.fullmatch(name):
            yield place, f"{name!r} is not a name: lower-case letters, digits, '.', '_' and '-', at most 63"
        possible = True
        for path, text in scenario.set.items():
            try:
                accepted(experiment, path, text)
                assert tune is not None
                if path in tune.parameters:
                    raise ValueError(f"{path} is searched; a scenario cannot set it")
            except ValueError as error:
                possible = False
                yield (*place, path), str(error)
        changed = _changed(experiment, scenario)
        known = set(problems(experiment))
        for problem in problems(changed):
            if problem not in known:
                possible = False
                yield (*place, *problem[0]), problem[1]
        if possible:
            try:
                in_scenario(experiment, scenario)
            except ValueError as error:
                yield place, "; ".join(str(error).splitlines())
