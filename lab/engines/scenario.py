"""An experiment made ready to run: integers only, shared by every simulated executor."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from lab.core.fate import CUT, DUPLICATE_PPM, LOSS_PPM, REORDER_PPM, TABLE_0
from lab.engines.refusals import reads_clock, refuse
from lab.faults import Fault
from lab.faults.base import CLOCKS, LINK_MEMORY, STAGES
from lab.model.effects import LinkEffect, Outage, Setting
from lab.model.extras import NOTHING, Span
from lab.model.inside import Skew, Stage, skews, stages
from lab.model.link import CLIENT, LinkFault, LinkPlan, Network, plan_alike, plan_links
from lab.model.transport import NO_SERVICE, Stream
from lab.model.workload import Operation, Spike, Workload, operations
from lab.protocols import PROTOCOLS
from lab.spec.drawing import for_seed, is_drawn, needs_of
from lab.spec.schema import LINKED_MAX, Experiment

EVENTS_MAX = 50_000_000
INBOX_LIMIT = 1 << 62
REPLICATED = "changelog"  # the protocol that real replicas speak


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
class Service:
    """What one replica needs for a message: the quantiles of its service time in ns, and how many its inbox holds."""

    table: tuple[int, ...]
    inbox_limit: int


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
    services: tuple[Service | None, ...] = ()  # a replica each where they differ or are drawn; then instead of the two
    stages: tuple[Stage, ...] = ()
    skews: tuple[Skew, ...] = ()
    spike_faults: tuple[int, ...] = ()  # the faults that the last spikes of the workload come from
    client_links: bool = False  # whether links with the client are the network's; else nothing disturbs them
    needs: frozenset[str] = (
        frozenset()
    )  # of the parts below: what the module must have though this seed does not use it

    @property
    def remembers(self) -> bool:
        """Whether links remember something (`lab.core.stateful`)."""
        return bool(self.plan.extras)

    @property
    def holds(self) -> bool:
        """Whether faults disturb replicas (`lab.core.nodes`)."""
        return bool(self.stages) or STAGES in self.needs

    @property
    def reads_clock(self) -> bool:
        """Whether the protocol ever reads its node's clock."""
        return reads_clock(self.protocol)

    @property
    def skews_clocks(self) -> bool:
        """Whether faults put clocks off that the protocol reads."""
        return self.reads_clock and (bool(self.skews) or CLOCKS in self.needs)

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
        """Return whether a link (source * nodes + target) is never disturbed: that of a node to itself and, unless the
        protocol has `client_links`, one to or from the client.
        """
        if self.shares_links:
            return False
        source, target = divmod(link, len(self.names))
        return source == target or (not self.client_links and len(self.names) - 1 in (source, target))

    def is_ideal(self, epoch: int, link: int) -> bool:
        """Return whether a link delivers everything at once and unharmed in an epoch, so that no draw is needed."""
        is_plain = not self.plan.extras or self.plan.extras[epoch][link] == NOTHING
        return (
            is_plain
            and is_ideal(self.plan.rows[epoch][link])
            and (self.bursts is None or self.is_exempt(link))
        )  # fmt: skip

    def pauses(self, name: str) -> list[tuple[int, int]]:
        """Return the intervals [start_ns, stop_ns) in which a node stands still."""
        return [(o.start_ns, o.stop_ns) for o in self.outages if o.keep is None and o.node == name]

    def sizes(self, operation_count: int) -> dict[str, int]:
        """Return the dimensions that fields may have."""
        return {
            "updates": operation_count + 1,
            "keys": self.key_count,
            "nodes": len(self.names),
            "samples": len(self.names) * getattr(self.params, "window", 0),
        }


def is_ideal(row: Sequence[int]) -> bool:
    """Return whether a row delivers everything at once and unharmed."""
    return not (
        row[CUT] or row[LOSS_PPM] or row[DUPLICATE_PPM] or row[REORDER_PPM] or any(slot >= 0 for slot in row[TABLE_0:])
    )


def link_faults(experiment: Experiment) -> list[LinkFault]:
    """Return every fault's effect on every directed link of the network, nodes as indices."""
    names = experiment.link_names
    found = []
    for fault in experiment.faults:
        spans = fault.spans()
        for source, source_name in enumerate(names):
            for target, target_name in enumerate(names):
                effect = fault.link_effect(source_name, target_name) if source != target else None
                if effect is not None:
                    found += [LinkFault(source, target, start_ns, stop_ns, effect) for start_ns, stop_ns in spans]
    return found


def base_delays(experiment: Experiment) -> list[LinkFault]:
    """Return what links take beyond what is asked (`network.base`), those with the client among them, for the whole
    run.
    """
    if not experiment.network.base:
        return []
    names = (*experiment.system.names, CLIENT)
    found = []
    for source, target in permutations(range(len(names)), 2):
        law = experiment.network.base_law(names[source], names[target])
        if law is not None:
            found.append(LinkFault(source, target, 0, experiment.horizon_ns + 1, LinkEffect(delay=law)))
    return found


def prepare_seed(experiment: Experiment, seed: int) -> Scenario:
    """Make the scenario of one seed of an experiment, whose faults may be drawn from it. Raise as `prepare`."""
    return prepare(for_seed(experiment, seed), needs_of(experiment) if is_drawn(experiment) else frozenset())


def prepare(experiment: Experiment, needs: frozenset[str] = frozenset()) -> Scenario:
    """Make a scenario of an experiment. Raise NotSimulated for what only real replicas have.

    `needs` names what the compiled module must have though the faults do not use it, so that all seeds of an experiment
    with drawn faults share one module.
    """
    refuse(experiment)
    if is_drawn(experiment):
        raise ValueError("the faults of this experiment are drawn from the seed: prepare a seed")
    protocol, _ = PROTOCOLS[experiment.system.protocol]
    settings = experiment.system.settings
    params = namedtuple("Params", protocol.parameters)(**settings.parameters(experiment))
    names = experiment.system.names
    network = experiment.network
    if len(names) > LINKED_MAX:
        plan = _plan_shared(experiment, protocol.kinds, LINK_MEMORY in needs)
    else:
        faults = [*base_delays(experiment), *link_faults(experiment)]
        plan = plan_links(
            names, network, faults, protocol.kinds, LINK_MEMORY in needs, with_client=settings.client_links
        )
    inside = [(index, one) for index, fault in enumerate(experiment.faults) for one in fault.inside()]
    extra = [(index, spike) for index, fault in enumerate(experiment.faults) for spike in fault.spikes()]
    return Scenario(
        experiment=experiment,
        protocol=protocol,
        names=(*names, CLIENT),
        params=params,
        plan=plan,
        outages=tuple(outage for fault in experiment.faults for outage in fault.outages()),
        settings=tuple(setting for fault in experiment.faults for setting in fault.settings()),
        faults=tuple(experiment.faults),
        horizon_ns=experiment.horizon_ns,
        quiet_ns=experiment.quiet_ns,
        workload=_offered(experiment.workload, [spike for _, spike in extra]) if settings.has_client else None,
        bursts=_bursts(network),
        stages=stages(inside, names, protocol.kinds, experiment.system.protocol == REPLICATED),
        skews=skews(inside, names) if reads_clock(protocol) else (),
        spike_faults=tuple(index for index, _ in extra),
        client_links=settings.client_links,
        needs=needs,
        **_service(network, names),
    )


def _offered(workload: Workload, extra: Sequence[Spike]) -> Workload:
    """Return the workload with the arrivals that faults add."""
    return workload.model_copy(update={"spikes": [*workload.spikes, *extra]}) if extra else workload


def _bursts(network: Network) -> Bursts | None:
    bursts = network.bursts
    return Bursts(bursts.good, bursts.bad, bursts.good_loss, bursts.bad_loss) if bursts else None


def _service(network: Network, names: Sequence[str]) -> dict[str, Any]:
    """Return the scenario's fields of service: two numbers where all replicas are alike, else one entry a replica."""
    if not network.nodes:
        return {}
    pairs = []
    for name in names:
        node = network.node(name)
        pairs.append((node.service or NO_SERVICE, node.inbox or INBOX_LIMIT))
    (law, limit), *others = dict.fromkeys(pairs)
    if not others and law.shape == "constant" and (law.arguments[0] or limit == INBOX_LIMIT):
        return {"service_ns": law.arguments[0], "inbox_limit": limit}
    tables = {law: law.table() for law, _ in pairs}
    return {"services": tuple(Service(tables[law], limit) if law != NO_SERVICE else None for law, limit in pairs)}


def _plan_shared(experiment: Experiment, kinds: Mapping[int, str], remembers: bool) -> LinkPlan:
    """Return the plan of a network whose links are all alike: one row an epoch."""
    names, network = experiment.system.names, experiment.network
    base = network.link(names[0], names[1]).effect()
    found = [(fault, fault.link_effect(names[0], names[1])) for fault in experiment.faults]
    spans = [Span(*span, effect) for fault, effect in found if effect is not None for span in fault.spans()]
    stream = network.stream if network.transport == "stream" else None
    law = network.base.get("default")
    bases = [base] if law is None else [base, LinkEffect(delay=law)]
    return plan_alike(len(names) + 1, bases, kinds, stream, spans, remembers)


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
    stream: Stream | None = None,
    spans: Sequence[Span] = (),
    services: Sequence[Service | None] = (),
    stages: Sequence[Stage] = (),
    skews: Sequence[Skew] = (),
) -> Scenario:
    """Return a scenario without workload of `nodes` replicas whose links all share one row, composed of `effects` and,
    while they last, those of `spans`.

    For protocols that make their own traffic, and for networks too large for a row a link.
    """
    plan = plan_alike(nodes + 1, effects, protocol.kinds, stream, spans)
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
        services=tuple(services),
        stages=tuple(stages),
        skews=tuple(skews),
    )
