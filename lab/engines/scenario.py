"""An experiment made ready to run: integers only, shared by every simulated executor."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.core.fate import CUT, DUPLICATE_PPM, LOSS_PPM, REORDER_PPM, TABLE_0
from lab.core.laws import Law
from lab.faults import Fault
from lab.model.effects import LinkEffect, Outage, Setting
from lab.model.link import LinkFault, LinkPlan, compose, plan_links
from lab.model.workload import Operation, Workload, operations
from lab.protocols import PROTOCOLS
from lab.spec.schema import Experiment

EVENTS_MAX = 50_000_000
INBOX_LIMIT = 1 << 62
CLIENT = "client"


class BudgetExceeded(RuntimeError):
    """A run handled more events than its budget; the message says when and where."""

    exit_code = 6


@dataclass(frozen=True, slots=True)
class Bursts:
    """Gilbert-Elliott loss on every link between replicas: each link alternates between a good and a bad state.

    Sojourns are exponential with means `good_ns` and `bad_ns` (at least 1 ms), keyed by (seed, link, number of the
    sojourn), so that the state depends on time alone; a message is lost with the share of the state it is sent in, in
    millionths.
    """

    good_ns: int
    bad_ns: int
    good_loss_ppm: int
    bad_loss_ppm: int

    def __post_init__(self) -> None:
        if min(self.good_ns, self.bad_ns) < 1_000_000:
            raise ValueError("mean sojourns of bursts must be at least 1ms")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that decides a run except the seed.

    `service_ns` is the time a replica needs for one message: messages wait in an inbox of `inbox_limit` (the one in
    service included), beyond that they are dropped and counted `overflow`. A `plan` with a single row is shared by all
    links.
    """

    experiment: Experiment | None
    protocol: Any
    names: tuple[str, ...]  # replicas, then the client
    params: Any  # a namedtuple of int64, fields as in protocol.parameters
    plan: LinkPlan
    outages: tuple[Outage, ...]
    settings: tuple[Setting, ...]
    faults: tuple[Fault, ...]
    horizon_ns: int
    quiet_ns: int = 0
    workload: Workload | None = None
    bursts: Bursts | None = None
    service_ns: int = 0
    inbox_limit: int = INBOX_LIMIT

    @property
    def key_count(self) -> int:
        """How many keys operations write to."""
        return self.workload.keys if self.workload else 1

    @property
    def shares_links(self) -> bool:
        """Whether all links have one row."""
        return len(self.plan.rows[0]) == 1

    def operations(self, seed: int) -> list[Operation]:
        """Return the operations of one seed."""
        return operations(self.workload, seed) if self.workload else []

    def is_exempt(self, link: int) -> bool:
        """Return whether a link (source * nodes + target) is one to or from the client, or of a node to itself: never
        disturbed.
        """
        if self.shares_links:
            return False
        source, target = divmod(link, len(self.names))
        return source == target or len(self.names) - 1 in (source, target)

    def is_ideal(self, epoch: int, link: int) -> bool:
        """Return whether a link delivers everything at once and unharmed in an epoch, so that no draw is needed."""
        return is_ideal(self.plan.rows[epoch][link]) and (self.bursts is None or self.is_exempt(link))

    def pauses(self, name: str) -> list[tuple[int, int]]:
        """Return the intervals [start_ns, stop_ns) in which a node stands still."""
        return [(o.start_ns, o.stop_ns) for o in self.outages if o.keep is None and o.node == name]

    def sizes(self, operation_count: int) -> dict[str, int]:
        """Return the dimensions that fields may have."""
        return {
            "updates": operation_count + 1,
            "keys": self.key_count,
            "nodes": len(self.names),
        }


def is_ideal(row: Sequence[int]) -> bool:
    """Return whether a row delivers everything at once and unharmed."""
    return not (
        row[CUT] or row[LOSS_PPM] or row[DUPLICATE_PPM] or row[REORDER_PPM] or any(slot >= 0 for slot in row[TABLE_0:])
    )


def link_faults(experiment: Experiment) -> list[LinkFault]:
    """Return every fault's effect on every directed link between replicas, nodes as indices."""
    names = experiment.system.names
    found = []
    for fault in experiment.faults:
        for source, source_name in enumerate(names):
            for target, target_name in enumerate(names):
                effect = fault.link_effect(source_name, target_name) if source != target else None
                if effect is not None:
                    found.append(LinkFault(source, target, fault.start_ns, fault.stop_ns, effect))
    return found


def prepare(experiment: Experiment) -> Scenario:
    """Make a scenario of an experiment."""
    protocol, module = PROTOCOLS[experiment.system.protocol]
    values = module.parameters(experiment)
    params = namedtuple("Params", protocol.parameters)(**values)
    names = experiment.system.names
    return Scenario(
        experiment=experiment,
        protocol=protocol,
        names=(*names, CLIENT),
        params=params,
        plan=plan_links(names, experiment.network, link_faults(experiment)),
        outages=tuple(outage for fault in experiment.faults for outage in fault.outages()),
        settings=tuple(setting for fault in experiment.faults for setting in fault.settings()),
        faults=tuple(experiment.faults),
        horizon_ns=experiment.horizon_ns,
        quiet_ns=experiment.quiet_ns,
        workload=experiment.workload,
    )


def bare(
    protocol: Any,
    params: Mapping[str, int],
    *,
    nodes: int,
    horizon_ns: int,
    effects: Sequence[LinkEffect] = (),
    outages: Sequence[Outage] = (),
    bursts: Bursts | None = None,
    service_ns: int = 0,
    inbox_limit: int = INBOX_LIMIT,
) -> Scenario:
    """Return a scenario without workload of `nodes` replicas whose links all share one row, composed of `effects`.

    For protocols that make their own traffic, and for networks too large for a row a link.
    """
    table_of: dict[Law, int] = {}
    row = compose(effects, table_of)
    plan = LinkPlan(nodes + 1, (0,), ((row,),), tuple(law.table() for law in table_of))
    return Scenario(
        experiment=None,
        protocol=protocol,
        names=(*(f"n{node}" for node in range(nodes)), CLIENT),
        params=namedtuple("Params", protocol.parameters)(**params),
        plan=plan,
        outages=tuple(outages),
        settings=(),
        faults=(),
        horizon_ns=horizon_ns,
        quiet_ns=horizon_ns,
        bursts=bursts,
        service_ns=service_ns,
        inbox_limit=inbox_limit,
    )
