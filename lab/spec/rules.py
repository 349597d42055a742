"""Rules of alarms: `ALARM OP VALUE for DURATION`, for example `lag > 500ms for 1s`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lab.core.units import duration_text, parse_duration_ns, parse_rate_millihertz, parse_share_ppm, shown
from lab.spec.errors import nearest

STEP_NS = 100_000_000
TEXT_MAX = 200
# What a rule may be about, and its unit; `lab.alarms` says how each is measured.
ALARM_UNITS = {
    "latency": "ns",
    "commit_rate": "share",
    "lag": "ns",
    "drift": "share",
    "queue": "count",
    "out_of_order": "rate",
}
CLIENT_ALARMS = ("latency", "commit_rate")  # those that any protocol with clients has
_RULE = re.compile(r"\s*([A-Za-z_]+)\s*(<|>)\s*(\S+)(?:\s+for\s+(\S+))?\s*")
_USAGE = "write ALARM > VALUE for DURATION, for example lag > 500ms for 1s"


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError(f"{shown(text)} is not a whole number")
    return int(text)


_UNITS: dict[str, tuple[Callable[[str], float], str]] = {
    "ns": (lambda text: float(parse_duration_ns(text)), "a duration such as 250ms"),
    "share": (lambda text: parse_share_ppm(text) / 1e6, "a share such as 5%"),
    "rate": (lambda text: parse_rate_millihertz(text) / 1e3, "a rate such as 20/s"),
    "count": (lambda text: float(_whole(text)), "a whole number such as 100"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """An alarm with its limit (in the alarm's unit): it rings once the series has been beyond it for `for_ns`."""

    text: str
    alarm: str
    sign: str
    limit: float
    for_ns: int


def parse_rule(text: str) -> Rule:
    """Return the rule of a text; raise ValueError with the nearest fix."""
    match = _RULE.fullmatch(text) if len(text) <= TEXT_MAX else None
    if match is None:
        raise ValueError(f"{shown(text)} is not an alarm; {_USAGE}")
    name, sign, value, lasting = match.groups()
    if name not in ALARM_UNITS:
        raise ValueError(
            f"{shown(name)} is not an alarm; {nearest(name, list(ALARM_UNITS)) or 'alarms: ' + ', '.join(ALARM_UNITS)}"
        )
    read, example = _UNITS[ALARM_UNITS[name]]
    try:
        limit = read(value)
    except ValueError as error:
        raise ValueError(f"{name} is compared with {example}: {error}") from None
    for_ns = parse_duration_ns(lasting) if lasting else 0
    if for_ns % STEP_NS:
        step = duration_text(STEP_NS)
        raise ValueError(f"{shown(lasting)} is not a multiple of {step}, the step in which a run is looked at")
    return Rule(text.strip(), name, sign, limit, for_ns)
