"""What each Toxiproxy link does over a run: the link plan, cut to one toxic a link.

A link's toxic gets all its rows before the run; at each boundary only the number of the row in force changes. Rows
are kept apart by the faults that are active, not by their content alone, so that the toxic's counts tell which fault
touched which message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lab.core import draws
from lab.core.fate import REORDER_BY_NS, ROW_LENGTH, TABLE_0
from lab.model.link import LinkFault, LinkPlan, plan_links
from lab.spec.schema import Experiment

LINK_KEY_STRIDE = 64


@dataclass(frozen=True, slots=True)
class Link:
    """One directed link: the toxic's attributes, and the row in force from each boundary of the plan on.

    `faults[k]` are the indices of the experiment's faults that act while row k is in force.
    """

    source: str
    target: str
    key: int
    rows: tuple[tuple[int, ...], ...]
    tables: tuple[tuple[int, ...], ...]
    faults: tuple[frozenset[int], ...]
    row_of_epoch: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name of the link and of its proxy."""
        return f"{self.source}->{self.target}"

    def delays(self, row: int) -> bool:
        """Return whether messages may take longer while that row is in force."""
        return self.rows[row][REORDER_BY_NS] > 0 or any(table >= 0 for table in self.rows[row][TABLE_0:])


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
                if effect is not None:
                    one = LinkFault(source, target, fault.start_ns, fault.stop_ns, effect)
                    found.setdefault((source, target), {})[index] = one
    return found


def plan(experiment: Experiment, seed: int) -> Links:
    """Return the links of an experiment's run. Raise TooManyLaws where a row cannot hold what adds up."""
    names = experiment.system.names
    by_pair = _link_faults(experiment)
    whole = plan_links(names, experiment.network, [one for some in by_pair.values() for one in some.values()])
    links = [_cut(whole, names, pair, by_pair.get(pair, {}), seed) for pair in used_pairs(len(names))]
    return Links(whole.boundaries_ns, tuple(links))


def _cut(
    whole: LinkPlan, names: tuple[str, ...], pair: tuple[int, int], faults: Mapping[int, LinkFault], seed: int
) -> Link:
    source, target = pair
    seen: dict[tuple[tuple[int, ...], frozenset[int]], int] = {}
    row_of_epoch = []
    for epoch, start_ns in enumerate(whole.boundaries_ns):
        row = whole.rows[epoch][source * whole.node_count + target]
        active = frozenset(index for index, fault in faults.items() if fault.start_ns <= start_ns < fault.stop_ns)
        row_of_epoch.append(seen.setdefault((row, active), len(seen)))
    table_of: dict[int, int] = {}
    rows = tuple(_renumbered(row, table_of) for row, _ in seen)
    return Link(
        source=names[source],
        target=names[target],
        key=draws.chain(seed, draws.LINK, source * LINK_KEY_STRIDE + target),
        rows=rows,
        tables=tuple(whole.tables[table] for table in table_of),
        faults=tuple(active for _, active in seen),
        row_of_epoch=tuple(row_of_epoch),
    )


def _renumbered(row: tuple[int, ...], table_of: dict[int, int]) -> tuple[int, ...]:
    """Return a row whose tables are numbered as the link's own list has them."""
    tables = [table_of.setdefault(table, len(table_of)) if table >= 0 else -1 for table in row[TABLE_0:ROW_LENGTH]]
    return (*row[:TABLE_0], *tables)
