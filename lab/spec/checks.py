"""What no single value shows: contradictions between the parts of an experiment.

Each check yields (path, sentence) with the path as written in the file, a fault's kind included.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice, permutations
from math import sqrt

from lab.core import fate
from lab.core.laws import Law
from lab.core.units import duration_text, shown
from lab.faults.base import LINK_ARROW, link_problem
from lab.faults.partition import Partition
from lab.model.workload import OPERATIONS_MAX
from lab.spec.claims import check_measure, parse_claim, split_variant
from lab.spec.errors import ERRORS_SHOWN, Path, Problem, nearest
from lab.spec.schema import NAME, Experiment

RESERVED = ("client", "default")
_NO_DELAY = Law("constant", (0,))


def problems(
    experiment: Experiment, measures: Mapping[str, str] | None = None, checkers: Collection[str] | None = None
) -> list[Problem]:
    """Return the first contradictions found (at most 100 a check), in no particular order.

    `measures` maps each measure that claims and objectives may name to its unit; None checks their form alone.
    `checkers` are the names that `measure.allow` may hold; None accepts all.
    """
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
    known = ["default", *(f"{source}{LINK_ARROW}{target}" for source, target in permutations(names, 2))]
    for link in experiment.network.links:
        if link in known:
            continue
        sentence = link_problem(link, names)
        if LINK_ARROW not in link:
            sentence = f"{shown(link)} is neither default nor a link; {nearest(link, known) or f'write {known[-1]}'}"
        yield ("network", "links", link), sentence


def _faults(experiment: Experiment) -> Iterator[Problem]:
    names = experiment.system.names
    for index, fault in enumerate(experiment.faults):
        base: Path = ("faults", index, fault.kind)
        own = fault.problems(names)
        for place, sentence in own:
            steps = (int(step) if step.isdecimal() else step for step in place.split("."))
            yield (*base, *steps), sentence
        if isinstance(fault, Partition) and not own:
            effects = (fault.link_effect(source, target) for source, target in permutations(names, 2))
            if not any(effect is not None and effect.cut for effect in effects):
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
    for source, target in permutations(names, 2):
        base = int(experiment.network.link(source, target).delay != _NO_DELAY)
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


def _workload(experiment: Experiment) -> Iterator[Problem]:
    workload = experiment.workload
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


def _judgements(experiment: Experiment, measures: Mapping[str, str] | None) -> Iterator[Problem]:
    """Check the texts of claims, conditions and objectives."""
    for index, text in enumerate(experiment.measure.claims):
        try:
            parse_claim(split_variant(text, list(experiment.variants))[1], measures)
        except ValueError as error:
            yield ("measure", "claims", index), str(error)
    if experiment.tune is None:
        return
    for index, text in enumerate(experiment.tune.subject_to):
        try:
            parse_claim(text, measures)
        except ValueError as error:
            yield ("tune", "subject_to", index), str(error)
    for index, name in enumerate(experiment.tune.minimise):
        try:
            check_measure(name, measures)
        except ValueError as error:
            yield ("tune", "minimise", index), str(error)


CHECKS: tuple[Callable[[Experiment], Iterator[Problem]], ...] = (
    _names,
    _links,
    _faults,
    _times,
    _outages,
    _laws,
    _workload,
    _policy,
    _variants,
)
