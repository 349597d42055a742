"""An experiment's faults as a timetable for the container plane, and the sentences with which an experiment is
refused. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise

from lab.containers import budget, links
from lab.containers.links import Links
from lab.containers.toxiproxy import problems
from lab.core.units import duration_text
from lab.faults import Fault
from lab.model.disturbance import Inside, Replacement
from lab.model.effects import Outage, Setting
from lab.model.link import TooManyLaws
from lab.spec.schema import Experiment

SEED_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class RowSwitch:
    """The start of an epoch: links change their rows together. Named faults begin or end with it."""

    at_ns: int
    epoch: int
    begins: tuple[int, ...]
    ends: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NodeOutage:
    """A crash or a pause, the fault it comes from, and the program that takes the node's place, if another does."""

    fault: int
    outage: Outage
    replacement: Replacement | None = None

    @property
    def warm_ns(self) -> int:
        """How long before it its replacement is prepared beside the node; 0 where there is nothing to prepare."""
        return self.replacement.warm_ns if self.replacement else 0


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What is disturbed inside a replica, and the fault it comes from."""

    fault: int
    inside: Inside


@dataclass(frozen=True, slots=True)
class ModeSwitch:
    """A setting, and the fault it comes from."""

    fault: int
    setting: Setting


@dataclass(frozen=True, slots=True)
class Timetable:
    """What is done when (ns from the start of the run). Outages of one node never overlap."""

    links: Links
    switches: tuple[RowSwitch, ...]
    outages: tuple[NodeOutage, ...]
    modes: tuple[ModeSwitch, ...]
    disturbances: tuple[Disturbance, ...] = ()

    def promotions(self) -> dict[int, list[NodeOutage]]:
        """Return, by fault, the outages in which replicas that were prepared beside others take their places."""
        found: dict[int, list[NodeOutage]] = {}
        for one in self.outages:
            if one.warm_ns:
                found.setdefault(one.fault, []).append(one)
        return found

    def outages_of(self, node: str) -> list[NodeOutage]:
        """Return one node's outages in order of time."""
        return [one for one in self.outages if one.outage.node == node]


def timetable(experiment: Experiment, seed: int) -> Timetable:
    """Return the timetable of a run. Raise TooManyLaws where a row cannot hold what adds up."""
    planned = links.plan(experiment, seed)
    touching = [index for index, fault in enumerate(experiment.faults) if _touches_links(experiment, fault)]
    switches = []
    for epoch, at_ns in enumerate(planned.boundaries_ns):
        if planned.changes(epoch):
            begins = tuple(index for index in touching if experiment.faults[index].start_ns == at_ns)
            ends = tuple(index for index in touching if experiment.faults[index].stop_ns == at_ns)
            switches.append(RowSwitch(at_ns, epoch, begins, ends))
    outages = [
        NodeOutage(index, outage, next((one for one in fault.replacements() if one.node == outage.node), None))
        for index, fault in enumerate(experiment.faults)
        for outage in fault.outages()
    ]
    inside = tuple(Disturbance(index, one) for index, fault in enumerate(experiment.faults) for one in fault.inside())
    modes = [
        ModeSwitch(index, setting) for index, fault in enumerate(experiment.faults) for setting in fault.settings()
    ]
    outages.sort(key=lambda one: one.outage.start_ns)
    modes.sort(key=lambda one: one.setting.at_ns)
    return Timetable(planned, tuple(switches), tuple(outages), tuple(modes), inside)


def _touches_links(experiment: Experiment, fault: Fault) -> bool:
    names = experiment.system.names
    return any(
        fault.link_effect(a, b) is not None or fault.toxic(a, b) is not None for a in names for b in names if a != b
    )


def refusals(experiment: Experiment, seed: int) -> list[str]:
    """Return a sentence for everything that the container plane cannot do exactly; nothing is approximated in
    silence.
    """
    found = [f"{fault.label()}: {reason}" for fault in experiment.faults if (reason := fault.refusal())]
    found += experiment.network.beyond_containers()
    if experiment.system.protocol != "changelog":
        found.append(f"the replicas in compose/ speak the protocol changelog, not {experiment.system.protocol}")
    if not 0 <= seed <= SEED_MAX:
        found.append(f"the seed {seed} is not in 0..{SEED_MAX}")
    for fault in experiment.faults:
        other = sorted({setting.name for setting in fault.settings()} - {"mode"})
        found += [f"{fault.label()}: replicas in containers cannot switch {name} while they run" for name in other]
    try:
        table = timetable(experiment, seed)
        found += links.refusals(experiment)
    except TooManyLaws as error:
        return [*found, str(error)]
    if experiment.system.wire == "framed":
        found += [sentence for link in table.links.links for sentence in problems(link)]
    else:
        found += budget.refusals(experiment, seed)
    return [*found, *_overlaps(experiment, table)]


def _overlaps(experiment: Experiment, table: Timetable) -> list[str]:
    """Return a sentence for everything that two faults would do to one replica at the same time."""
    found = []
    for node in experiment.system.names:
        for one, two in pairwise(table.outages_of(node)):
            if two.outage.start_ns < one.outage.stop_ns:
                at = duration_text(two.outage.start_ns)
                found.append(f"{node} is stopped twice at {at}: a container is either killed or paused, one at a time")
        warmed = [one for one in table.outages_of(node) if one.warm_ns]
        for one, two in pairwise(warmed):
            if two.outage.start_ns - two.warm_ns < one.outage.stop_ns:
                at = duration_text(two.outage.start_ns - two.warm_ns)
                found.append(
                    f"a second replica is prepared beside {node} at {at}, before the first has taken its place"
                )
    for first, second in combinations(sorted(table.disturbances, key=lambda one: one.inside.start_ns), 2):
        a, b = first.inside, second.inside
        if a.node == b.node and a.evidence == b.evidence and b.start_ns < a.stop_ns:
            label = experiment.faults[second.fault].label()
            found.append(f"{label}: another fault of the same kind holds {b.node} at {duration_text(b.start_ns)}")
    return found
