"""What each Toxiproxy link does over a run: the link plan, cut to one chain of toxics a link.

On the wire `framed` a link's message toxic gets all its rows before the run, and at each boundary only the number of
the row in force changes. Rows are kept apart by the faults that are active, not by their content alone, so that the
toxic's counts tell which fault touched which message. On the wire `oneshot`, and for what is a stock toxic on either,
the row says which toxics of the chain act.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lab.containers import chain
from lab.containers.chain import Toxic
from lab.containers.recall import Recall
from lab.core import draws
from lab.core.fate import DUPLICATE_PPM, REORDER_BY_NS, ROW_LENGTH, TABLE_0
from lab.model.effects import LinkEffect
from lab.model.extras import NOTHING, Extra
from lab.model.link import LinkFault, LinkPlan, plan_links
from lab.protocols import PROTOCOLS
from lab.spec.schema import Experiment

LINK_KEY_STRIDE = 64


@dataclass(frozen=True, slots=True)
class Link:
    """One directed link: the message toxic's attributes (framed), the chain of stock toxics, and the row in force from
    each boundary of the plan on.

    `faults[k]` are the indices of the experiment's faults that act while row k is in force; `killers` are those that
    close the link's connections and refuse new ones. Where the link remembers, `extras` has one a row, and rules choose
    among `leaves`.
    """

    source: str
    target: str
    key: int
    rows: tuple[tuple[int, ...], ...]
    tables: tuple[tuple[int, ...], ...]
    faults: tuple[frozenset[int], ...]
    row_of_epoch: tuple[int, ...]
    toxics: tuple[Toxic, ...] = ()
    framed: bool = True
    killers: frozenset[int] = frozenset()
    extras: tuple[Extra, ...] = ()
    leaves: tuple[tuple[tuple[int, ...], Extra], ...] = ()
    memory_words: int = 0

    @property
    def name(self) -> str:
        """The name of the link and of its proxy."""
        return f"{self.source}->{self.target}"

    def delays(self, row: int) -> bool:
        """Return whether messages may take longer while that row is in force."""
        return self.rows[row][REORDER_BY_NS] > 0 or any(table >= 0 for table in self.rows[row][TABLE_0:])

    def shares(self, row: int) -> dict[str, int]:
        """Return the share (millionths) on which each stock toxic acts while that row is in force."""
        return {toxic.name: toxic.share(self.faults[row]) for toxic in self.toxics}

    def is_marked(self, fault: int) -> bool:
        """Return whether what a fault does here shows only in what is counted before it begins and after it ends. What
        the message toxic does, it counts for each row by itself.
        """
        return not self.framed or fault in self.killers or any(toxic.owner == fault for toxic in self.toxics)

    def is_open(self, row: int) -> bool:
        """Return whether connections are taken while that row is in force."""
        return not self.killers & self.faults[row]

    def duplicate_ppm(self, row: int) -> int:
        """Return the share of messages that the sender writes twice while that row is in force (oneshot)."""
        return self.rows[row][DUPLICATE_PPM]


@dataclass(frozen=True, slots=True)
class Links:
    """All links that carry traffic, and the boundaries (ns from the start of the run) at which rows may change."""

    boundaries_ns: tuple[int, ...]
    links: tuple[Link, ...]

    def changes(self, epoch: int) -> list[tuple[Link, int]]:
        """Return (link, row) for each link whose row changes at the start of an epoch."""
        return [
            (link, link.row_of_epoch[epoch])
            for link in self.links
            if epoch > 0 and link.row_of_epoch[epoch] != link.row_of_epoch[epoch - 1]
        ]


def used_pairs(count: int) -> list[tuple[int, int]]:
    """Return the directed pairs that carry traffic among replicas 0..count-1: all with the leader, 0."""
    return [pair for follower in range(1, count) for pair in ((0, follower), (follower, 0))]


def _link_faults(experiment: Experiment) -> dict[tuple[int, int], dict[int, LinkFault]]:
    """Return, by (source, target), the effect of each fault that touches the link, by the fault's index."""
    names = experiment.system.names
    found: dict[tuple[int, int], dict[int, LinkFault]] = {}
    for index, fault in enumerate(experiment.faults):
        for source, source_name in enumerate(names):
            for target, target_name in enumerate(names):
                effect = fault.link_effect(source_name, target_name) if source != target else None
                if effect is None and source != target and fault.toxic(source_name, target_name) is not None:
                    effect = LinkEffect()  # the row stays as it is, but its messages are counted apart
                if effect is not None:
                    one = LinkFault(source, target, fault.start_ns, fault.stop_ns, effect)
                    found.setdefault((source, target), {})[index] = one
    return found


def plan(experiment: Experiment, seed: int) -> Links:
    """Return the links of an experiment's run. Raise TooManyLaws where a row cannot hold what adds up."""
    return _plan(experiment, seed)[0]


def refusals(experiment: Experiment) -> list[str]:
    """Return a sentence for everything that the wire cannot carry exactly. Raise TooManyLaws as `plan`."""
    return list(dict.fromkeys(_plan(experiment, 0)[1]))


def _plan(experiment: Experiment, seed: int) -> tuple[Links, list[str]]:
    names = experiment.system.names
    by_pair = _link_faults(experiment)
    faults = [one for some in by_pair.values() for one in some.values()]
    whole = plan_links(names, experiment.network, faults, PROTOCOLS[experiment.system.protocol][0].kinds)
    links, refused = [], list[str]()
    for pair in used_pairs(len(names)):
        cut = _cut(whole, names, pair, by_pair.get(pair, {}), seed)
        toxics, sentences = _chain(experiment, cut.source, cut.target)
        refused += sentences
        killers = frozenset(index for index, fault in by_pair.get(pair, {}).items() if fault.effect.kill)
        links.append(replace(cut, toxics=toxics, framed=experiment.system.wire == "framed", killers=killers))
    return Links(whole.boundaries_ns, tuple(links)), refused


def _chain(experiment: Experiment, source: str, target: str) -> tuple[tuple[Toxic, ...], list[str]]:
    """Return a link's stock toxics in their order, and sentences for what they cannot do."""
    wire = experiment.system.wire
    toxics, refused = list[Toxic](), list[str]()
    if wire == "oneshot":
        made, sentences = chain.of_effect("base", chain.BASELINE, experiment.network.link(source, target).effect())
        toxics += made
        refused += [f"the link {source}->{target}: {sentence}" for sentence in sentences]
    for index, fault in enumerate(experiment.faults):
        effect, toxic = fault.link_effect(source, target), fault.toxic(source, target)
        made, sentences = [], list[str]()
        if toxic is not None:
            made, sentences = chain.of_toxic(f"f{index}", index, toxic, wire)
        elif effect is not None and wire == "oneshot":
            made, sentences = chain.of_effect(f"f{index}", index, effect)
            too_short = chain.lasting(made, fault.stop_ns - fault.start_ns)
            sentences += [too_short] if too_short else []
        elif effect is not None and effect.hold:
            made = [chain.hold(f"f{index}.hold", index, wire)]
        toxics += made
        refused += [f"{fault.label()}: {sentence}" for sentence in sentences]
    if wire == "framed":
        refused += _out_of_turn(experiment, source, target)
    if any(toxic.added for toxic in toxics):
        toxics.append(chain.shield())
    return tuple(sorted(toxics, key=chain.place)), refused


def _out_of_turn(experiment: Experiment, source: str, target: str) -> list[str]:
    """Return sentences for faults that would be asked about messages later than in the simulator, or never."""
    effects = [(fault, effect) for fault in experiment.faults if (effect := fault.link_effect(source, target))]
    found = []
    for fault, effect in effects:
        if (
            effect.first
            and not effect.kinds
            and experiment.policy.progress_every
            and source == experiment.system.names[0]
        ):
            found.append(f"{fault.label()}: PROGRESS frames, which only real leaders send, would count; name the kinds")
        for other, its in effects:
            if other.start_ns > fault.stop_ns or other.stop_ns <= fault.start_ns:
                continue
            if effect.hold and its.remembers and not (its.hold or its.kill):
                why = "held messages are decided when they leave"
            elif effect.kill and its.first:
                why = "what finds no connection is not counted"
            else:
                continue
            found.append(f"{fault.label()}: {why}, so {other.label()} must not overlap it, nor begin as it ends")
    return found


def _cut(
    whole: LinkPlan, names: tuple[str, ...], pair: tuple[int, int], faults: Mapping[int, LinkFault], seed: int
) -> Link:
    source, target = pair
    seen: dict[tuple[tuple[int, ...], frozenset[int], Extra], int] = {}
    row_of_epoch, recall = [], Recall(whole)
    for epoch, start_ns in enumerate(whole.boundaries_ns):
        row = whole.rows[epoch][source * whole.node_count + target]
        active = frozenset(index for index, fault in faults.items() if fault.start_ns <= start_ns < fault.stop_ns)
        extra = recall.extra(whole.extras[epoch][source * whole.node_count + target]) if whole.extras else NOTHING
        row_of_epoch.append(seen.setdefault((row, active, extra), len(seen)))
    table_of: dict[int, int] = {}
    rows = tuple(_renumbered(row, table_of) for row, _, _ in seen)
    leaves = tuple((_renumbered(row, table_of), extra) for row, extra in recall.leaves)
    remembers = any(extra != NOTHING for _, _, extra in seen)
    return Link(
        source=names[source],
        target=names[target],
        key=draws.chain(seed, draws.LINK, source * LINK_KEY_STRIDE + target),
        rows=rows,
        tables=tuple(whole.tables[table] for table in table_of),
        faults=tuple(active for _, active, _ in seen),
        row_of_epoch=tuple(row_of_epoch),
        extras=tuple(extra for _, _, extra in seen) if remembers else (),
        leaves=leaves,
        memory_words=len(recall.slot_of),
    )


def _renumbered(row: tuple[int, ...], table_of: dict[int, int]) -> tuple[int, ...]:
    """Return a row whose tables are numbered as the link's own list has them."""
    tables = [table_of.setdefault(table, len(table_of)) if table >= 0 else -1 for table in row[TABLE_0:ROW_LENGTH]]
    return (*row[:TABLE_0], *tables)
