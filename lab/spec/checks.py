"""What no single value shows: contradictions between the parts of an experiment.

Each check yields (path, sentence) with the path as written in the file, a fault's kind included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice, permutations
from math import sqrt

from lab.core import fate
from lab.core.laws import Law
from lab.core.section import Section
from lab.core.units import duration_text, shown
from lab.faults.base import LINK_ARROW, Fault, link_problem
from lab.faults.partition import Partition
from lab.model.link import CLIENT
from lab.model.workload import NO_ARRIVALS, OPERATIONS_MAX
from lab.protocols import PROTOCOLS
from lab.spec.claims import check_measure, parse_claim, split_variant
from lab.spec.errors import ERRORS_SHOWN, Path, Problem, nearest
from lab.spec.inside import inside_problems
from lab.spec.network import network_problems
from lab.spec.rules import CLIENT_ALARMS, parse_rule
from lab.spec.schema import LINKED_MAX, NAME, SECTIONS, Experiment

RESERVED = ("client", "default")
_NO_DELAY = Law("constant", (0,))
MEASURE_NAME = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.]*)")


Units = Mapping[str, str]
Measures = Units | Callable[[str], Units] | None
Checkers = Collection[str] | Callable[[str], Collection[str]] | None


def problems(experiment: Experiment, measures: Measures = None, checkers: Checkers = None) -> list[Problem]:
    """Return the first contradictions found (at most 100 a check), in no particular order.

    `measures` maps each measure that claims and objectives may name to its unit; None checks their form alone.
    `checkers` are the names that `measure.allow` may hold; None accepts all. Both may be functions of the protocol.
    """
    if callable(checkers):
        checkers = checkers(experiment.system.protocol)
    found = [problem for check in CHECKS for problem in islice(check(experiment), ERRORS_SHOWN)]
    found += islice(_judgements(experiment, measures), ERRORS_SHOWN)
    known = list(experiment.measure.allow if checkers is None else checkers)
    for index, name in enumerate(experiment.measure.allow):
        if name not in known:
            hint = nearest(name, known) or "checkers: " + ", ".join(known)
            found.append((("measure", "allow", index), f"{shown(name)} is not a checker; {hint}"))
    return found


def _names(experiment: Experiment) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, name in enumerate(experiment.system.names):
        path: Path = ("system", "replicas", index, "name")
        if name in RESERVED:
            yield path, f"the name {name} is taken by the lab; choose another"
        if name in seen:
            yield path, f"replica {seen[name] + 1} is already called {name}; choose another name"
        seen.setdefault(name, index)


def _links(experiment: Experiment) -> Iterator[Problem]:
    names = experiment.system.names
    if not experiment.network.links:
        return
    if len(names) > LINKED_MAX:
        for link in experiment.network.links:
            if link != "default":
                yield ("network", "links", link), f"{_shared(names)}; write default alone"
        return
    known = ["default", *(f"{source}{LINK_ARROW}{target}" for source, target in _pairs(experiment))]
    for link in experiment.network.links:
        if link in known:
            continue
        sentence = link_problem(link, experiment.link_names)
        if not sentence:
            sentence = (
                f"{_silent(experiment)} {shown(link)} does nothing; {nearest(link, known) or f'write {known[-1]}'}"
            )
        if LINK_ARROW not in link:
            sentence = f"{shown(link)} is neither default nor a link; {nearest(link, known) or f'write {known[-1]}'}"
        yield ("network", "links", link), sentence


def _pairs(experiment: Experiment) -> list[tuple[str, str]]:
    """Return the directed links over which the protocol sends messages that the network can disturb."""
    settings, pairs = experiment.system.settings, permutations(experiment.link_names, 2)
    return [pair for pair in pairs if CLIENT in pair or settings.has_links]


def _silent(experiment: Experiment) -> str:
    return f"replicas of the protocol {experiment.system.protocol} send each other nothing, so"


def _shared(names: Collection[str]) -> str:
    return f"with {len(names)} replicas (more than {LINKED_MAX}) all links are alike"


def _faults(experiment: Experiment) -> Iterator[Problem]:
    names = experiment.system.names
    protocol = experiment.system.protocol
    switches = PROTOCOLS[protocol][0].settings
    for index, fault in enumerate(experiment.faults):
        base: Path = ("faults", index, fault.kind)
        for setting in fault.settings():
            if setting.value not in switches.get(setting.name, ()):
                yield base, f"the protocol {protocol} has no {setting.name} to switch; remove the fault"
        is_alike = type(fault).link_effect is Fault.link_effect or getattr(fault, "links", "") == "all"
        if len(names) > LINKED_MAX and not is_alike:
            yield base, f"{_shared(names)}; name no links, or have fewer replicas"
        own = fault.problems(experiment.link_names if fault.acts_on_links else names)
        for place, sentence in own:
            steps = (int(step) if step.isdecimal() else step for step in place.split("."))
            yield (*base, *steps), sentence
        if isinstance(fault, Partition) and not own:
            effects = (fault.link_effect(source, target) for source, target in permutations(experiment.link_names, 2))
            if not any(effect is not None for effect in effects):
                yield (*base, "groups"), "no link is cut: is that meant? Write at least two groups that hold replicas"


def _times(experiment: Experiment) -> Iterator[Problem]:
    end_ns = experiment.workload.duration
    last_ns = end_ns + experiment.drain
    for index, fault in enumerate(experiment.faults):
        path: Path = ("faults", index, fault.kind, "at")
        if fault.start_ns >= end_ns:
            yield (
                path,
                (
                    f"the fault begins at {duration_text(fault.start_ns)}, but the workload ends at "
                    f"{duration_text(end_ns)}; let it begin earlier or lengthen workload.duration"
                ),
            )
        elif fault.stop_ns > last_ns:
            yield (
                (*path[:-1], "for"),
                (
                    f"the fault heals at {duration_text(fault.stop_ns)}, after workload and drain have ended at "
                    f"{duration_text(last_ns)}; shorten it, or lengthen workload.duration or drain"
                ),
            )


def _outages(experiment: Experiment) -> Iterator[Problem]:
    by_node: dict[str, list[tuple[int, int, int]]] = {}
    for index, fault in enumerate(experiment.faults):
        for outage in fault.outages():
            by_node.setdefault(outage.node, []).append((outage.start_ns, outage.stop_ns, index))
    for node, outages in by_node.items():
        outages.sort()
        open_until_ns, holder = -1, -1
        for start_ns, stop_ns, index in outages:
            if start_ns < open_until_ns:
                kind = experiment.faults[index].kind
                yield (
                    ("faults", index, kind, "at"),
                    (
                        f"{node} is already down then, until {duration_text(open_until_ns)}, by faults[{holder}]; "
                        "let one begin after the other has healed"
                    ),
                )
            if stop_ns > open_until_ns:
                open_until_ns, holder = stop_ns, index


def _laws(experiment: Experiment) -> Iterator[Problem]:
    """Find faults with which more delay laws add up on a link than a row has columns (`lab.model.link.compose`)."""
    names = experiment.system.names
    reported: set[int] = set()
    pairs = permutations(experiment.link_names, 2) if len(names) <= LINKED_MAX else [names[:2]]  # then all are alike
    for source, target in pairs:
        base = int(experiment.network.link(source, target).delay != _NO_DELAY)
        base += int(experiment.network.base_law(source, target) not in (None, _NO_DELAY))
        spans = []
        for index, fault in enumerate(experiment.faults):
            effect = fault.link_effect(source, target)
            if effect is not None and effect.delay is not None and effect.delay != _NO_DELAY:
                spans.append((fault.start_ns, fault.stop_ns, index))
        if base + len(spans) <= fate.TABLE_COUNT:
            continue
        spans.sort()
        active: list[int] = []
        for start_ns, stop_ns, index in spans:
            active = [*(stop for stop in active if stop > start_ns), stop_ns]
            if base + len(active) > fate.TABLE_COUNT and index not in reported:
                reported.add(index)
                yield (
                    ("faults", index, experiment.faults[index].kind),
                    (
                        f"with this fault {base + len(active)} delay laws add up on {source}{LINK_ARROW}{target} at "
                        f"{duration_text(start_ns)}; at most {fate.TABLE_COUNT} can: let fewer overlap"
                    ),
                )


def _system(experiment: Experiment) -> Iterator[Problem]:
    """Check that the section is the protocol's, that it does not contradict itself, and the number of replicas."""
    system = experiment.system
    for name in SECTIONS:
        if name != system.protocol and getattr(system, name) is not None:
            fix = f"remove it, or write protocol: {name}"
            yield ("system", name), f"the protocol is {system.protocol}, and these are settings of {name}; {fix}"
    if not system.settings.has_links and not system.settings.client_links and experiment.network.links:
        yield ("network", "links"), f"{_silent(experiment)} links do nothing; remove them"
    for index, fault in enumerate(experiment.faults):
        is_idle = not any(fault.link_effect(source, target) for source, target in _pairs(experiment))
        is_drawn = getattr(fault, "shape", None) is not None and not system.settings.has_links
        if fault.acts_on_links and not system.settings.has_links and (is_idle or is_drawn):
            fix = f"name links such as {CLIENT}{LINK_ARROW}{system.names[0]}, or remove the fault"
            yield ("faults", index, fault.kind), f"{_silent(experiment)} it meets no message; {fix}"
    for key, sentence in system.settings.problems(experiment):
        yield ("system", system.protocol, *key.split(".")), sentence
    most = system.settings.replicas_max
    if len(system.replicas) > most:
        count = len(system.replicas)
        yield ("system", "replicas"), f"{count} replicas are over the {most} that {system.protocol} can have"


def _written(section: Section, path: Path) -> Iterator[Path]:
    """Yield the paths of the single values that the file sets at and below a section."""
    for name in section.model_fields_set:
        value = getattr(section, name)
        place = (*path, type(section).model_fields[name].alias or name)
        if isinstance(value, Section):
            yield from _written(value, place)
        else:
            yield place


def _unused(experiment: Experiment) -> Iterator[Problem]:
    """Find what is set, but not read by the protocol: nothing is ignored in silence."""
    protocol = experiment.system.protocol
    own = ("system.protocol", "system.replicas", "workload.duration", *(f"system.{name}" for name in SECTIONS))
    written = [
        *_written(experiment.system, ("system",)),
        *_written(experiment.workload, ("workload",)),
        *(_written(experiment.policy, ("policy",)) if "policy" in experiment.model_fields_set else ()),
    ]
    has_section = protocol in SECTIONS
    for path in sorted(written, key=str):
        text = ".".join(map(str, path))
        if any(text == kept or text.startswith(f"{kept}.") for kept in own):
            continue
        if not experiment.system.settings.accepts(text):
            where = f"; its own settings are in system.{protocol}" if has_section else ""
            yield path, f"the protocol {protocol} does not use {text}; remove it{where}"


def _workload(experiment: Experiment) -> Iterator[Problem]:
    workload = experiment.workload
    if experiment.system.settings.has_client and workload.arrivals == NO_ARRIVALS:
        yield ("workload", "arrivals"), "the key arrivals is missing; add for example `arrivals: poisson(200/s)`"
    for index, spike in enumerate(workload.spikes):
        path: Path = ("workload", "spikes", index)
        end = f"the workload ends at {duration_text(workload.duration)}"
        if spike.at >= workload.duration:
            yield (*path, "at"), f"the spike begins at {duration_text(spike.at)}, but {end}; let it begin earlier"
        elif spike.at + spike.for_ > workload.duration:
            yield (*path, "for"), f"the spike ends at {duration_text(spike.at + spike.for_)}, but {end}; shorten it"
    mean = workload.expected_operations()
    # A Poisson count stays below its mean plus six standard deviations in all but one of a thousand million runs.
    most = mean + 6 * sqrt(mean) if workload.arrivals.shape == "poisson" else mean
    if most > OPERATIONS_MAX:
        yield (
            ("workload", "arrivals"),
            (
                f"about {mean:,} operations are expected, and a run may hold {OPERATIONS_MAX:,} (with room "
                "for chance); lower the rate or shorten workload.duration"
            ),
        )


def _policy(experiment: Experiment) -> Iterator[Problem]:
    for place, sentence in experiment.policy.retry.problems():
        yield ("policy", "retry", *place.split(".")), f"{sentence}; raise the one or lower the other"


def _variants(experiment: Experiment) -> Iterator[Problem]:
    for name in experiment.variants:
        if not NAME.fullmatch(name):
            yield (
                ("variants", name),
                (f"{shown(name)} is not a name: lower-case letters, digits, '.', '_' and '-', at most 63"),
            )


def _elsewhere(text: str, measures: Measures, protocol: str) -> str:
    """Return a sentence if a claim or objective names a measure that other protocols have, but not this one."""
    found = MEASURE_NAME.match(text.rpartition(":")[2])
    if found is None or not callable(measures) or found.group(1) in measures(protocol):
        return ""
    name = found.group(1)
    owners = [other for other in PROTOCOLS if name in measures(other)]
    some = ", ".join(sorted(set(measures(protocol)) - set(measures(owners[0])))[:4]) if owners else ""
    if not owners:
        return ""
    hint = f"of {protocol} there are for example {some}" if some else "choose another (lab list)"
    return f"{name} is a measure of {' and '.join(owners)}, and the protocol here is {protocol}; {hint}"


def _judgements(experiment: Experiment, measures_of: Measures) -> Iterator[Problem]:
    """Check the texts of claims, conditions and objectives."""
    protocol = experiment.system.protocol
    measures = measures_of(protocol) if callable(measures_of) else measures_of
    for index, text in enumerate(experiment.measure.claims):
        try:
            parse_claim(split_variant(text, list(experiment.variants))[1], measures)
        except ValueError as error:
            yield ("measure", "claims", index), _elsewhere(text, measures_of, protocol) or str(error)
    for index, text in enumerate(experiment.measure.alarms):
        try:
            rule = parse_rule(text)
        except ValueError as error:
            yield ("measure", "alarms", index), str(error)
            continue
        if experiment.system.protocol != "changelog" and rule.alarm not in CLIENT_ALARMS:
            some = " and ".join(CLIENT_ALARMS)
            yield ("measure", "alarms", index), f"{rule.alarm} is about a changelog; other protocols have {some}"
    if experiment.tune is None:
        return
    for index, text in enumerate(experiment.tune.subject_to):
        try:
            parse_claim(text, measures)
        except ValueError as error:
            yield ("tune", "subject_to", index), _elsewhere(text, measures_of, protocol) or str(error)
    for index, name in enumerate(experiment.tune.minimise):
        try:
            check_measure(name, measures)
        except ValueError as error:
            yield ("tune", "minimise", index), _elsewhere(name, measures_of, protocol) or str(error)


CHECKS: tuple[Callable[[Experiment], Iterator[Problem]], ...] = (
    _system,
    _names,
    _links,
    _faults,
    _times,
    _outages,
    _laws,
    network_problems,
    inside_problems,
    _workload,
    _policy,
    _unused,
    _variants,
)
