"""What a metric is: a named function from a history to one value of one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lab.history import History
from lab.metrics.estimate import RunValue

Direction = Literal["lower", "higher", "none"]
Aggregate = Literal["p50", "p90", "p95", "p99", "mean", "max", "min", "total"]
AGGREGATES: tuple[Aggregate, ...] = ("p50", "p90", "p95", "p99", "mean", "max", "min", "total")


@dataclass(frozen=True, slots=True)
class Metric:
    """How good one run was, in one number.

    `unit` is `ns`, `share`, `share_seconds`, `ratio` or `count`; `direction` says which way is better; `summary` is one
    sentence for lists and reports; `default` is the aggregate over runs that the bare name stands for.
    """

    name: str
    unit: str
    direction: Direction
    summary: str
    function: Callable[[History], RunValue]
    default: Aggregate


def counter_value(history: History, name: str) -> RunValue:
    """Return a protocol counter (summed over replicas); not defined where the protocol does not count it."""
    count = history.counters.get(name)
    return RunValue(None if count is None else float(count))
