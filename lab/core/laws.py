"""Delay laws as experiment files write them: `20ms`, `lognormal(median=20ms, p99=60ms)`, `samples(data/wan.csv)`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from lab.core import quantiles
from lab.core.units import (
    NS_PER_UNIT,
    duration_text,
    number_text,
    parse_duration_ns,
    parse_number_ppm,
    parse_share_ppm,
    share_text,
    shown,
)

PARTS_MAX = 8
TEXT_MAX = 2000  # longer texts are no laws; the limit keeps reading them cheap
CONSTANT, MIXTURE, SAMPLES = "constant", "mixture", "samples"


@dataclass(frozen=True, slots=True)
class Law:
    """A delay law: its shape and its arguments, in nanoseconds, or millionths where the shape says so.

    A mixture has `parts` of (weight in millionths, law). A law of a file has `source`, the path as written, `options`
    (its other arguments as written), and after loading either `values_ns` (samples) or `points` of (value in ns,
    number of values up to it).
    """

    shape: str
    arguments: tuple[int, ...] = ()
    source: str = ""
    values_ns: tuple[int, ...] = ()
    parts: tuple[tuple[int, Law], ...] = ()
    options: tuple[str, ...] = ()
    points: tuple[tuple[int, int], ...] = ()

    def table(self) -> tuple[int, ...]:
        """Return the law's 4,145 integer quantiles (nanoseconds)."""
        if self.shape == SAMPLES:
            return quantiles.samples(self.values_ns)
        if self.shape in FILES:
            return quantiles.steps(self.points)
        if self.shape == MIXTURE:
            return quantiles.mixture([(weight, law.table()) for weight, law in self.parts])
        return SHAPES[self.shape].build(*self.arguments)

    def text(self) -> str:
        """Return the law as an experiment file writes it."""
        if self.shape in FILES:
            return f"{self.shape}({', '.join((self.source, *self.options))})"
        if self.shape == MIXTURE:
            inner = ", ".join(f"{share_text(weight)}: {law.text()}" for weight, law in self.parts)
        elif self.shape == CONSTANT:
            return duration_text(self.arguments[0])
        else:
            named = zip(SHAPES[self.shape].parameters.items(), self.arguments, strict=True)
            inner = ", ".join(f"{name}={KINDS[kind][1](value)}" for (name, kind), value in named)
        return f"{self.shape}({inner})"

    def files(self) -> Iterator[Law]:
        """Yield the laws of files in it: itself, or parts of a mixture."""
        if self.shape in FILES:
            yield self
        for _, law in self.parts:
            yield from law.files()

    def filled(self, data: Mapping[tuple[str, ...], Mapping[str, Any]]) -> Law:
        """Return the law with what its files hold: `data` maps `law.file_key()` to the fields to set."""
        if self.shape in FILES:
            return replace(self, **data[self.file_key()])
        parts = tuple((weight, law.filled(data)) for weight, law in self.parts)
        return replace(self, parts=parts) if parts else self

    def file_key(self) -> tuple[str, ...]:
        """Return what decides the content of a file law."""
        return (self.shape, self.source, *self.options)


@dataclass(frozen=True, slots=True)
class Shape:
    """One family of laws: parameters (name to kind) in order, the table builder, and a check that returns a sentence
    or ''.
    """

    parameters: Mapping[str, str]
    build: Callable[..., tuple[int, ...]]
    check: Callable[..., str] = lambda *_: ""


def _ordered(low_ns: int, high_ns: int) -> str:
    return "" if low_ns <= high_ns else "low is above high"


def _lognormal_check(median_ns: int, p99_ns: int) -> str:
    if median_ns <= 0:
        return "median must be above 0s"
    return "" if p99_ns > median_ns else "p99 must be above median"


def _pareto_check(minimum_ns: int, shape_ppm: int) -> str:
    if minimum_ns <= 0:
        return "minimum must be above 0s"
    return "" if 100_000 <= shape_ppm <= 100_000_000 else "shape goes from 0.1 (heavy tail) to 100"


def _bimodal(fast_ns: int, slow_ns: int, slow_ppm: int) -> tuple[int, ...]:
    parts = ((1_000_000 - slow_ppm, fast_ns), (slow_ppm, slow_ns))
    return quantiles.mixture([(weight, quantiles.constant(value)) for weight, value in parts if weight])


# How an argument is read and written, and an example.
KINDS: dict[str, tuple[Callable[[object], int], Callable[[int], str], str]] = {
    "duration": (parse_duration_ns, duration_text, "20ms"),
    "share": (parse_share_ppm, share_text, "5%"),
    "number": (parse_number_ppm, number_text, "2.5"),
}
SHAPES: dict[str, Shape] = {
    "constant": Shape({"value": "duration"}, quantiles.constant),
    "uniform": Shape({"low": "duration", "high": "duration"}, quantiles.uniform, _ordered),
    "normal": Shape({"mean": "duration", "deviation": "duration"}, quantiles.normal),
    "exponential": Shape({"mean": "duration"}, quantiles.exponential),
    "lognormal": Shape({"median": "duration", "p99": "duration"}, quantiles.lognormal, _lognormal_check),
    "pareto": Shape({"minimum": "duration", "shape": "number"}, quantiles.pareto, _pareto_check),
    "bimodal": Shape({"fast": "duration", "slow": "duration", "slow_share": "share"}, _bimodal),
}
# Laws of files: how one is written, with which columns or options.
FILES: dict[str, str] = {
    SAMPLES: "samples(data/wan.csv), a CSV file with the column delay_ns",
    "histogram": "histogram(data/delays.csv), a CSV file with the columns upper_ns and count",
    "hdr": "hdr(data/delays.hgrm, unit=ms), the percentile text of an HdrHistogram and the unit of its values",
    "prometheus": "prometheus(data/metrics.txt, metric=delay_seconds), a text exposition or the JSON of a query",
}
_OPTIONS = {"hdr": ("unit",), "prometheus": ("metric", "unit")}
_NEEDED = {"hdr": "unit", "prometheus": "metric"}
_CALL = re.compile(r"([a-z]+)\((.*)\)", re.DOTALL)


def parse_law(value: object, is_part: bool = False) -> Law:
    """Return the law for a text; raise ValueError naming what was read and the fix."""
    if not isinstance(value, str):
        parse_duration_ns(value)  # explains bare numbers and wrong types
    assert isinstance(value, str)
    if len(value) > TEXT_MAX:
        raise ValueError(f"{shown(value)} is too long for a delay law; measured laws belong into a file")
    match = _CALL.fullmatch(value.strip())
    if not match:
        return Law(CONSTANT, (_bounded(parse_duration_ns(value), value),))
    name, inner = match.groups()
    if name in FILES:
        return _file_law(name, inner)
    if name == MIXTURE and not is_part:
        return _mixture(value, inner)
    shape = SHAPES.get(name)
    if shape is None:
        raise ValueError(_unknown(name, is_part))
    arguments = _arguments(name, shape.parameters, inner)
    problem = shape.check(*arguments)
    if problem:
        raise ValueError(f"{shown(value)}: {problem}")
    return Law(name, arguments)


def _unknown(name: str, is_part: bool) -> str:
    if is_part and name == MIXTURE:
        return "a part of a mixture is itself a mixture; write all parts in one list"
    known = [*SHAPES, MIXTURE, *FILES]
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
    return f"{shown(name)} is not a delay law; {hint}"


def _arguments(name: str, parameters: Mapping[str, str], inner: str) -> tuple[int, ...]:
    usage = f"write {name}({', '.join(f'{parameter}={KINDS[kind][2]}' for parameter, kind in parameters.items())})"
    parts = _split(inner)
    if len(parts) != len(parameters):
        raise ValueError(f"{name} takes {len(parameters)} arguments, read {len(parts)}; {usage}")
    values: dict[str, int] = {}
    for parameter, part in zip(parameters, parts, strict=True):
        key, equals, text = part.rpartition("=")
        key = key.strip() if equals else parameter
        if key not in parameters or key in values:
            raise ValueError(f"{shown(key)} is not an argument of {name} or is given twice; {usage}")
        read = KINDS[parameters[key]][0](text.strip())
        values[key] = _bounded(read, text) if parameters[key] == "duration" else read
    return tuple(values[parameter] for parameter in parameters)


def _split(inner: str) -> list[str]:
    """Return the parts between commas that are not inside parentheses."""
    parts, depth = [""], 0
    for character in inner:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts] if inner.strip() else []


def _file_law(name: str, inner: str) -> Law:
    source, *rest = _split(inner) or [""]
    if not source or "=" in source:
        raise ValueError(f"{name}() needs the path of a file, e.g. {FILES[name]}")
    options: dict[str, str] = {}
    for part in rest:
        key, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals or not text or key not in _OPTIONS.get(name, ()) or key in options:
            raise ValueError(f"{shown(part)} is not an argument of {name} or is given twice; write {FILES[name]}")
        if key == "unit" and text not in NS_PER_UNIT:
            raise ValueError(f"{shown(text)} is not a unit; units: {', '.join(NS_PER_UNIT)}")
        options[key] = text
    if name in _NEEDED and _NEEDED[name] not in options:
        raise ValueError(f"{name}({source}) lacks {_NEEDED[name]}=; write {FILES[name]}")
    return Law(name, source=source, options=tuple(f"{key}={text}" for key, text in sorted(options.items())))


def _mixture(value: str, inner: str) -> Law:
    usage = "write for example mixture(70%: 10ms, 30%: exponential(mean=50ms))"
    texts = _split(inner)
    if not 2 <= len(texts) <= PARTS_MAX:
        raise ValueError(f"a mixture has 2 to {PARTS_MAX} parts, read {len(texts)}; {usage}")
    parts = []
    for text in texts:
        share, colon, law = text.partition(":")
        if not colon:
            raise ValueError(f"{shown(text)} is not a part of a mixture; {usage}")
        parts.append((parse_share_ppm(share.strip()), parse_law(law.strip(), is_part=True)))
    total = sum(weight for weight, _ in parts)
    if total != 1_000_000:
        raise ValueError(f"{shown(value)}: the shares add up to {share_text(total)}; they must add up to 100%")
    return Law(MIXTURE, parts=tuple(part for part in parts if part[0]))


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
    WithJsonSchema(
        {
            "type": "string",
            "examples": ["20ms", "lognormal(median=20ms, p99=60ms)", "mixture(99%: 2ms, 1%: 1s)", "samples(a.csv)"],
        }
    ),
]
