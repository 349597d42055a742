"""Ranges of values as experiment files write them: `1..4`, `200ms..1s`, `10%..100%`; one value is a range too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from lab.core.units import duration_text, parse_duration_ns, parse_share_ppm, share_text, shown

Range = tuple[int, int]


def _reader(parse: Callable[[Any], int], example: str) -> Callable[[Any], Range]:
    def read(value: Any) -> Range:
        if isinstance(value, tuple):
            return value
        low, dots, high = value.partition("..") if isinstance(value, str) else (value, "", "")
        try:
            found = (parse(low), parse(high if dots else low))
        except ValueError as error:
            raise ValueError(f"{shown(value)} is not a range ({error}); write for example {example}") from None
        if found[0] > found[1]:
            raise ValueError(f"{shown(value)} is empty; write the lower end first, for example {example}")
        return found

    return read


def _count(value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not text.isdecimal() or len(text) > 6:
        raise ValueError("a count is a whole number")
    return int(text)


def _text(write: Callable[[int], str]) -> Callable[[Range], str]:
    return lambda found: write(found[0]) if found[0] == found[1] else f"{write(found[0])}..{write(found[1])}"


def _duration(value: Any) -> int:
    return parse_duration_ns(value.strip() if isinstance(value, str) else value)


def _share(value: Any) -> int:
    return parse_share_ppm(value.strip() if isinstance(value, str) else value)


CountRange = Annotated[
    Range,
    BeforeValidator(_reader(_count, "1..4")),
    PlainSerializer(_text(str)),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["1..4"]}),
]
DurationRange = Annotated[
    Range,
    BeforeValidator(_reader(_duration, "200ms..1s")),
    PlainSerializer(_text(duration_text)),
    WithJsonSchema({"type": "string", "examples": ["200ms..1s"]}),
]
ShareRange = Annotated[
    Range,
    BeforeValidator(_reader(_share, "10%..100%")),
    PlainSerializer(_text(share_text)),
    WithJsonSchema({"type": "string", "examples": ["10%..100%"]}),
]
