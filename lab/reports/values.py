"""Measures as they stand in `summary.json`, turned into what a table cell or a line of text shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.metrics import METRICS, Estimate, format_value

Json = Mapping[str, Any]

# What only some protocols have.
PROTOCOL_MEASURES: tuple[tuple[str, str], ...] = (
    ("leader_first", "Time to the first leader"),
    ("leaderless", "Time without a leader"),
    ("elections", "Elections"),
    ("term_max", "Terms"),
    ("stale_reads", "Stale reads"),
    ("read_latency_p50", "Half of the reads answered within"),
    ("read_latency_p99", "99 % of the reads answered within"),
    ("residue", "Replicas left out"),
    ("spread_p50", "Half of the replicas have it within"),
    ("spread_p99", "99 % of the replicas have it within"),
    ("spread_last", "Every replica has it within"),
    ("detection_time_p50", "Crash noticed by half within"),
    ("detection_time_max", "Crash noticed by all within"),
    ("false_suspicions", "False suspicions"),
    ("goodput", "Answered in time a second"),
    ("attempts_per_operation", "Attempts an operation"),
    ("hedges", "Hedged attempts"),
    ("wasted_work", "Served for nobody"),
    ("merges", "Merges"),
    ("conflicts", "Later writes that lost"),
    ("messages_per_replica", "Messages a replica sent"),
)
# The measures a reader wants first, with the words for them. Bare names stand for a metric's default aggregate.
KEY_MEASURES: tuple[tuple[str, str], ...] = (
    ("convergence.p50", "Convergence after a heal"),
    ("convergence.p95", "Convergence after a heal"),
    ("convergence.p99", "Convergence after a heal"),
    ("convergence_final.p50", "Final agreement after the last write"),
    ("divergence_max", "Greatest divergence"),
    ("divergence_area", "Divergence summed over time"),
    ("visibility_lag_p99", "99 % of updates visible within"),
    ("staleness_max", "Greatest staleness"),
    ("availability", "Availability"),
    ("acknowledge_latency_p99", "99 % acknowledged within"),
    ("amplification", "Amplification"),
    ("retries", "Retries"),
    ("lost_acknowledged", "Acknowledged updates lost"),
    *PROTOCOL_MEASURES,
)

OVER_RUNS = {
    "p50": "median run",
    "mean": "mean run",
    "max": "worst run",
    "min": "least of the runs",
    "total": "all runs together",
}


def over_runs(measure: str) -> str:
    """Return how a measure sums up the runs: `median run`, `p95 of runs`."""
    metric = METRICS.get(metric_of(measure))
    aggregate = measure.rpartition(".")[2] if metric is None or measure != metric.name else metric.default
    return OVER_RUNS.get(aggregate, f"{aggregate} of runs")


@dataclass(frozen=True, slots=True)
class Shown:
    """One measure in words: the value, its interval, how many runs, and what must be said about censored ones."""

    value: str
    interval: str
    n: int
    note: str
    method: str
    unit: str


ABSENT = Shown("–", "–", 0, "", "not in these results", "")


def estimate_of(data: Json) -> Estimate:
    """Return the Estimate of its JSON form; `confidence`, `censored` and `limit` may be absent."""
    return Estimate(
        value=data.get("value"),
        low=data.get("low"),
        high=data.get("high"),
        n=int(data.get("n") or 0),
        unit=str(data.get("unit") or ""),
        censored=int(data.get("censored") or 0),
        confidence=float(data.get("confidence") or 0.95),
        method=str(data.get("method") or ""),
        limit=data.get("limit"),
    )


def show(data: Json | None, measure: str = "") -> Shown:
    """Return a measure's JSON in words; `measure` decides how censored runs are described."""
    if data is None:
        return ABSENT
    estimate = estimate_of(data)
    return Shown(
        value_text(estimate),
        interval_text(estimate.low, estimate.high, estimate.unit),
        estimate.n,
        censored_text(estimate, measure),
        estimate.method,
        estimate.unit,
    )


def value_text(estimate: Estimate) -> str:
    """Return `1.24 s`, `> 5.00 s` where the value lies beyond the horizon, or a dash where there is none."""
    if estimate.value is not None:
        return format_value(estimate.value, estimate.unit)
    if not estimate.censored:
        return format_value(None, estimate.unit)
    return "> the end" if estimate.limit is None else f"> {format_value(estimate.limit, estimate.unit)}"


def interval_text(low: float | None, high: float | None, unit: str) -> str:
    """Return `1.10 s – 1.41 s`; one-sided where only one bound is known."""
    if low is None and high is None:
        return "–"
    if high is None:
        return f"≥ {format_value(low, unit)}"
    if low is None:
        return f"≤ {format_value(high, unit)}"
    if low == high:
        return "no spread"
    first, last = format_value(low, unit), format_value(high, unit)
    if first == last:
        return f"≈ {first}"
    # One unit is enough where both have it; a minus sign and a dash side by side cannot be read.
    number, space, suffix = first.rpartition(" ")
    if space and last.endswith(space + suffix):
        first = number
    return f"{first} {'–' if low >= 0 else 'to'} {last}"


def censored_text(estimate: Estimate, measure: str) -> str:
    """Return `3 of 20 did not converge`, or "" when every run reached its value."""
    if not estimate.censored:
        return ""
    what = "did not converge" if measure.startswith("convergence") else "ended before it was reached"
    return f"{estimate.censored} of {estimate.n} {what}"


def measures_of(summary: Json, variant: str) -> Json:
    """Return the measures of one variant."""
    found: Json = summary["variants"][variant].get("measures", {})
    return found


def with_limits(summary: Json, greatest: Mapping[tuple[str, str], float]) -> dict[str, Any]:
    """Return the summary in which every censored value has a `limit`.

    `greatest` maps (variant, metric) to the greatest value seen in its runs: a quantile no run reached is above.
    """
    variants: dict[str, Any] = {}
    for name, variant in summary["variants"].items():
        measures = {}
        for measure, data in variant.get("measures", {}).items():
            limit = greatest.get((name, metric_of(measure)))
            if data.get("value") is None and data.get("censored") and data.get("limit") is None and limit is not None:
                data = {**data, "limit": limit}
            measures[measure] = data
        variants[name] = {**variant, "measures": measures}
    return {**summary, "variants": variants}


def metric_of(measure: str) -> str:
    """Return the metric of a measure name: `convergence` of `convergence.p99`."""
    return measure if measure in METRICS else measure.rpartition(".")[0] or measure


def find_measure(measures: Json, name: str) -> Json | None:
    """Return a measure by name; a bare metric name also finds its default aggregate and the other way round."""
    if name in measures:
        found: Json = measures[name]
        return found
    metric = METRICS.get(metric_of(name))
    if metric is None:
        return None
    if name == metric.name:
        return measures.get(f"{name}.{metric.default}")
    return measures.get(metric.name) if name == f"{metric.name}.{metric.default}" else None


def claimed_measure(claim: Json, summary: Json) -> tuple[str, Json | None]:
    """Return (name, JSON) of the measure a claim is about; the JSON is None where the claim is a checker's."""
    name = str(claim.get("claim", "")).split(maxsplit=1)[0] if str(claim.get("claim", "")).strip() else ""
    for sign in "=!<>":
        name = name.partition(sign)[0]
    variant = claim.get("variant")
    if variant not in summary["variants"]:
        return name, None
    return name, find_measure(measures_of(summary, str(variant)), name)


def by_severity(claims: Iterable[Json]) -> list[Json]:
    """Return the claims: violated first, then open, then held; otherwise in their order."""
    return sorted(claims, key=lambda claim: (claim.get("holds") is not False, claim.get("holds") is True))


def mark(holds: bool | None) -> str:
    """Return the sign of a claim's outcome."""
    return {True: "✓", False: "✗", None: "?"}[holds]


def several(variants: Sequence[str] | Mapping[str, Any]) -> bool:
    """Return whether it needs saying which variant something is about."""
    return len(variants) > 1
