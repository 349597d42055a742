"""Measured delays as counts: CSV histograms, HdrHistogram's percentile text, and the buckets of Prometheus.

Each becomes points (value in ns, number of values up to it), both not falling; a law is linear between them.
"""

from __future__ import annotations

import csv
import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TextIO

from lab.core.laws import Law
from lab.core.units import NS_PER_UNIT, duration_text, shown
from lab.spec.samples import DELAY_MAX_NS, read_file, read_samples

Points = tuple[tuple[int, int], ...]
POINTS_MAX = 100_000
COUNT_MAX = 10**15
_COLUMNS = ("upper_ns", "count")
_SUFFIXES = {"_seconds": "s", "_milliseconds": "ms", "_microseconds": "us", "_nanoseconds": "ns"}
_BUCKET = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{(.*)\}\s+(\S+)(?:\s+\S+)?")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


def read_law(law: Law, folder: Path) -> dict[str, Any]:
    """Return the fields of a law that its file fills. Raise ValueError naming the file, its line and the fix."""
    if law.shape == "samples":
        return {"values_ns": read_samples(law.source, folder)}
    options = dict(option.split("=", 1) for option in law.options)
    return {"points": read_file(law.source, folder, lambda file: _READERS[law.shape](file, shown(law.source), options))}


def _read_histogram(file: TextIO, name: str, options: Mapping[str, str]) -> Points:
    """Read rows (upper bound of a bin in ns, count in the bin); the first bin begins at 0."""
    rows = csv.reader(line if not line.startswith("#") else "\n" for line in file)
    header: list[str] = []
    points, total = [(0, 0)], 0
    for row in rows:
        cells = [cell.strip() for cell in row]
        where = f"{name} line {rows.line_num}"
        if not any(cells):
            continue
        if not header:
            header = cells
            if not set(_COLUMNS) <= set(header):
                raise ValueError(f"{where}: the header lacks the columns upper_ns and count; name the columns so")
            continue
        try:
            upper, count = (cells[header.index(column)] for column in _COLUMNS)
        except IndexError:
            raise ValueError(f"{where}: the row has {len(cells)} cells; write one for each column") from None
        value, count_here = _whole(where, upper), _whole(where, count)
        total += count_here
        points.append(_next(where, points[-1][0], value, total))
    return _checked(name, points)


def _read_hdr(file: TextIO, name: str, options: Mapping[str, str]) -> Points:
    """Read lines (value, percentile, total count, 1/(1-percentile)): the values up to that one are `total count`."""
    per_unit = NS_PER_UNIT[options["unit"]]
    points: list[tuple[int, int]] = []
    for number, line in enumerate(file, start=1):
        cells = line.split()
        where = f"{name} line {number}"
        if not cells or line.startswith("#") or cells[0] in ("Value", '"Value"'):
            continue
        if len(cells) not in (3, 4):
            raise ValueError(f"{where}: {shown(line.strip())} is not a line of percentiles; export it as classic text")
        value, count = _nanoseconds(where, cells[0], per_unit), _whole(where, cells[2])
        if points and count < points[-1][1]:
            raise ValueError(f"{where}: the total count {count} is below {points[-1][1]} before it; export it again")
        points.append(_next(where, points[-1][0] if points else 0, value, count))
    return _checked(name, points)


def _read_prometheus(file: TextIO, name: str, options: Mapping[str, str]) -> Points:
    """Read the buckets of a metric and add up all its series; what is beyond the last finite bound counts as there."""
    metric = options["metric"].removesuffix("_bucket")
    unit = options.get("unit") or next((unit for end, unit in _SUFFIXES.items() if metric.endswith(end)), "")
    if not unit:
        raise ValueError(f"{name}: {shown(metric)} does not end with its unit; add unit=ms or another to the law")
    counts: dict[Decimal, int] = {}
    seen: dict[str, int] = {}
    text = file.read()
    found = _from_json(text, name, metric) if text.lstrip().startswith("{") else _from_text(text, metric, seen)
    for number, bound, count in found:
        where = f"{name} line {number}" if number else name
        try:
            limit, value = Decimal(bound.replace("+Inf", "Infinity")), Decimal(count)
        except InvalidOperation:
            raise ValueError(f"{where}: {shown(bound)} or {shown(count)} is not a number; export it again") from None
        if limit.is_nan() or value != value.to_integral_value() or not 0 <= value <= COUNT_MAX:
            raise ValueError(f"{where}: {shown(count)} is not a count; query the counters themselves, not their rate")
        counts[limit] = counts.get(limit, 0) + int(value)
    if not counts:
        names = sorted(seen)[:5]
        hint = f"it has {', '.join(names)}" if names else "it has no line with _bucket{le=…}"
        raise ValueError(f"{name} has no buckets of {shown(metric)}; {hint}")
    finite = sorted(limit for limit in counts if limit.is_finite() and limit >= 0)
    if not finite or counts[finite[-1]] == 0:
        raise ValueError(f"{name}: no value of {shown(metric)} is below a finite bound; choose finer buckets")
    points = [(0, 0)] if finite[0] > 0 else []
    for limit in finite:
        value_ns = _nanoseconds(name, str(limit), NS_PER_UNIT[unit])
        if points and counts[limit] < points[-1][1]:
            raise ValueError(f"{name}: the bucket le={limit} holds less than the one before it; buckets are cumulative")
        points.append(_next(name, points[-1][0] if points else 0, value_ns, counts[limit]))
    beyond = counts.get(Decimal("Infinity"), 0)
    if beyond > points[-1][1]:
        points.append((points[-1][0], beyond))
    return _checked(name, points)


def _from_text(text: str, metric: str, seen: dict[str, int]) -> Iterator[tuple[int, str, str]]:
    """Yield (line, bound, count) of the exposition's lines `METRIC_bucket{…,le="BOUND"} COUNT`."""
    for number, line in enumerate(text.splitlines(), start=1):
        match = _BUCKET.fullmatch(line.strip())
        if line.startswith("#") or not match or not match.group(1).endswith("_bucket"):
            continue
        labels = dict(_LABEL.findall(match.group(2)))
        name = match.group(1).removesuffix("_bucket")
        seen[name] = number
        if name == metric and "le" in labels:
            yield number, labels["le"], match.group(3)


def _from_json(text: str, name: str, metric: str) -> Iterator[tuple[int, str, str]]:
    """Yield (0, bound, count) of the answer to an instant query for METRIC_bucket."""
    try:
        for series in json.loads(text)["data"]["result"]:
            labels = series["metric"]
            own = labels.get("__name__", f"{metric}_bucket").removesuffix("_bucket")
            if own == metric and "le" in labels:
                yield 0, str(labels["le"]), str(series["value"][1])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise ValueError(f"{name} is not the JSON of an instant query (data.result[].metric.le, value)") from None


def _whole(where: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise ValueError(f"{where}: {shown(text)} is not a whole number from 0 up")
    return int(text)


def _nanoseconds(where: str, text: str, per_unit: int) -> int:
    if len(text) > 40 or not re.fullmatch(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?", text):
        raise ValueError(f"{where}: {shown(text)} is not a delay")
    return round(min(Decimal(text) * per_unit, Decimal(2 * DELAY_MAX_NS)))


def _next(where: str, before: int, value: int, total: int) -> tuple[int, int]:
    if value < before:
        raise ValueError(f"{where}: {value} ns is below {before} ns before it; sort the rows by their values")
    if value > DELAY_MAX_NS:
        raise ValueError(f"{where}: {value} ns is over the largest delay of {duration_text(DELAY_MAX_NS)}")
    if total > COUNT_MAX:
        raise ValueError(f"{where}: more than {COUNT_MAX:,} values; scale the counts down")
    return value, total


def _checked(name: str, points: list[tuple[int, int]]) -> Points:
    if not points or points[-1][1] == 0:
        raise ValueError(f"{name} counts no values; at least one is needed")
    if len(points) > POINTS_MAX:
        raise ValueError(f"{name} has more than {POINTS_MAX:,} rows; use wider bins")
    while bisect_left([count for _, count in points[:2]], 1) == 2 and len(points) > 2:
        points.pop(0)  # an empty first bin says where the values begin
    return tuple(points)


_READERS = {"histogram": _read_histogram, "hdr": _read_hdr, "prometheus": _read_prometheus}
