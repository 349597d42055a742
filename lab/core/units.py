"""Numbers with their units: text to integers (nanoseconds, bytes, millionths, events per 1,000 seconds).

Bare numbers are refused: `5` says neither seconds nor milliseconds. The annotated types at the end are what experiment
files and faults declare their parameters with.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

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
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ns|us|µs|ms|s|m|h))+")
_DURATION_PART = re.compile(rf"({_NUMBER})(ns|us|µs|ms|s|m|h)")
_RATE = re.compile(rf"({_NUMBER})/(s|m|h)")
_SHARE = re.compile(rf"({_NUMBER})%")


def shown(value: object) -> str:
    """Return `value` as it should be quoted in an error, cut to a readable length."""
    text = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def parse_duration_ns(value: object) -> int:
    """Return nanoseconds for text such as `150ms`, `1m30s`, `0s`; at most 24 h. Raise ValueError with the fix."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f"{shown(value)} has no unit; write {value}ms or {value}s")
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a duration; write for example 150ms or 1m30s")
    text = value.strip()
    if text.startswith("-"):
        raise ValueError(f"{shown(value)} is negative; durations start at 0s")
    if not _DURATION.fullmatch(text):
        if re.fullmatch(_NUMBER, text):
            raise ValueError(f"{shown(value)} has no unit; write {text}ms or {text}s")
        raise ValueError(f"{shown(value)} is not a duration; write for example 150ms or 1m30s (units ns us ms s m h)")
    total = Decimal(0)
    for number, unit in _DURATION_PART.findall(text):
        total += Decimal(number) * NS_PER_UNIT[unit]
    if total != int(total):
        raise ValueError(f"{shown(value)} is finer than 1ns")
    if total > DURATION_MAX_NS:
        raise ValueError(f"{shown(value)} is longer than 24h")
    return int(total)


def parse_share_ppm(value: object) -> int:
    """Return millionths for text such as `5%` or `0.05%`; 0 to 100 %. Raise ValueError with the fix."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{shown(value)} is not a share; write for example 5%")
    if not isinstance(value, str):
        hint = f"write {value * 100:g}%" if 0 <= value <= 1 else "write for example 5%"
        raise ValueError(f"{shown(value)} has no unit; {hint}")
    match = _SHARE.fullmatch(value.strip())
    if not match:
        raise ValueError(f"{shown(value)} is not a share; write for example 5%")
    ppm = Decimal(match.group(1)) * 10_000
    if ppm != int(ppm):
        raise ValueError(f"{shown(value)} is finer than 0.0001%")
    if ppm > 1_000_000:
        raise ValueError(f"{shown(value)} is over 100%")
    return int(ppm)


def parse_rate_millihertz(value: object) -> int:
    """Return events per 1,000 seconds for text such as `200/s` or `90/m`; above 0. Raise ValueError with the fix."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f"{shown(value)} has no unit; write {value}/s")
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"{shown(value)} is not a rate; write for example 200/s")
    per_second = Decimal(match.group(1)) / (NS_PER_UNIT[match.group(2)] // NS_PER_UNIT["s"])
    rate = int(per_second * 1000)
    if rate < 1:
        raise ValueError(f"{shown(value)} is below one event in 1,000 seconds")
    if per_second > RATE_MAX:
        raise ValueError(f"{shown(value)} is over {RATE_MAX}/s")
    return rate


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


def share_text(ppm: int) -> str:
    """Return millionths as a percentage text, e.g. 5%."""
    return format((Decimal(ppm) / 10_000).normalize(), "f") + "%"


def _above_zero(value: Any) -> int:
    result = parse_duration_ns(value)
    if result == 0:
        raise ValueError(f"{shown(value)} must be above 0s")
    return result


DurationNs = Annotated[int, BeforeValidator(parse_duration_ns), PlainSerializer(duration_text)]
PositiveDurationNs = Annotated[int, BeforeValidator(_above_zero), PlainSerializer(duration_text)]
SharePpm = Annotated[int, BeforeValidator(parse_share_ppm), PlainSerializer(share_text)]
RateMillihertz = Annotated[
    int, BeforeValidator(parse_rate_millihertz), PlainSerializer(lambda rate: f"{rate / 1000:g}/s")
]
