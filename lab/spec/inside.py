"""Contradictions between faults of replicas, drawn faults and regions, and the rest of the experiment."""

from __future__ import annotations

from collections.abc import Iterator

from lab.core.units import shown
from lab.faults.base import name_problem
from lab.faults.swarm import Swarm
from lab.model.presets import REGIONS
from lab.spec.errors import Problem
from lab.spec.schema import LINKED_MAX, Experiment

STAMPED = "changelog"  # the protocol of which the leader alone stamps anything


def inside_problems(experiment: Experiment) -> Iterator[Problem]:
    """Check clocks, added arrivals, drawn faults and regions."""
    system = experiment.system
    names, protocol = system.names, system.protocol
    for index, fault in enumerate(experiment.faults):
        base = ("faults", index, fault.kind)
        if fault.kind == "clock_offset" and protocol == STAMPED and fault.inside()[0].node in names[1:]:
            yield (*base, "node"), f"only the leader, {names[0]}, stamps entries: its clock alone has an effect"
        if fault.spikes() and not system.settings.has_client:
            yield base, f"the protocol {protocol} has no client that could ask for more; remove the fault"
        if fault.is_drawn() and len(names) > LINKED_MAX:
            yield base, f"with {len(names)} replicas (more than {LINKED_MAX}) all links are alike; write the faults out"
        if isinstance(fault, Swarm):
            yield from (((*base, "faults"), sentence) for sentence in _swarm(fault, experiment))
    yield from _regions(experiment)


def _swarm(fault: Swarm, experiment: Experiment) -> Iterator[str]:
    settings, protocol = experiment.system.settings, experiment.system.protocol
    if "overload" in fault.faults and not settings.has_client:
        yield f"the protocol {protocol} has no client that could ask for more; remove overload"
    if fault.touches_links() and not settings.has_links:
        yield f"replicas of the protocol {protocol} send each other nothing; name faults of replicas alone"
    if "clock_offset" in fault.faults and protocol == STAMPED:
        yield "the clock of a drawn follower stamps nothing in a changelog; remove clock_offset"
    if "duplicate" in fault.faults and experiment.network.transport == "stream":
        yield "a stream delivers nothing twice; remove duplicate, or use the transport message"


def _regions(experiment: Experiment) -> Iterator[Problem]:
    network, names = experiment.network, experiment.system.names
    if network.preset == "three_continents" and not network.regions:
        some = ", ".join(f"{name}: {region}" for name, region in zip(names, REGIONS, strict=False))
        yield ("network", "preset"), f"three_continents needs to know where the replicas are; add regions: {{ {some} }}"
    for name in network.regions:
        sentence = name_problem(name, names)
        if sentence:
            yield ("network", "regions", name), sentence
    left = [name for name in names if name not in network.regions]
    if network.regions and left:
        yield ("network", "regions"), f"{shown(left[0])} is in no region; name one for every replica"
    if network.regions and len(names) > LINKED_MAX:
        yield ("network", "regions"), f"with more than {LINKED_MAX} replicas all links are alike; remove regions"
