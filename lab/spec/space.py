"""The space a tuning run searches: parameters, their values as texts, and experiments with some of them replaced."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache
from math import exp, log
from typing import Any, Literal

from pydantic import ValidationError

from lab.core.section import Section
from lab.core.units import duration_text, parse_duration_ns, parse_share_ppm, share_text, shown
from lab.spec.checks import problems
from lab.spec.errors import Path, Problem, nearest, path_text
from lab.spec.nodes import plain_value
from lab.spec.schema import SECTIONS, Experiment, Tune
from lab.spec.sentences import sentence
from lab.spec.shape import leaves

DRAW_BITS = 63
DIGITS = 3  # significant digits of drawn durations and shares
TUNABLE: tuple[Path, ...] = (
    ("policy",),
    ("system", "mode"),
    *(("system", name) for name in SECTIONS),
    ("workload", "client"),
)
SETTABLE: tuple[Path, ...] = (
    *TUNABLE,
    ("system", "wire"),
    *(("workload", key) for key in ("arrivals", "duration", "keys", "skew")),
)

_RANGE = re.compile(r"\s*(\S+?)\s*\.\.\s*(\S+?)(?:\s+(log|linear))?\s*")
_USAGE = "write a range such as 20ms..2s, 20ms..2s log, 1..12 or 0%..20%, or a list of choices"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One dimension of the space: the setting at a dotted `path`.

    A range has `low` < `high`, both possible, in nanoseconds (`dimension` is `duration`), millionths (`share`) or plain
    whole numbers (`count`). A choice has texts in `choices`, and no dimension.
    """

    path: str
    kind: Literal["log", "linear", "choice"]
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()
    dimension: Literal["duration", "share", "count", ""] = ""


def parse_space(tune: Tune, experiment: Experiment) -> list[Parameter]:
    """Return the parameters in the order of the file; raise ValueError with all problems, one a line."""
    parameters: list[Parameter] = []
    found: list[Problem] = []
    for path, written in tune.parameters.items():
        try:
            parameters.append(_parameter(path, written, experiment))
        except ValueError as error:
            found.append((("tune", "parameters", path), str(error)))
    if found:
        raise ValueError("\n".join(f"{path_text(place)}: {message}" for place, message in found))
    return parameters


def space_problems(experiment: Experiment) -> Iterator[Problem]:
    """Yield (path, sentence) for each parameter of `tune` that cannot be searched."""
    for path, written in experiment.tune.parameters.items() if experiment.tune else ():
        try:
            _parameter(path, written, experiment)
        except ValueError as error:
            yield ("tune", "parameters", path), str(error)


def variant_problems(experiment: Experiment) -> Iterator[Problem]:
    """Yield (path, sentence) for each variant whose values are impossible or contradict each other."""
    for name, values in experiment.variants.items():
        possible = True
        for path, text in values.items():
            try:
                accepted(experiment, path, text)
            except ValueError as error:
                possible = False
                yield ("variants", name, path), str(error)
        if possible:
            try:
                override(experiment, values)
            except ValueError as error:
                yield ("variants", name), "; ".join(str(error).splitlines())


def value_at(parameter: Parameter, draw63: int) -> str:
    """Return the value at a draw from [0, 2**63) as text; draws spread evenly (on the logarithm, for `log`).

    Durations and shares are rounded to three significant digits, and stay inside the range.
    """
    if not 0 <= draw63 < 1 << DRAW_BITS:
        raise ValueError(f"draw63 is {draw63}; it must be at least 0 and below 2**63")
    if parameter.kind == "choice":
        return parameter.choices[(len(parameter.choices) * draw63) >> DRAW_BITS]
    if parameter.kind == "linear":
        value = parameter.low + (((parameter.high - parameter.low + 1) * draw63) >> DRAW_BITS)
    else:
        value = _between(parameter, draw63 / (1 << DRAW_BITS))
    return _text(parameter, _rounded(parameter, value))


def share_of(parameter: Parameter, text: str) -> float:
    """Return where a value lies in its range, from 0 to 1 on its scale, so that `value_at(parameter, round(share *
    2**63))` is about `text`; what lies outside the range is moved to its end, and `null` to the middle.
    """
    if parameter.kind == "choice":
        return (parameter.choices.index(text) + 0.5) / len(parameter.choices) if text in parameter.choices else 0.5
    if text == "null":
        return 0.5
    _, value = measured(text, text)
    value = min(max(value, parameter.low), parameter.high)
    if parameter.kind == "log":
        return log(value / parameter.low) / log(parameter.high / parameter.low)
    return (value - parameter.low) / (parameter.high - parameter.low)


def grid(parameter: Parameter, count: int) -> list[str]:
    """Return up to `count` (at least 1) evenly spread values, with both ends if count > 1; of a choice, all choices."""
    if count < 1:
        raise ValueError(f"count is {count}; a grid has at least 1 value")
    if parameter.kind == "choice":
        return list(parameter.choices)
    shares = [index / (count - 1) for index in range(count)] if count > 1 else [0.5]
    values = (_rounded(parameter, _between(parameter, share)) for share in shares)
    return list(dict.fromkeys(_text(parameter, value) for value in values))


def current_value(experiment: Experiment, path: str) -> str:
    """Return the setting at a path as the experiment file writes it (`null` for none)."""
    steps = setting_steps(path, SETTABLE, experiment)
    value: Any = experiment.model_dump(mode="json", include={steps[0]})
    for step in steps:
        value = None if value is None else value[step]  # a section that is left out has no settings
    return "null" if value is None else str(value)


def override(experiment: Experiment, values: Mapping[str, str]) -> Experiment:
    """Return a copy with the settings at dotted paths replaced by texts; raise ValueError for what contradicts itself.

    Everything under policy and workload.client can be replaced, and system.mode, system.wire and the workload's
    arrivals, duration, keys and skew. The rest, measured samples included, stays as it is.
    """
    changed = _replaced(experiment, values)
    found = problems(changed)
    if found:
        raise ValueError("\n".join(f"{path_text(place)}: {message}" for place, message in found))
    return changed


def _replaced(experiment: Experiment, values: Mapping[str, str]) -> Experiment:
    """Replace settings and validate the sections they are in, without looking for contradictions between sections."""
    sections: dict[str, dict[str, Any]] = {}
    for path, text in values.items():
        first, *rest = setting_steps(path, SETTABLE, experiment)
        # Only what was written: what a protocol does not use must not look as if it were.
        part = sections.setdefault(first, _explicit(experiment, first))
        for step in rest[:-1]:
            part = part.setdefault(step, {})
        part[rest[-1]] = plain_value(text)
    update: dict[str, Section] = {}
    for first, data in sections.items():
        section: Section = getattr(experiment, first)
        try:
            update[first] = type(section).model_validate(data)
        except ValidationError as error:
            lines = []
            for detail in error.errors(include_url=False):
                place = (first, *detail["loc"])
                lines.append(f"{path_text(place)}: {sentence(detail, place)}")
            raise ValueError("\n".join(lines)) from None
    return experiment.model_copy(update=update)


def _explicit(experiment: Experiment, section: str) -> dict[str, Any]:
    found: dict[str, Any] = experiment.model_dump(mode="json", include={section}, exclude_unset=True).get(section, {})
    return found


@cache
def _known(places: tuple[Path, ...]) -> tuple[str, ...]:
    return tuple(".".join(map(str, leaf)) for place in places for leaf in leaves(place))


def setting_steps(path: str, places: tuple[Path, ...], experiment: Experiment | None = None) -> tuple[str, ...]:
    """Return the keys of a dotted path to a setting in `places`; raise ValueError with the nearest one.

    With an experiment only the settings that its protocol reads are possible.
    """
    known: Sequence[str] = _known(places)
    if experiment is not None:
        protocol = experiment.system.protocol
        if path in known and not _is_read(experiment, path):
            raise ValueError(f"the protocol {protocol} does not use {path}; remove it")
        known = [other for other in known if _is_read(experiment, other)]
    if path not in known:
        what = "can be tuned" if places == TUNABLE else "can vary"
        hint = nearest(path, known) or "write one of " + ", ".join(known)
        raise ValueError(f"{shown(path)} is not a setting that {what}; {hint}")
    return tuple(path.split("."))


def _is_read(experiment: Experiment, path: str) -> bool:
    system = experiment.system
    return path == "workload.duration" or path.startswith(f"system.{system.protocol}.") or system.settings.accepts(path)


def _parameter(path: str, written: str | list[str], experiment: Experiment) -> Parameter:
    setting_steps(path, TUNABLE, experiment)
    if isinstance(written, list):
        choices = tuple(accepted(experiment, path, text) for text in written)
        twice = next((text for index, text in enumerate(choices) if text in choices[:index]), None)
        if twice is not None:
            raise ValueError(f"the choice {twice} is written twice; write each once")
        return Parameter(path, "choice", choices=choices)
    match = _RANGE.fullmatch(written)
    if match is None:
        raise ValueError(f"{shown(written)} is not a range; {_USAGE}")
    low_text, high_text, scale = match.groups()
    low_text, high_text = (accepted(experiment, path, text) for text in (low_text, high_text))
    dimension, low = measured(low_text, written)
    high_dimension, high = measured(high_text, written)
    assert dimension == high_dimension, "one field takes one kind of number"
    if low >= high:
        raise ValueError(f"{shown(written)} is not a range: {low_text} is not below {high_text}; write the lower first")
    if scale == "log" and low == 0:
        raise ValueError(f"{shown(written)}: a log range cannot begin at 0; begin above it, or leave log out")
    return Parameter(path, "log" if scale == "log" else "linear", low, high, dimension=dimension)


def accepted(experiment: Experiment, path: str, text: str) -> str:
    """Return `text` in its usual form if the setting takes it; raise ValueError with the setting's own sentence."""
    try:
        return current_value(_replaced(experiment, {path: text}), path)
    except ValueError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{shown(text)[1:-1]} is not a value of {path}: {reason}") from None


def measured(text: str, written: str) -> tuple[Literal["duration", "share", "count"], int]:
    """Return the kind of number and its value; raise ValueError for words, quoting what was `written`."""
    if text.isdecimal():
        return "count", int(text)
    if text.endswith("%"):
        return "share", parse_share_ppm(text)
    try:
        return "duration", parse_duration_ns(text)
    except ValueError:
        raise ValueError(f"{shown(written)} is a range of words; write a list such as [none, full]") from None


def _between(parameter: Parameter, share: float) -> int:
    """Return the value at a share from 0 to 1 of the range, on its scale."""
    if parameter.kind == "log":
        low, high = log(parameter.low), log(parameter.high)
        return round(exp(low + share * (high - low)))
    return parameter.low + round(share * (parameter.high - parameter.low))


def _rounded(parameter: Parameter, value: int) -> int:
    if parameter.dimension != "count":
        value = int(Context(prec=DIGITS, rounding=ROUND_HALF_EVEN).create_decimal(Decimal(value)))
    return min(max(value, parameter.low), parameter.high)


def _text(parameter: Parameter, value: int) -> str:
    if parameter.dimension == "duration":
        return duration_text(value)
    return share_text(value) if parameter.dimension == "share" else str(value)
