"""Delay laws as experiment files write them: `20ms`, `lognormal(median=20ms, p99=60ms)`, `samples(data/wan.csv)`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from lab.core import quantiles
from lab.core.units import duration_text, parse_duration_ns, shown


@dataclass(frozen=True, slots=True)
class Law:
    """A delay law: its shape, its arguments in nanoseconds (or millionths for `shape`), and for `samples` the values.

    `source` is the path of a sample file as written; `values_ns` is filled by the loader, which knows the file's
    folder.
    """

    shape: str
    arguments: tuple[int, ...] = ()
    source: str = ""
    values_ns: tuple[int, ...] = ()

    def table(self) -> tuple[int, ...]:
        """Return the law's 4,097 integer quantiles (nanoseconds)."""
        if self.shape == "samples":
            return quantiles.samples(self.values_ns)
        return SHAPES[self.shape].build(*self.arguments)

    def text(self) -> str:
        """Return the law as an experiment file writes it."""
        if self.shape == "samples":
            return f"samples({self.source})"
        if self.shape == "constant":
            return duration_text(self.arguments[0])
        names = SHAPES[self.shape].parameters
        inner = ", ".join(f"{name}={duration_text(value)}" for name, value in zip(names, self.arguments, strict=True))
        return f"{self.shape}({inner})"


@dataclass(frozen=True, slots=True)
class Shape:
    """One family of laws: parameter names in order, the table builder, and a check that returns a sentence or ''."""

    parameters: tuple[str, ...]
    build: Callable[..., tuple[int, ...]]
    check: Callable[..., str] = lambda *_: ""


def _ordered(low_ns: int, high_ns: int) -> str:
    return "" if low_ns <= high_ns else "low is above high"


def _lognormal_check(median_ns: int, p99_ns: int) -> str:
    if median_ns <= 0:
        return "median must be above 0s"
    return "" if p99_ns > median_ns else "p99 must be above median"


SHAPES: dict[str, Shape] = {
    "constant": Shape(("value",), quantiles.constant),
    "uniform": Shape(("low", "high"), quantiles.uniform, _ordered),
    "normal": Shape(("mean", "deviation"), quantiles.normal),
    "exponential": Shape(("mean",), quantiles.exponential),
    "lognormal": Shape(("median", "p99"), quantiles.lognormal, _lognormal_check),
}

_CALL = re.compile(r"([a-z]+)\((.*)\)")


def parse_law(value: object) -> Law:
    """Return the law for a text; raise ValueError naming what was read and the fix."""
    if not isinstance(value, str):
        parse_duration_ns(value)  # explains bare numbers and wrong types
    assert isinstance(value, str)
    match = _CALL.fullmatch(value.strip())
    if not match:
        return Law("constant", (_bounded(parse_duration_ns(value), value),))
    name, inner = match.groups()
    if name == "samples":
        if not inner.strip():
            raise ValueError(
                "samples() needs the path of a CSV file with the column delay_ns, e.g. samples(data/wan.csv)"
            )
        return Law("samples", source=inner.strip())
    shape = SHAPES.get(name)
    if shape is None:
        known = ", ".join([*SHAPES, "samples"])
        raise ValueError(f"{shown(name)} is not a delay law; known: {known}")
    arguments = _arguments(name, shape.parameters, inner)
    problem = shape.check(*arguments)
    if problem:
        raise ValueError(f"{shown(value)}: {problem}")
    return Law(name, arguments)


def _arguments(name: str, parameters: tuple[str, ...], inner: str) -> tuple[int, ...]:
    usage = f"write {name}({', '.join(f'{parameter}=20ms' for parameter in parameters)})"
    parts = [part.strip() for part in inner.split(",")] if inner.strip() else []
    if len(parts) != len(parameters):
        raise ValueError(f"{name} takes {len(parameters)} arguments, read {len(parts)}; {usage}")
    values: dict[str, int] = {}
    for parameter, part in zip(parameters, parts, strict=True):
        key, equals, text = part.rpartition("=")
        key = key.strip() if equals else parameter
        if key not in parameters or key in values:
            raise ValueError(f"{shown(key)} is not an argument of {name} or is given twice; {usage}")
        values[key] = _bounded(parse_duration_ns(text.strip()), text)
    return tuple(values[parameter] for parameter in parameters)


def _bounded(value_ns: int, text: object) -> int:
    if value_ns > quantiles.LARGEST_NS // 4:
        raise ValueError(f"{shown(text)} is over the largest delay of {duration_text(quantiles.LARGEST_NS // 4)}")
    return value_ns


def _parse(value: Any) -> Law:
    return value if isinstance(value, Law) else parse_law(value)


DelayLaw = Annotated[
    Law,
    BeforeValidator(_parse),
    PlainSerializer(lambda law: law.text()),
    WithJsonSchema({"type": "string", "examples": ["20ms", "lognormal(median=20ms, p99=60ms)", "samples(a.csv)"]}),
]
