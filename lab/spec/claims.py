"""Claims: `MEASURE OP VALUE`, for example `convergence.p99 < 2s`."""

from __future__ import annotations

import operator as compare
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from lab.core.units import parse_duration_ns, parse_share_ppm, shown
from lab.spec.errors import nearest

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "==": compare.eq,
    "!=": compare.ne,
    "<=": compare.le,
    ">=": compare.ge,
    "<": compare.lt,
    ">": compare.gt,
}
TEXT_MAX = 200
_CLAIM = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.]*)\s*(==|!=|<=|>=|<|>)\s*(\S.*?)\s*")
_MEASURE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_PLAIN = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")
_USAGE = "write MEASURE OP VALUE, for example convergence.p99 < 2s"
_EXAMPLES = {"ns": "a duration such as 250ms", "share": "a percentage such as 99.9%"}


@dataclass(frozen=True, slots=True)
class Claim:
    """A threshold on a measure.

    `threshold` is in `dimension`, the measure's unit: nanoseconds for `ns`, a fraction from 0 to 1 for `share`, else
    the plain number.
    """

    text: str
    measure: str
    operator: str
    threshold: float
    dimension: str

    def holds(self, value: float) -> bool:
        """Return whether `value`, in `dimension`, meets the claim; nothing holds for NaN."""
        return not isnan(value) and OPERATORS[self.operator](value, self.threshold)


def parse_claim(text: str, measures: Mapping[str, str] | None = None) -> Claim:
    """Return the claim of a text; raise ValueError with the fix.

    `measures` maps each measure to its unit (`ns`, `share`, `count`, `ratio`, …). Without it any measure may stand, and
    the form of the value decides the dimension.
    """
    match = _CLAIM.fullmatch(text) if len(text) <= TEXT_MAX else None
    if match is None:
        raise ValueError(_malformed(text))
    measure, sign, value = match.groups()
    unit = check_measure(measure, measures) if measures is not None else _guess(value)
    return Claim(text.strip(), measure, sign, _threshold(measure, value, unit), unit)


def check_measure(name: str, measures: Mapping[str, str] | None) -> str:
    """Return the unit of a measure ('' if `measures` is None); raise ValueError naming the nearest if it is unknown."""
    if measures is None:
        if not _MEASURE.fullmatch(name) or len(name) > TEXT_MAX:
            raise ValueError(f"{shown(name)} is not the name of a measure; write for example convergence.p99")
        return ""
    if name not in measures:
        known = list(measures)
        some = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
        raise ValueError(f"{shown(name)} is not a measure; {nearest(name, known) or f'measures: {some}'}")
    return measures[name]


def split_variant(text: str, variants: Sequence[str]) -> tuple[str, str]:
    """Return (variant, claim) of `variant: claim`; the variant is '' where the claim is about all of them.

    Raise ValueError naming the nearest if there is no such variant.
    """
    head, colon, tail = text.partition(":")
    if not colon:
        return "", text
    name = head.strip()
    if name not in variants:
        hint = nearest(name, variants) or (
            f"variants: {', '.join(variants)}" if variants else "the file has no variants"
        )
        raise ValueError(f"{shown(name)} is not a variant; {hint}")
    return name, tail.strip()


def _malformed(text: str) -> str:
    swapped = re.search(r"=[<>]", text)
    if swapped:
        sign = swapped.group()
        return f"{shown(text)} has {sign}; write {sign[::-1]} instead of {sign}"
    if re.search(r"(?<![=!<>])=(?!=)", text):
        return f"{shown(text)} has a single =; write == for equal"
    if len(re.findall(r"==|!=|<=|>=|<|>", text)) > 1:
        return f"{shown(text)} compares more than once; write one claim for each comparison"
    return f"{shown(text)} is not a claim; {_USAGE}"


def _guess(value: str) -> str:
    if value.endswith("%"):
        return "share"
    return "count" if _PLAIN.fullmatch(value) or value.lower() in ("nan", "inf", "-inf") else "ns"


def _threshold(measure: str, value: str, unit: str) -> float:
    try:
        if unit == "ns":
            return float(parse_duration_ns(value))
        if unit == "share":
            return parse_share_ppm(value) / 1_000_000
    except ValueError as error:
        raise ValueError(f"{measure} is compared with {_EXAMPLES[unit]}: {error}") from None
    if not _PLAIN.fullmatch(value):
        raise ValueError(f"{measure} is compared with a plain number such as 3 or 1.5: {shown(value)} is not one")
    return float(value)
