"""Contradictions in the network and between link faults that no single value shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations

from lab.core.stateful import RULES_MAX
from lab.core.units import duration_text, shown
from lab.faults.base import LINK_ARROW, Fault, name_problem
from lab.model.effects import LinkEffect
from lab.model.link import CLIENT
from lab.protocols import PROTOCOLS
from lab.spec.errors import Path, Problem, nearest
from lab.spec.schema import LINKED_MAX, Experiment

# What links can have so many of at the same time, how to count it in an effect, and what it is called.
_LIMITS: tuple[tuple[int, Callable[[LinkEffect], bool], str], ...] = (
    (1, lambda effect: effect.chain is not None, "losses by a chain of states"),
    (1, lambda effect: effect.correlated is not None, "correlated losses as written"),
    (RULES_MAX, lambda effect: effect.has_rule, "faults with kinds or first"),
)


def network_problems(experiment: Experiment) -> Iterator[Problem]:
    """Check the network section by itself and with the faults."""
    yield from _transport(experiment)
    yield from _nodes(experiment)
    yield from _base(experiment)
    yield from _kinds(experiment)
    yield from _limits(experiment)


def _transport(experiment: Experiment) -> Iterator[Problem]:
    network = experiment.network
    is_stream = network.transport == "stream"
    for key, sentence in network.stream.problems():
        yield ("network", "stream", key), f"{sentence}; raise the one or lower the other"
    if not is_stream and "stream" in network.model_fields_set:
        yield ("network", "stream"), "the transport is message, and these are settings of stream; remove one of them"
    if network.bursts is not None:
        for key, sentence in network.bursts.problems():
            yield ("network", "bursts", key), sentence
        if is_stream:
            fix = "use the fault loss_bursts, or the transport message"
            yield ("network", "bursts"), f"bursts that follow the time cannot be told from retransmissions; {fix}"
    for name, link in network.links.items():
        path: Path = ("network", "links", name)
        source, arrow, target = name.partition(LINK_ARROW)
        whole = network.link(source, target) if arrow else link
        if "queue" in link.model_fields_set and not whole.bandwidth:
            yield (*path, "queue"), "without bandwidth nothing waits for the link; add bandwidth or remove queue"
        if is_stream and link.duplicate:
            yield (*path, "duplicate"), "a stream delivers nothing twice; remove it, or use the transport message"
    for index, fault in enumerate(experiment.faults):
        if is_stream and fault.kind == "duplicate":
            yield (
                ("faults", index, fault.kind),
                "a stream delivers nothing twice; remove it, or use the transport message",
            )


def _nodes(experiment: Experiment) -> Iterator[Problem]:
    names = experiment.system.names
    for name in experiment.network.nodes:
        if name == "default" or not name_problem(name, names):
            continue
        hint = nearest(name, ["default", *names]) or f"write default or {names[0]}"
        yield ("network", "nodes", name), f"{shown(name)} is neither default nor a replica; {hint}"


def _base(experiment: Experiment) -> Iterator[Problem]:
    names = (*experiment.system.names, CLIENT)
    for name in experiment.network.base:
        source, _, target = name.partition(LINK_ARROW)
        if name == "default" or (source in names and target in names and source != target):
            continue
        hint = (
            nearest(name, ["default", f"{CLIENT}{LINK_ARROW}{names[0]}"]) or f"write default or {names[0]}->{names[1]}"
        )
        yield ("network", "base", name), f"{shown(name)} is neither default nor a link; {hint}"


def _kinds(experiment: Experiment) -> Iterator[Problem]:
    protocol = experiment.system.protocol
    known = list(PROTOCOLS[protocol][0].kinds.values())
    for index, fault in enumerate(experiment.faults):
        for place, name in enumerate(getattr(fault, "kinds", ())):
            if name not in known:
                hint = nearest(name, known) or f"kinds: {', '.join(known)}"
                sentence = f"{shown(name)} is not a kind of message of {protocol}; {hint}"
                yield ("faults", index, fault.kind, "kinds", place), sentence


def _limits(experiment: Experiment) -> Iterator[Problem]:
    """Find faults with which a link would have to remember more than it can (`lab.model.extras`)."""
    names = experiment.system.names
    if not any(_touches(fault) for fault in experiment.faults):
        return
    reported: set[int] = set()
    for source, target in permutations(experiment.link_names, 2) if len(names) <= LINKED_MAX else [names[:2]]:
        base = experiment.network.link(source, target).effect()
        effects = [(fault, index, fault.link_effect(source, target)) for index, fault in enumerate(experiment.faults)]
        for most, is_meant, what in _LIMITS:
            spans = [(f.start_ns, f.stop_ns, n) for f, n, effect in effects if effect is not None and is_meant(effect)]
            for start_ns, _, index in spans:
                count = sum(begin <= start_ns < end for begin, end, _ in spans) + is_meant(base)
                if count > most and index not in reported:
                    reported.add(index)
                    where = f"on {source}{LINK_ARROW}{target} at {duration_text(start_ns)}"
                    sentence = f"with this fault {count} {what} hold {where}; at most {most} can: let fewer overlap"
                    yield ("faults", index, experiment.faults[index].kind), sentence


def _touches(fault: Fault) -> bool:
    return bool(getattr(fault, "kinds", ()) or getattr(fault, "first", 0)) or fault.kind.startswith("loss_")
