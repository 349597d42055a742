"""Numbers with their units: text to integers (nanoseconds, bytes, millionths, events per 1,000 seconds).

Bare numbers are refused: `5` says neither seconds nor milliseconds. The annotated types at the end are what experiment
files and faults declare their parameters with.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

NS_PER_UNIT = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
DURATION_MAX_NS = 24 * NS_PER_UNIT["h"]
RATE_MAX = 1_000_000
TEXT_MAX = 64  # longer texts are no numbers; the limit keeps exact decimal arithmetic cheap
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ns|us|µs|ms|s|m|h))+")
_DURATION_PART = re.compile(rf"({_NUMBER})(ns|us|µs|ms|s|m|h)")
_RATE = re.compile(rf"({_NUMBER})/(s|m|h)")
_SHARE = re.compile(rf"({_NUMBER})%")


def shown(value: object) -> str:
    """Return `value` as it should be quoted in an error, cut to a readable length."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _refuse_bare(value: object, what: str, fix: str, least: str, per_unit: tuple[str, ...]) -> None:
    """Raise for everything but text: numbers are told the units they lack, the rest what would be right."""
    if isinstance(value, str):
        if len(value) > TEXT_MAX:
            raise ValueError(f"{shown(value)} is too long for {what}; {fix}")
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or abs(value) > 1e15:
        raise ValueError(f"{shown(value)} is not {what}; {fix}")
    if value < 0:
        raise ValueError(f"{shown(value)} is negative; {least}")
    number = format(Decimal(repr(value)).normalize(), "f")
    raise ValueError(f"{number} has no unit; write " + " or ".join(number + unit for unit in per_unit))


def parse_duration_ns(value: object) -> int:
    """Return nanoseconds for text such as `150ms`, `1m30s`, `0s`; at most 24 h. Raise ValueError with the fix."""
    fix, least = "write for example 150ms or 1m30s", "durations start at 0s"
    _refuse_bare(value, "a duration", fix, least, ("ms", "s"))
    text = str(value).strip()
    if text.startswith("-"):
        raise ValueError(f"{shown(value)} is negative; {least}")
    if not _DURATION.fullmatch(text):
        if re.fullmatch(_NUMBER, text):
            raise ValueError(f"{shown(value)} has no unit; write {text}ms or {text}s")
        joined = re.sub(r"\s+", "", text)
        if _DURATION.fullmatch(joined):
            raise ValueError(f"{shown(value)} has a space in it; write {joined}")
        raise ValueError(f"{shown(value)} is not a duration; {fix} (units ns us ms s m h)")
    total = Decimal(0)
    for number, unit in _DURATION_PART.findall(text):
        total += Decimal(number) * NS_PER_UNIT[unit]
    if total > DURATION_MAX_NS:
        raise ValueError(f"{shown(value)} is longer than 24h, the longest duration")
    if total != int(total):
        raise ValueError(f"{shown(value)} is finer than 1ns, the shortest step")
    return int(total)


def parse_share_ppm(value: object) -> int:
    """Return millionths for text such as `5%` or `0.05%`; 0 to 100 %. Raise ValueError with the fix."""
    least = "shares go from 0% to 100%"
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1:
        percent = format((Decimal(repr(value)) * 100).normalize(), "f")
        raise ValueError(f"{shown(value)} has no unit; write {shown(value)}% or {percent}%")
    _refuse_bare(value, "a share", "write for example 5%", least, ("%",))
    text = str(value).strip()
    match = _SHARE.fullmatch(text)
    if not match:
        if text.startswith("-"):
            raise ValueError(f"{shown(value)} is negative; {least}")
        if re.fullmatch(_NUMBER, text):
            percent = format((Decimal(text) * 100).normalize(), "f")
            second = f" or {percent}%" if 0 < Decimal(text) <= 1 else ""
            raise ValueError(f"{shown(value)} has no unit; write {text}%{second}")
        raise ValueError(f"{shown(value)} is not a share; write for example 5%")
    ppm = Decimal(match.group(1)) * 10_000
    if ppm > 1_000_000:
        raise ValueError(f"{shown(value)} is over 100%; {least}")
    if ppm != int(ppm):
        raise ValueError(f"{shown(value)} is finer than 0.0001%, the smallest step")
    return int(ppm)


def parse_rate_millihertz(value: object) -> int:
    """Return events per 1,000 seconds for text such as `200/s` or `90/m`; above 0. Raise ValueError with the fix."""
    fix, least = "write for example 200/s", "rates are above 0/s"
    _refuse_bare(value, "a rate", fix, least, ("/s", "/m"))
    text = str(value).strip()
    match = _RATE.fullmatch(text)
    if not match:
        if re.fullmatch(_NUMBER, text):
            raise ValueError(f"{shown(value)} has no unit; write {text}/s or {text}/m")
        problem = f"is negative; {least}" if text.startswith("-") else f"is not a rate; {fix}"
        raise ValueError(f"{shown(value)} {problem}")
    per_second = Decimal(match.group(1)) / (NS_PER_UNIT[match.group(2)] // NS_PER_UNIT["s"])
    if per_second > RATE_MAX:
        raise ValueError(f"{shown(value)} is over {RATE_MAX}/s, the highest rate")
    rate = int(per_second * 1000)
    if rate < 1:
        raise ValueError(f"{shown(value)} is below one event in 1,000 seconds, the lowest rate")
    return rate


def parse_number_ppm(value: object) -> int:
    """Return millionths for a plain number without unit such as `1.5`, above 0; raise ValueError with the fix."""
    text = str(value).strip()
    if isinstance(value, bool) or len(text) > TEXT_MAX or not re.fullmatch(_NUMBER, text):
        raise ValueError(f"{shown(value)} is not a plain number; write for example 1.5")
    ppm = Decimal(text) * 1_000_000
    if ppm != int(ppm) or not 0 < ppm <= 10**12:
        raise ValueError(f"{shown(value)} is outside 0.000001 to 1000000 or has over 6 decimals; write for example 1.5")
    return int(ppm)


def duration_text(value_ns: int) -> str:
    """Return nanoseconds as the shortest exact text that `parse_duration_ns` reads back, e.g. 1.5s, 250ms, 3us."""
    for unit in ("s", "ms", "us", "ns"):
        size = NS_PER_UNIT[unit]
        if value_ns >= size or unit == "ns":
            quotient = Decimal(value_ns) / size
            if quotient == quotient.quantize(Decimal("0.001")) or unit == "ns":
                text = format(quotient.normalize(), "f")
                return f"{text}{unit}"
    raise AssertionError("unreachable: ns always fits")


def number_text(ppm: int) -> str:
    """Return millionths as a plain number, e.g. 1.5."""
    return format((Decimal(ppm) / 1_000_000).normalize(), "f")


def share_text(ppm: int) -> str:
    """Return millionths as a percentage text, e.g. 5%."""
    return format((Decimal(ppm) / 10_000).normalize(), "f") + "%"


def rate_text(millihertz: int) -> str:
    """Return events per 1,000 seconds as the exact text that `parse_rate_millihertz` reads back, e.g. 200/s."""
    return format((Decimal(millihertz) / 1000).normalize(), "f") + "/s"


def _above_zero(value: Any) -> int:
    result = parse_duration_ns(value)
    if result == 0:
        raise ValueError(f"{shown(value)} must be above 0s; write for example 1ms")
    return result


def _schema(pattern: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", "examples": list(examples)})


_DURATION_SCHEMA = _schema(_DURATION.pattern, "150ms", "1m30s")
DurationNs = Annotated[int, BeforeValidator(parse_duration_ns), PlainSerializer(duration_text), _DURATION_SCHEMA]
PositiveDurationNs = Annotated[int, BeforeValidator(_above_zero), PlainSerializer(duration_text), _DURATION_SCHEMA]
SharePpm = Annotated[int, BeforeValidator(parse_share_ppm), PlainSerializer(share_text), _schema(_SHARE.pattern, "5%")]
RateMillihertz = Annotated[
    int, BeforeValidator(parse_rate_millihertz), PlainSerializer(rate_text), _schema(_RATE.pattern, "200/s")
]
