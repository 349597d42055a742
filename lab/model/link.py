"""Links: the baseline of the network and every fault composed into rows of integers, ready before a run starts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from lab.core import fate
from lab.core.laws import DelayLaw, Law
from lab.core.section import Section
from lab.core.units import DurationNs, SharePpm
from lab.model.effects import LinkEffect


class Reorder(Section):
    """Hold back that share of the messages by that long, so that later ones overtake them."""

    share: SharePpm
    by: DurationNs


class Link(Section):
    """A directed link without faults. Keys left out take the value of `default`."""

    delay: DelayLaw = Law("constant", (0,))
    loss: SharePpm = 0
    duplicate: SharePpm = 0
    reorder: Reorder | None = None

    def effect(self) -> LinkEffect:
        """Return the link's own behaviour as an effect."""
        return LinkEffect(
            loss_ppm=self.loss,
            duplicate_ppm=self.duplicate,
            reorder_ppm=self.reorder.share if self.reorder else 0,
            reorder_by_ns=self.reorder.by if self.reorder else 0,
            delay=self.delay,
        )


class Network(Section):
    """All links between replicas. `links` maps `default` or `a->b` to a link."""

    transport: Literal["message"] = "message"
    links: dict[str, Link] = Field(default_factory=dict)

    def link(self, source: str, target: str) -> Link:
        """Return the link from `source` to `target`: its own keys over those of `default`."""
        default = self.links.get("default", Link())
        own = self.links.get(f"{source}->{target}")
        if own is None:
            return default
        return default.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


@dataclass(frozen=True, slots=True)
class LinkFault:
    """One fault's effect on one directed link in [start_ns, stop_ns); nodes are indices."""

    source: int
    target: int
    start_ns: int
    stop_ns: int
    effect: LinkEffect


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """Every link's behaviour over a run.

    `boundaries_ns[i]` starts epoch i (the first is 0); `rows[i][source * node_count + target]` is the row in force in
    epoch i
    (columns in `lab.core.fate`); rows index `tables`.
    """

    node_count: int
    boundaries_ns: tuple[int, ...]
    rows: tuple[tuple[tuple[int, ...], ...], ...]
    tables: tuple[tuple[int, ...], ...]

    def row(self, source: int, target: int, now_ns: int) -> tuple[int, ...]:
        """Return the row in force on a link at `now_ns`."""
        epoch = bisect_right(self.boundaries_ns, now_ns) - 1
        return self.rows[epoch][source * self.node_count + target]


class TooManyLaws(ValueError):
    """More delay laws overlap on one link than a row can hold."""


def _either_ppm(a_ppm: int, b_ppm: int) -> int:
    """Return the chance that at least one of two independent events happens."""
    return a_ppm + b_ppm - a_ppm * b_ppm // 1_000_000


def compose(effects: Iterable[LinkEffect], table_of: dict[Law, int]) -> tuple[int, ...]:
    """Return the row of several effects at once: any cut cuts, chances combine independently, delays add.

    Overlapping reorder effects combine their shares and hold back by the larger time. New delay laws are numbered into
    `table_of`. Raise TooManyLaws if more laws than a row has columns for add up.
    """
    row = [0] * fate.TABLE_0 + [-1] * fate.TABLE_COUNT
    slot = fate.TABLE_0
    for effect in effects:
        row[fate.CUT] |= int(effect.cut)
        row[fate.LOSS_PPM] = _either_ppm(row[fate.LOSS_PPM], effect.loss_ppm)
        row[fate.DUPLICATE_PPM] = _either_ppm(row[fate.DUPLICATE_PPM], effect.duplicate_ppm)
        row[fate.REORDER_PPM] = _either_ppm(row[fate.REORDER_PPM], effect.reorder_ppm)
        row[fate.REORDER_BY_NS] = max(row[fate.REORDER_BY_NS], effect.reorder_by_ns)
        if effect.delay is None or effect.delay == Law("constant", (0,)):
            continue
        if slot == fate.ROW_LENGTH:
            raise TooManyLaws(f"more than {fate.TABLE_COUNT} delay laws add up on one link at the same time")
        row[slot] = table_of.setdefault(effect.delay, len(table_of))
        slot += 1
    return tuple(row)


def plan_links(names: Sequence[str], network: Network, faults: Sequence[LinkFault]) -> LinkPlan:
    """Compose the network's links and all link faults into the plan of a run.

    The rows cover one node more than `names`: the client, whose links carry messages at once and unharmed.
    """
    node_count = len(names) + 1
    edges = {0, *(fault.start_ns for fault in faults), *(fault.stop_ns for fault in faults)}
    boundaries = tuple(sorted(edges))
    table_of: dict[Law, int] = {}
    epochs = [[compose([], table_of)] * (node_count * node_count) for _ in boundaries]
    on_link: dict[tuple[int, int], list[LinkFault]] = {}
    for fault in faults:
        on_link.setdefault((fault.source, fault.target), []).append(fault)
    for source, source_name in enumerate(names):
        for target, target_name in enumerate(names):
            if source == target:
                continue
            base = network.link(source_name, target_name).effect()
            here = on_link.get((source, target), [])
            for epoch, row in enumerate(_rows_of_link(base, here, boundaries, table_of)):
                epochs[epoch][source * node_count + target] = row
    rows = tuple(tuple(epoch) for epoch in epochs)
    return LinkPlan(node_count, boundaries, rows, tuple(law.table() for law in table_of))


def _rows_of_link(
    base: LinkEffect, faults: Sequence[LinkFault], boundaries: Sequence[int], table_of: dict[Law, int]
) -> list[tuple[int, ...]]:
    """Return one link's row in every epoch; composed again only where its own faults change."""
    rows: list[tuple[int, ...]] = []
    known: dict[tuple[bool, ...], tuple[int, ...]] = {}
    for start_ns in boundaries:
        active = tuple(fault.start_ns <= start_ns < fault.stop_ns for fault in faults)
        if active not in known:
            effects = [fault.effect for fault, holds in zip(faults, active, strict=True) if holds]
            known[active] = compose([base, *effects], table_of)
        rows.append(known[active])
    return rows
