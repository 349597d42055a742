"""How good was it? Metrics of one run, one a file, listed here and nowhere else; and estimates over runs.

To add a metric: one file with a `METRIC` and one line in the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lab.history import History
from lab.metrics import (
    acknowledge_latency_p50,
    acknowledge_latency_p99,
    alike_after,
    amplification,
    attempts_per_operation,
    availability,
    bytes_sent,
    conflicts,
    convergence,
    convergence_final,
    detection_time_max,
    detection_time_p50,
    digest_unequal,
    divergence_area,
    divergence_max,
    duplicate_effects,
    elections,
    false_suspicions,
    goodput,
    hedge_share,
    hedges,
    leader_first,
    leaderless,
    lost_acknowledged,
    lost_writes,
    merges,
    messages_per_replica,
    operations,
    order_violations,
    out_of_order_deliveries,
    read_latency_p50,
    read_latency_p99,
    recovered,
    rejected,
    repairs,
    residue,
    retries,
    spread_last,
    spread_p50,
    spread_p99,
    stale_copies,
    stale_reads,
    staleness_max,
    staleness_versions_max,
    term_max,
    transmissions,
    unknown,
    visibility_lag_p50,
    visibility_lag_p99,
    wasted_work,
)
from lab.metrics.compare import holm, paired_difference, paired_p_value
from lab.metrics.convergence import convergence_of
from lab.metrics.divergence import divergence_curve
from lab.metrics.estimate import Estimate, RunValue
from lab.metrics.metric import AGGREGATES, COUNTER, Metric, Metrics, is_counter
from lab.metrics.summary import CONFIDENCE, summarise
from lab.metrics.text import format_estimate, format_value

METRICS = Metrics(
    (module.METRIC.name, module.METRIC)
    for module in (
        convergence,
        convergence_final,
        visibility_lag_p50,
        visibility_lag_p99,
        staleness_max,
        staleness_versions_max,
        divergence_max,
        divergence_area,
        amplification,
        transmissions,
        retries,
        repairs,
        bytes_sent,
        availability,
        acknowledge_latency_p50,
        acknowledge_latency_p99,
        lost_acknowledged,
        duplicate_effects,
        order_violations,
        out_of_order_deliveries,
        digest_unequal,
        operations,
        rejected,
        unknown,
        leader_first,
        leaderless,
        elections,
        term_max,
        stale_reads,
        stale_copies,
        read_latency_p50,
        read_latency_p99,
        residue,
        spread_p50,
        spread_p99,
        spread_last,
        detection_time_p50,
        detection_time_max,
        false_suspicions,
        merges,
        conflicts,
        lost_writes,
        alike_after,
        goodput,
        recovered,
        attempts_per_operation,
        hedges,
        hedge_share,
        wasted_work,
        messages_per_replica,
    )
)


def run_values(history: History) -> dict[str, RunValue]:
    """Return every metric of one run that applies to its protocol, and its counters as `count.NAME`."""
    has_client = history.deadline_ns > 0
    found = {
        name: metric.function(history)
        for name, metric in METRICS.items()
        if metric.applies(history.protocol, has_client)
    }
    found.update({f"{COUNTER}{name}": RunValue(float(count)) for name, count in sorted(history.counters.items())})
    return found


def measure_units(
    protocol: str | None = None, counters: Iterable[str] = (), *, has_client: bool = True
) -> dict[str, str]:
    """Return the unit of every measure name: a metric's name (its default aggregate) and `name.aggregate`.

    With a protocol, of the metrics that apply to it; `counters` are the counters it has.
    """
    chosen = [metric for metric in METRICS.values() if protocol is None or metric.applies(protocol, has_client)]
    chosen += [METRICS[f"{COUNTER}{name}"] for name in counters]
    units: dict[str, str] = {}
    for metric in chosen:
        units[metric.name] = metric.unit
        units.update({f"{metric.name}.{aggregate}": metric.unit for aggregate in AGGREGATES})
    return units


def split_measure(measure: str) -> tuple[str, str]:
    """Return (metric, aggregate) of a measure's name; a bare metric has its default aggregate."""
    if measure in METRICS:
        return measure, METRICS[measure].default
    name, _, aggregate = measure.rpartition(".")
    return name, aggregate


def measures(
    rows: Sequence[Mapping[str, RunValue]], *, key: int = 0, confidence: float = CONFIDENCE
) -> dict[str, Estimate]:
    """Return every measure over runs, by the names of `measure_units`; `rows` holds one `run_values` a run.

    A metric that some row lacks counts as not defined in it. Of counters only the bare name is there. The same rows and
    key give the same estimates.
    """
    undefined = RunValue(None)
    seen = {name for row in rows for name in row}
    found: dict[str, Estimate] = {}
    for name in [*(name for name in METRICS if name in seen or not rows), *sorted(filter(is_counter, seen))]:
        metric = METRICS[name]
        values = [row.get(name, undefined) for row in rows]
        estimates = {
            aggregate: summarise(values, aggregate, metric.unit, key=key, confidence=confidence)
            for aggregate in ((metric.default,) if is_counter(name) else AGGREGATES)
        }
        found[name] = estimates[metric.default]
        if not is_counter(name):
            found.update({f"{name}.{aggregate}": estimate for aggregate, estimate in estimates.items()})
    return found


__all__ = [
    "AGGREGATES",
    "METRICS",
    "Estimate",
    "Metric",
    "RunValue",
    "convergence_of",
    "divergence_curve",
    "format_estimate",
    "format_value",
    "holm",
    "is_counter",
    "measure_units",
    "measures",
    "paired_difference",
    "paired_p_value",
    "run_values",
    "split_measure",
    "summarise",
]
