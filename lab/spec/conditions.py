"""Conditions between settings: which parameters matter when, and which combinations are wanted at all."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lab.core.units import shown
from lab.spec.errors import Problem
from lab.spec.schema import Experiment, Tune
from lab.spec.space import (
    SETTABLE,
    Parameter,
    accepted,
    current_value,
    measured,
    override,
    parse_space,
    setting_steps,
)

OPERATORS: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_COMPARISON = re.compile(r"\s*(\S+?)\s*(==|!=|<=|>=|<|>)\s*(\S+)\s*")
_PATH = re.compile(r"(?:policy|system|workload)\.\S+")
_USAGE = "write for example policy.retry.base <= policy.retry.cap, or policy.retry.backoff == exponential"
Setting = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Condition:
    """`left OP right`: a setting against another setting's path or a value. What is null is neither above nor below."""

    text: str
    left: str
    sign: str
    right: str
    is_path: bool

    @property
    def paths(self) -> tuple[str, ...]:
        """The settings it looks at."""
        return (self.left, self.right) if self.is_path else (self.left,)

    def holds(self, setting: Setting) -> bool:
        """Return whether it holds where `setting` returns the value at a path as text."""
        left, right = setting(self.left), setting(self.right) if self.is_path else self.right
        if self.sign in ("==", "!="):
            return (left == right) == (self.sign == "==")
        if "null" in (left, right):
            return False
        return OPERATORS[self.sign](measured(left, left)[1], measured(right, right)[1])


def parse_condition(text: str, experiment: Experiment) -> tuple[Condition, ...]:
    """Return the comparisons that `text` joins with `and`; raise ValueError with the fix."""
    return tuple(_comparison(part, experiment) for part in re.split(r"\s+and\s+", text.strip()))


def _comparison(text: str, experiment: Experiment) -> Condition:
    match = _COMPARISON.fullmatch(text)
    if match is None:
        raise ValueError(f"{shown(text)} is not a condition; {_USAGE}")
    left, sign, right = match.groups()
    setting_steps(left, SETTABLE, experiment)
    is_path = _PATH.fullmatch(right) is not None
    if is_path:
        setting_steps(right, SETTABLE, experiment)
        values = [current_value(experiment, left), current_value(experiment, right)]
    else:
        right = accepted(experiment, left, right)
        values = [right]
    if sign not in ("==", "!="):
        kinds = {_kind(value, text) for value in values if value != "null"}
        if "null" in values and not is_path:
            raise ValueError(f"{shown(text)}: null is neither above nor below; write == null or != null")
        if len(kinds) > 1:
            raise ValueError(f"{shown(text)} compares a {' with a '.join(sorted(kinds))}")
    return Condition(text.strip(), left, sign, right, is_path)


def _kind(value: str, text: str) -> str:
    try:
        return measured(value, value)[0]
    except ValueError:
        raise ValueError(f"{shown(text)}: words have no order; write == or !=") from None


class Space:
    """The parameters of a search with their conditions: which values mean anything, and which are wanted."""

    def __init__(self, tune: Tune, experiment: Experiment) -> None:
        self.experiment = experiment
        self.parameters: list[Parameter] = parse_space(tune, experiment)
        self.when = {path: parse_condition(text, experiment) for path, text in tune.when.items()}
        self.constraints = [(text, parse_condition(text, experiment)) for text in tune.constraints]

    def settle(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return the values with every parameter that does not matter where it is now, so that settings that do the
        same are the same.
        """
        settled = dict(values)
        for path in self.asleep(values):
            settled[path] = current_value(self.experiment, path)
        return settled

    def asleep(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return the parameters that do not matter at these values, with the condition that says so."""
        found: dict[str, str] = {}
        awake: set[str] = set()

        def setting(path: str) -> str:
            look(path)
            return values[path] if path in values and path not in found else current_value(self.experiment, path)

        def look(path: str) -> None:
            if path in found or path in awake:
                return
            broken = next((part.text for part in self.when.get(path, ()) if not part.holds(setting)), None)
            if broken is None:
                awake.add(path)
            else:
                found[path] = broken

        for parameter in self.parameters:
            look(parameter.path)
        return {parameter.path: found[parameter.path] for parameter in self.parameters if parameter.path in found}

    def broken(self, experiment: Experiment) -> list[str]:
        """Return the constraints that an experiment's settings break."""
        return [
            text
            for text, parts in self.constraints
            if not all(part.holds(lambda path: current_value(experiment, path)) for part in parts)
        ]

    def build(self, values: Mapping[str, str]) -> Experiment:
        """Return the experiment with these values, settled; raise ValueError if they contradict each other or break a
        constraint.
        """
        experiment = override(self.experiment, self.settle(values))
        broken = self.broken(experiment)
        if broken:
            raise ValueError(f"tune.constraints: {broken[0]} does not hold")
        return experiment


def condition_problems(experiment: Experiment) -> Iterator[Problem]:
    """Yield (path, sentence) for each condition of `tune` that cannot be read or can do nothing."""
    tune = experiment.tune
    if tune is None:
        return
    readable: dict[str, tuple[Condition, ...]] = {}
    for path, text in tune.when.items():
        try:
            readable[path] = parse_condition(text, experiment)
        except ValueError as error:
            yield ("tune", "when", path), str(error)
        if path not in tune.parameters:
            yield ("tune", "when", path), f"{path} is not among tune.parameters; only what is searched has a condition"
    for path in readable:
        if _leads_to(path, path, readable):
            yield ("tune", "when", path), f"whether {path} matters depends on itself; break the circle"
    for index, text in enumerate(tune.constraints):
        try:
            parts = parse_condition(text, experiment)
        except ValueError as error:
            yield ("tune", "constraints", index), str(error)
            continue
        if not any(path in tune.parameters for part in parts for path in part.paths):
            yield ("tune", "constraints", index), "nothing in it is among tune.parameters, so it can change nothing"
        elif not all(part.holds(lambda path: current_value(experiment, path)) for part in parts):
            yield ("tune", "constraints", index), "the file's own settings break it; change them, or the constraint"


def _leads_to(start: str, goal: str, when: Mapping[str, tuple[Condition, ...]]) -> bool:
    """Return whether the conditions of `start` look, directly or through others, at `goal`."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        for part in when.get(todo.pop(), ()):
            for path in part.paths:
                if path == goal:
                    return True
                if path not in seen:
                    seen.add(path)
                    todo.append(path)
    return False
