"""How good was it? Metrics of one run, one a file, listed here and nowhere else; and estimates over runs.

To add a metric: one file with a `METRIC` and one line in the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lab.history import History
from lab.metrics import (
    acknowledge_latency_p50,
    acknowledge_latency_p99,
    amplification,
    availability,
    bytes_sent,
    convergence,
    convergence_final,
    digest_unequal,
    divergence_area,
    divergence_max,
    duplicate_effects,
    lost_acknowledged,
    operations,
    order_violations,
    out_of_order_deliveries,
    rejected,
    repairs,
    retries,
    staleness_max,
    staleness_versions_max,
    transmissions,
    unknown,
    visibility_lag_p50,
    visibility_lag_p99,
)
from lab.metrics.compare import holm, paired_difference, paired_p_value
from lab.metrics.convergence import convergence_of
from lab.metrics.divergence import divergence_curve
from lab.metrics.estimate import Estimate, RunValue
from lab.metrics.metric import AGGREGATES, Metric
from lab.metrics.summary import CONFIDENCE, summarise
from lab.metrics.text import format_estimate, format_value

METRICS: dict[str, Metric] = {
    module.METRIC.name: module.METRIC
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
    )
}


def run_values(history: History) -> dict[str, RunValue]:
    """Return every metric of one run."""
    return {name: metric.function(history) for name, metric in METRICS.items()}


def measure_units() -> dict[str, str]:
    """Return the unit of every measure name: a metric's name (its default aggregate) and `name.aggregate`."""
    units: dict[str, str] = {}
    for name, metric in METRICS.items():
        units[name] = metric.unit
        units.update({f"{name}.{aggregate}": metric.unit for aggregate in AGGREGATES})
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

    A metric that a row lacks counts as not defined in it. The same rows and key give the same estimates.
    """
    undefined = RunValue(None)
    found: dict[str, Estimate] = {}
    for name, metric in METRICS.items():
        values = [row.get(name, undefined) for row in rows]
        estimates = {
            aggregate: summarise(values, aggregate, metric.unit, key=key, confidence=confidence)
            for aggregate in AGGREGATES
        }
        found[name] = estimates[metric.default]
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
    "measure_units",
    "measures",
    "paired_difference",
    "paired_p_value",
    "run_values",
    "split_measure",
    "summarise",
]
