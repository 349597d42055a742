"""An experiment made ready to run: integers only, shared by every simulated executor."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

from lab.faults import Fault
from lab.model.effects import Outage, Setting
from lab.model.link import LinkFault, LinkPlan, plan_links
from lab.model.workload import Operation, operations
from lab.protocols import PROTOCOLS
from lab.spec.schema import Experiment

EVENTS_MAX = 50_000_000
CLIENT = "client"


class BudgetExceeded(RuntimeError):
    """A run handled more events than its budget; the message says when and where."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that decides a run except the seed."""

    experiment: Experiment
    protocol: Any
    names: tuple[str, ...]  # replicas, then the client
    params: Any  # a namedtuple of int64, fields as in protocol.parameters
    plan: LinkPlan
    outages: tuple[Outage, ...]
    settings: tuple[Setting, ...]
    faults: tuple[Fault, ...]
    horizon_ns: int

    def operations(self, seed: int) -> list[Operation]:
        """Return the operations of one seed."""
        return operations(self.experiment.workload, seed)

    def pauses(self, name: str) -> list[tuple[int, int]]:
        """Return the intervals [start_ns, stop_ns) in which a node stands still."""
        return [(o.start_ns, o.stop_ns) for o in self.outages if o.keep is None and o.node == name]

    def sizes(self, operation_count: int) -> dict[str, int]:
        """Return the dimensions that fields may have."""
        return {
            "updates": operation_count + 1,
            "keys": self.experiment.workload.keys,
            "nodes": len(self.names),
        }


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
    params = namedtuple("Params", protocol.parameters)(**values)  # type: ignore[misc]
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
    )
