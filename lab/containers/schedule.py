"""An experiment's faults as a timetable for the container plane, and the sentences with which an experiment is
refused. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from lab.containers.links import Links, plan
from lab.containers.toxiproxy import problems
from lab.core.units import duration_text
from lab.faults import Fault
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
    """A crash or a pause, and the fault it comes from."""

    fault: int
    outage: Outage


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

    def outages_of(self, node: str) -> list[NodeOutage]:
        """Return one node's outages in order of time."""
        return [one for one in self.outages if one.outage.node == node]


def timetable(experiment: Experiment, seed: int) -> Timetable:
    """Return the timetable of a run. Raise TooManyLaws where a row cannot hold what adds up."""
    links = plan(experiment, seed)
    touching = [index for index, fault in enumerate(experiment.faults) if _touches_links(experiment, fault)]
    switches = []
    for epoch, at_ns in enumerate(links.boundaries_ns):
        if links.changes(epoch):
            begins = tuple(index for index in touching if experiment.faults[index].start_ns == at_ns)
            ends = tuple(index for index in touching if experiment.faults[index].stop_ns == at_ns)
            switches.append(RowSwitch(at_ns, epoch, begins, ends))
    outages = [NodeOutage(index, outage) for index, fault in enumerate(experiment.faults) for outage in fault.outages()]
    modes = [
        ModeSwitch(index, setting) for index, fault in enumerate(experiment.faults) for setting in fault.settings()
    ]
    outages.sort(key=lambda one: one.outage.start_ns)
    modes.sort(key=lambda one: one.setting.at_ns)
    return Timetable(links, tuple(switches), tuple(outages), tuple(modes))


def _touches_links(experiment: Experiment, fault: Fault) -> bool:
    names = experiment.system.names
    return any(fault.link_effect(a, b) is not None for a in names for b in names if a != b)


def refusals(experiment: Experiment, seed: int) -> list[str]:
    """Return a sentence for everything that the container plane cannot do exactly; nothing is approximated in
    silence.
    """
    found = [f"{fault.label()}: {fault.containers}" for fault in experiment.faults if fault.containers]
    if experiment.system.protocol != "changelog":
        found.append(f"the replicas in compose/ speak the protocol changelog, not {experiment.system.protocol}")
    if not 0 <= seed <= SEED_MAX:
        found.append(f"the seed {seed} is not in 0..{SEED_MAX}")
    for fault in experiment.faults:
        other = sorted({setting.name for setting in fault.settings()} - {"mode"})
        found += [f"{fault.label()}: replicas in containers cannot switch {name} while they run" for name in other]
    try:
        table = timetable(experiment, seed)
    except TooManyLaws as error:
        return [*found, str(error)]
    found += [sentence for link in table.links.links for sentence in problems(link)]
    for node in experiment.system.names:
        some = table.outages_of(node)
        for one, two in pairwise(some):
            if two.outage.start_ns < one.outage.stop_ns:
                at = duration_text(two.outage.start_ns)
                found.append(f"{node} is stopped twice at {at}: a container is either killed or paused, one at a time")
    return found
