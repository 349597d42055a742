"""Scenarios without an experiment file: any protocol, any law on any link, an optional workload."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.core import fate, quantiles
from lab.engines.scenario import Scenario
from lab.model.effects import Outage, Setting
from lab.model.link import LinkPlan
from lab.model.workload import Workload

MS = 1_000_000
SECOND = 1_000_000_000
Table = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Leg:
    """One directed link: the table of its delay (None: at once), its loss and duplication in millionths."""

    table: Table | None = None
    loss_ppm: int = 0
    duplicate_ppm: int = 0


IDEAL = Leg()


def world(
    protocol: Any,
    params: Mapping[str, int],
    *,
    nodes: int,
    horizon_ns: int,
    leg: Callable[[int, int], Leg] | None = None,
    workload: Workload | None = None,
    outages: Sequence[Outage] = (),
    settings: Sequence[Setting] = (),
    **more: Any,
) -> Scenario:
    """Return a scenario of `nodes` replicas n0, n1, … and the client (node number `nodes`).

    `leg` gives every directed link, those to and from the client and from a node to itself included.
    """
    total = nodes + 1
    tables = _Tables()
    rows = tuple(
        tables.row(leg(source, target) if leg else IDEAL) for source in range(total) for target in range(total)
    )
    return Scenario(
        experiment=None,
        protocol=protocol,
        names=(*(f"n{node}" for node in range(nodes)), "client"),
        params=namedtuple("Params", protocol.parameters)(**params),
        plan=LinkPlan(total, (0,), (rows,), tuple(tables.place_of)),
        outages=tuple(outages),
        settings=tuple(settings),
        faults=(),
        horizon_ns=horizon_ns,
        quiet_ns=horizon_ns,
        workload=workload,
        **more,
    )


class _Tables:
    """Distinct tables in order. Hashing thousands of integers for every link would take longer than a run."""

    def __init__(self) -> None:
        self.place_of: dict[Table, int] = {}
        self._known: dict[int, tuple[Table, int]] = {}  # by identity; the table is kept so that its id stays its own
        self._rows: dict[tuple[int, int, int], tuple[int, ...]] = {}  # by place, loss and duplication

    def place(self, table: Table) -> int:
        known = self._known.get(id(table))
        if known is None:
            known = self._known[id(table)] = (table, self.place_of.setdefault(table, len(self.place_of)))
        return known[1]

    def row(self, leg: Leg) -> tuple[int, ...]:
        """Return the row of a link, one object for all that are alike: large networks have few kinds of links."""
        place = -1 if leg.table is None else self.place(leg.table)
        key = (place, leg.loss_ppm, leg.duplicate_ppm)
        if key not in self._rows:
            self._rows[key] = _row(leg, place)
        return self._rows[key]


def _row(leg: Leg, place: int) -> tuple[int, ...]:
    row = [0] * fate.TABLE_0 + [-1] * fate.TABLE_COUNT
    row[fate.LOSS_PPM] = leg.loss_ppm
    row[fate.DUPLICATE_PPM] = leg.duplicate_ppm
    row[fate.TABLE_0] = place
    return tuple(row)


def between(nodes: int, leg: Leg) -> Callable[[int, int], Leg]:
    """Return links that are `leg` between different replicas and ideal otherwise."""

    def choose(source: int, target: int) -> Leg:
        return leg if source != target and source < nodes and target < nodes else IDEAL

    return choose


def workload(arrivals: str, duration: str, **more: Any) -> Workload:
    """Return a workload as an experiment file writes it."""
    return Workload.model_validate({"arrivals": arrivals, "duration": duration, **more})


def constant(value_ns: int) -> Table:
    """Return the table of a constant delay."""
    return quantiles.constant(value_ns)


def mixture(parts: Sequence[tuple[float, Callable[[float], float]]], low: float, high: float) -> Table:
    """Return the table of a mixture of laws, each (weight, CDF in milliseconds), whose quantiles lie in [low, high] ms.

    The CDF of the mixture is inverted by bisection to below a nanosecond.
    """

    def inverse(p: float) -> float:
        below, above = low, high
        for _ in range(64):
            middle = (below + above) / 2
            if sum(weight * cdf(middle) for weight, cdf in parts) < p:
                below = middle
            else:
                above = middle
        return above * MS

    return quantiles.from_inverse(inverse)


def shifted(table: Table, by_ns: int) -> Table:
    """Return the table of a law plus a constant."""
    return tuple(value + by_ns for value in table)
