"""Links: the baseline of the network and every fault composed into rows of integers, ready before a run starts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from lab.core import fate
from lab.core.laws import DelayLaw, Law
from lab.core.section import Section
from lab.core.sizes import BytesPerS, SizeBytes
from lab.core.stateful import EXTRA_LENGTH
from lab.core.units import DurationNs, SharePpm
from lab.model.effects import LinkEffect, LossChain
from lab.model.extras import NOTHING, Composer, Extra, Span
from lab.model.presets import NETWORKS, merged, region_delay
from lab.model.transport import Node, Stream, TimedBursts

QUEUE_BYTES = 256 << 10  # what waits for a link of limited bandwidth, unless the file says otherwise


class Reorder(Section):
    """Hold back that share of the messages by that long, so that later ones overtake them."""

    share: SharePpm
    by: DurationNs


class LossBursts(Section):
    """Gilbert-Elliott loss a message: the chances to go from good to bad and back, and the share lost in each state."""

    to_bad: SharePpm
    to_good: SharePpm
    bad_loss: SharePpm = 1_000_000
    good_loss: SharePpm = 0

    def chain(self) -> LossChain:
        """Return it as a chain that begins in the good state."""
        return LossChain(self.to_bad, self.to_good, self.bad_loss, self.good_loss)


class Link(Section):
    """A directed link without faults. Keys left out take the value of `default`.

    `bandwidth` sends one message after the other; where more than `queue` bytes wait, the next message is dropped (drop
    tail) and counted `overflow`.
    """

    delay: DelayLaw = Law("constant", (0,))
    loss: SharePpm = 0
    duplicate: SharePpm = 0
    reorder: Reorder | None = None
    corrupt: SharePpm = 0
    loss_bursts: LossBursts | None = None
    bandwidth: BytesPerS = 0
    queue: SizeBytes = QUEUE_BYTES

    def effect(self) -> LinkEffect:
        """Return the link's own behaviour as an effect."""
        return LinkEffect(
            loss_ppm=self.loss,
            duplicate_ppm=self.duplicate,
            reorder_ppm=self.reorder.share if self.reorder else 0,
            reorder_by_ns=self.reorder.by if self.reorder else 0,
            delay=self.delay,
            corrupt_ppm=self.corrupt,
            chain=self.loss_bursts.chain() if self.loss_bursts else None,
            bytes_per_s=self.bandwidth,
            queue_bytes=self.queue if self.bandwidth else 0,
        )


CLIENT = "client"  # the node that writes, in the names of links of `base`


def _base(value: Any) -> Any:
    return {"default": value} if isinstance(value, str | Law) else value


Base = Annotated[
    dict[str, DelayLaw], Field(max_length=64), BeforeValidator(_base, json_schema_input_type=str | dict[str, str])
]


Preset = Literal[
    "lan", "slow_lan", "wan", "three_continents", "satellite", "lossy_wifi", "mobile_3g", "mobile_edge", "poor_dsl"
]
Region = Literal["north_america", "europe", "south_america", "asia_pacific", "japan", "australia"]


class Network(Section):
    """All links between replicas; of protocols whose replicas send each other nothing, those with the client.

    `links` maps `default` or `a->b` to a link, `nodes` maps `default` or a replica to
    its service.

    With the transport `message` every message has its own fate; with `stream` a link is a connection. `base` is what
    real links take beyond what is asked (`lab calibrate` measures it): the simulator adds it, containers have it. A
    `preset` (`lab.model.presets`) sets keys that the file leaves out. `regions` maps replicas to regions of the world:
    between them the delay of the regions stands in the place of that of `default`.
    """

    preset: Preset | None = None
    regions: Annotated[dict[str, Region], Field(max_length=64)] = {}

    transport: Literal["message", "stream"] = "message"
    links: dict[str, Link] = Field(default_factory=dict)
    stream: Stream = Stream()
    bursts: TimedBursts | None = None
    nodes: dict[str, Node] = Field(default_factory=dict)
    base: Base = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, data: Any) -> Any:
        """Write out what the preset says."""
        name = data.get("preset") if isinstance(data, dict) else None
        return merged(NETWORKS[name][0], data) if isinstance(name, str) and name in NETWORKS else data

    def base_law(self, source: str, target: str) -> Law | None:
        """Return what a link takes beyond what is asked; links with the client have it only where they are named."""
        fallback = None if CLIENT in (source, target) else self.base.get("default")
        return self.base.get(f"{source}->{target}", fallback)

    def node(self, name: str) -> Node:
        """Return what the replica `name` needs: its own keys over those of `default`."""
        default = self.nodes.get("default", Node())
        own = self.nodes.get(name)
        return default if own is None else own.over(default)

    def beyond_containers(self) -> list[str]:
        """Return a sentence for each part that the container plane cannot carry."""
        found = []
        if self.transport != "message":
            found.append("network.transport: the message toxic gives every message its own fate; write message")
        if self.bursts is not None:
            found.append("network.bursts: the message toxic has no bursts of loss that follow the time; remove them")
        if self.nodes:
            found.append("network.nodes: real replicas take the time they take; remove the service times")
        return found

    def link(self, source: str, target: str) -> Link:
        """Return the link from `source` to `target`: its own keys over those of `default`."""
        default = self.links.get("default", Link())
        own = self.links.get(f"{source}->{target}")
        if source in self.regions and target in self.regions:
            default = default.model_copy(update={"delay": region_delay(self.regions[source], self.regions[target])})
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
    (columns in `lab.core.fate`); rows index `tables`. Where a link remembers something, `extras` lie beside the rows
    (columns in `lab.core.stateful`), else there are none; an extra with rules chooses among `leaves`. The memory has
    `memory_words` words; where all links share one row, as many for each link.
    """

    node_count: int
    boundaries_ns: tuple[int, ...]
    rows: tuple[tuple[tuple[int, ...], ...], ...]
    tables: tuple[tuple[int, ...], ...]
    extras: tuple[tuple[Extra, ...], ...] = ()
    leaves: tuple[tuple[tuple[int, ...], Extra], ...] = ()
    memory_words: int = 0

    def __post_init__(self) -> None:
        assert all(len(extra) == EXTRA_LENGTH for epoch in self.extras for extra in epoch)

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
        row[fate.CUT] |= int(effect.cut or effect.kill)
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


def plan_links(
    names: Sequence[str],
    network: Network,
    faults: Sequence[LinkFault],
    kinds: Mapping[int, str] | None = None,
    remembers: bool = False,
    *,
    with_client: bool = False,
) -> LinkPlan:
    """Compose the network's links and all link faults into the plan of a run.

    The rows cover one node more than `names`: the client, whose links carry messages at once and unharmed, or as the
    network says if `with_client`. `kinds` are the protocol's message kinds, for faults that hold for some of them;
    `remembers` asks for extras though nothing needs them. Raise TooManyLaws, or NotComposable for effects that cannot
    hold on one link at the same time.
    """
    node_count = len(names) + 1
    edges = {0, *(fault.start_ns for fault in faults), *(fault.stop_ns for fault in faults)}
    boundaries = tuple(sorted(edges))
    table_of: dict[Law, int] = {}
    epochs = [[compose([], table_of)] * (node_count * node_count) for _ in boundaries]
    on_link: dict[tuple[int, int], list[LinkFault]] = {}
    for fault in faults:
        on_link.setdefault((fault.source, fault.target), []).append(fault)
    composer = Composer(boundaries, network.stream if network.transport == "stream" else None, kinds or {})
    pairs = [(source, target) for source in range(len(names)) for target in range(len(names)) if source != target]
    bases = {(source, target): network.link(names[source], names[target]).effect() for source, target in pairs}
    every = (*names, CLIENT)
    of_client = [pair for pair in on_link if len(names) in pair]
    if with_client:
        of_client = [pair for replica in range(len(names)) for pair in ((len(names), replica), (replica, len(names)))]
    pairs += of_client
    for source, target in of_client:
        link = network.link(every[source], every[target]).effect() if with_client else LinkEffect()
        bases[source, target] = link
    remembers = remembers or composer.is_needed([*bases.values(), *(fault.effect for fault in faults)])
    extras = [[NOTHING] * (node_count * node_count) for _ in boundaries] if remembers else []
    for pair in pairs:
        base, here, place = bases[pair], on_link.get(pair, []), pair[0] * node_count + pair[1]
        for epoch, row in enumerate(_rows_of_link(base, here, boundaries, table_of)):
            epochs[epoch][place] = row
        if remembers:
            spans = [Span(fault.start_ns, fault.stop_ns, fault.effect) for fault in here]
            for epoch, extra in enumerate(composer.link(base, spans, lambda effects: compose(effects, table_of))):
                extras[epoch][place] = extra
    return LinkPlan(
        node_count,
        boundaries,
        tuple(tuple(epoch) for epoch in epochs),
        tuple(law.table() for law in table_of),
        tuple(tuple(epoch) for epoch in extras),
        tuple(composer.leaves),
        composer.memory_words,
    )


def plan_alike(
    node_count: int,
    effects: Sequence[LinkEffect],
    kinds: Mapping[int, str] | None = None,
    stream: Stream | None = None,
    spans: Sequence[Span] = (),
    remembers: bool = False,
) -> LinkPlan:
    """Return the plan of a network whose links all share one row an epoch: `effects`, and those of `spans` in force."""
    boundaries = tuple(sorted({0, *(edge for span in spans for edge in (span.start_ns, span.stop_ns))}))
    table_of: dict[Law, int] = {}
    faults = [LinkFault(0, 0, span.start_ns, span.stop_ns, span.effect) for span in spans]
    rows = _rows_of_link_under(effects, faults, boundaries, table_of)
    composer = Composer(boundaries, stream, kinds or {})
    extras: list[Extra] = []
    if remembers or composer.is_needed([*effects, *(span.effect for span in spans)]):
        extras = composer.link_under(effects, spans, lambda given: compose(given, table_of))
    return LinkPlan(
        node_count,
        boundaries,
        tuple((row,) for row in rows),
        tuple(law.table() for law in table_of),
        tuple((extra,) for extra in extras),
        tuple(composer.leaves),
        composer.memory_words,
    )


def _rows_of_link(
    base: LinkEffect, faults: Sequence[LinkFault], boundaries: Sequence[int], table_of: dict[Law, int]
) -> list[tuple[int, ...]]:
    return _rows_of_link_under([base], faults, boundaries, table_of)


def _rows_of_link_under(
    bases: Sequence[LinkEffect], faults: Sequence[LinkFault], boundaries: Sequence[int], table_of: dict[Law, int]
) -> list[tuple[int, ...]]:
    """Return one link's row in every epoch, without what holds for some messages only; composed again only where its
    own faults change.
    """
    whole = [fault for fault in faults if not fault.effect.has_rule]
    rows: list[tuple[int, ...]] = []
    known: dict[tuple[bool, ...], tuple[int, ...]] = {}
    for start_ns in boundaries:
        active = tuple(fault.start_ns <= start_ns < fault.stop_ns for fault in whole)
        if active not in known:
            effects = [fault.effect for fault, holds in zip(whole, active, strict=True) if holds]
            known[active] = compose([*bases, *effects], table_of)
        rows.append(known[active])
    return rows
