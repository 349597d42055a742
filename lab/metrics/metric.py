"""What a metric is: a named function from a history to one value of one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from lab.history import History
from lab.metrics.estimate import RunValue

Direction = Literal["lower", "higher", "none"]
Aggregate = Literal["p50", "p90", "p95", "p99", "mean", "max", "min", "total"]
AGGREGATES: tuple[Aggregate, ...] = ("p50", "p90", "p95", "p99", "mean", "max", "min", "total")


@dataclass(frozen=True, slots=True)
class Metric:
    """How good one run was, in one number.

    `unit` is `ns`, `share`, `share_seconds`, `ratio` or `count`; `direction` says which way is better; `summary` is one
    sentence for lists and reports; `default` is the aggregate over runs that the bare name stands for. It applies to
    `protocols` (none named: to all but those in `without`), and if `needs_client` only to those that take operations.
    """

    name: str
    unit: str
    direction: Direction
    summary: str
    function: Callable[[History], RunValue]
    default: Aggregate
    protocols: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    needs_client: bool = False

    def applies(self, protocol: str, has_client: bool = True) -> bool:
        """Return whether the metric can say something about a protocol."""
        named = protocol in self.protocols if self.protocols else protocol not in self.without
        return named and (has_client or not self.needs_client)


def counter_value(history: History, name: str) -> RunValue:
    """Return a protocol counter (summed over replicas); not defined where the protocol does not count it."""
    count = history.counters.get(name)
    return RunValue(None if count is None else float(count))


COUNTER = "count."


class Metrics(dict[str, Metric]):
    """Metrics by name. `count.NAME` is a metric too: the protocol's own counter of that name, for any protocol that has
    it. Those are not listed, but found.
    """

    def __missing__(self, name: str) -> Metric:
        if not is_counter(name):
            raise KeyError(name)
        counter = name.removeprefix(COUNTER)
        summary = f"the protocol's counter {counter}, summed over the replicas"
        return Metric(name, "count", "none", summary, lambda history: counter_value(history, counter), "mean")

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and is_counter(name))

    def get(self, name: str, default: Any = None) -> Any:
        """Return a metric; `default` if there is none."""
        try:
            return self[name]
        except KeyError:
            return default


def is_counter(name: str) -> bool:
    """Return whether a name is that of a protocol's counter: `count.NAME`."""
    return name.startswith(COUNTER) and name.removeprefix(COUNTER).isidentifier()
