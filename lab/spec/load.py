"""Reading experiment files: the experiment, or every error at once, each with its place.

A file is untrusted: it runs no code, names no address, reads no file outside its folder, and is answered within bounded
time and memory. Light to import: no numerical or container library.
"""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from lab.core.laws import FILES, parse_law
from lab.faults import FAULTS
from lab.protocols import PROTOCOLS, settings_of
from lab.spec.checks import Checkers, Measures, problems
from lab.spec.conditions import condition_problems
from lab.spec.document import fingerprint, json_schema, resolved
from lab.spec.errors import ERRORS_SHOWN, SpecError, SpecErrors, Step
from lab.spec.errors import Path as Place
from lab.spec.histograms import read_law
from lab.spec.nodes import Node, read_nodes, to_python
from lab.spec.scenarios import scenario_problems
from lab.spec.schema import Experiment
from lab.spec.sentences import sentence, text_or_list
from lab.spec.shape import keys_at
from lab.spec.source import Source, decode, read_bytes
from lab.spec.space import override, space_problems, variant_problems

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = [
    "SpecError",
    "SpecErrors",
    "fingerprint",
    "json_schema",
    "load_experiment",
    "load_text",
    "override",
    "resolved",
]

# Stand in for parts that have errors of their own, so that the rest can be checked; they contradict nothing.
_STAND_INS: dict[str, Any] = {
    "title": "-",
    "workload": {"arrivals": "constant(1/s)", "duration": "24h"},
    "drain": "24h",
}


def load_experiment(path: Path, measures: Measures = None, checkers: Checkers = None) -> Experiment:
    """Return the experiment in the file at `path`; raise SpecErrors with everything that is wrong with it.

    `measures` maps each measure that claims may name to its unit; None checks the form of claims alone. `checkers` are
    the names that `measure.allow` may hold; None accepts all. Both may be functions of the protocol.
    """
    return load_text(read_bytes(path), str(path), Path(path).parent, measures, checkers)


def load_text(
    text: bytes | str,
    name: str,
    folder: Path,
    measures: Measures = None,
    checkers: Checkers = None,
) -> Experiment:
    """Return the experiment that `text` describes. `name` stands in errors; sample files are looked up in `folder`."""
    source = decode(text, name)
    root, errors = read_nodes(source)
    if not isinstance(root.value, dict):
        what = "a list" if isinstance(root.value, list) else "a single value"
        message = f"the file holds {what}; an experiment is a mapping with title, system and workload"
        raise SpecErrors([*errors, *([] if root.damaged else [source.error(root.start, (), message)])])
    loader = _Loader(source, root, folder, errors)
    return loader.load(measures, checkers)


class _Loader:
    """Turns the tree of one file into an experiment; gathers errors."""

    def __init__(self, source: Source, root: Node, folder: Path, errors: list[SpecError]) -> None:
        self.source, self.root, self.folder, self.errors = source, root, folder, errors
        self.read: dict[tuple[str, ...], dict[str, Any]] = {}

    def load(self, measures: Measures, checkers: Checkers) -> Experiment:
        """Return the experiment, or raise SpecErrors."""
        data = to_python(self.root)
        self._fill_samples(data)
        kept: list[int] | None = None
        try:
            experiment: Experiment | None = Experiment.model_validate(data)
        except ValidationError as error:
            details = error.errors(include_url=False)
            self._validation(details)
            experiment, kept = _salvage(data, {detail["loc"] for detail in details})
        if experiment is not None:
            found = problems(experiment, measures, checkers)
            checks = (space_problems, variant_problems, condition_problems, scenario_problems)
            found += islice(chain.from_iterable(check(experiment) for check in checks), ERRORS_SHOWN)
            for path, message in found:
                if kept is not None and path[0] == "faults":
                    path = ("faults", kept[int(path[1])], *path[2:])
                self._note(path, message)
        if self.errors or experiment is None:
            raise SpecErrors(self.errors)
        return experiment

    # -- measured samples

    def _fill_samples(self, data: dict[str, Any]) -> None:
        """Replace the texts of laws that name files by laws with what the files hold, those of scenarios too."""
        self._fill_part(data, ())
        tune = data.get("tune")
        scenarios = tune.get("scenarios") if isinstance(tune, dict) else None
        for name, scenario in scenarios.items() if isinstance(scenarios, dict) else ():
            if isinstance(scenario, dict):
                self._fill_part(scenario, ("tune", "scenarios", name))

    def _fill_part(self, data: dict[str, Any], path: Place) -> None:
        network = data.get("network")
        for section, key in (("links", "delay"), ("nodes", "service")):
            entries = network.get(section) if isinstance(network, dict) else None
            for name, entry in entries.items() if isinstance(entries, dict) else ():
                self._fill(entry, key, (*path, "network", section, name))
        base = network.get("base") if isinstance(network, dict) else None
        if isinstance(network, dict) and isinstance(base, str):
            self._fill(network, "base", (*path, "network"))
        for name in list(base) if isinstance(base, dict) else ():
            self._fill(base, name, (*path, "network", "base"))
        faults = data.get("faults")
        for index, fault in enumerate(faults) if isinstance(faults, list) else ():
            for kind, parameters in fault.items() if isinstance(fault, dict) else ():
                self._fill(parameters, "by", (*path, "faults", index, kind))

    def _fill(self, part: Any, key: str, path: Place) -> None:
        text = part.get(key) if isinstance(part, dict) else None
        if not isinstance(text, str) or not any(f"{shape}(" in text for shape in FILES):
            return
        try:
            law = parse_law(text)
        except ValueError:
            return  # validation says so
        for measured in law.files():
            if measured.file_key() not in self.read:
                self.read[measured.file_key()] = {}
                try:
                    self.read[measured.file_key()] = read_law(measured, self.folder)
                except ValueError as error:
                    self._note((*path, key), str(error))
        part[key] = law.filled(self.read)

    # -- errors of single values

    def _validation(self, details: list[ErrorDetails]) -> None:
        found: list[tuple[int, Place, bool, ErrorDetails]] = []
        for detail in details:
            offset, path, damaged, in_union = self._locate(detail["loc"], detail["type"])
            if not damaged:
                found.append((offset, path, in_union, detail))
        said: set[Place] = set()
        for offset, path, in_union, detail in sorted(found, key=lambda place: place[0]):
            message = detail["type"]
            # Only the first errors in the file are shown, and suggestions cost time: the others get no sentence.
            if len(said) < ERRORS_SHOWN:
                node = self._node(path) if in_union else None
                if node is None:
                    message = sentence(detail, path)
                elif not isinstance(node.value, list) and isinstance(path[-1], str):
                    message = text_or_list(to_python(node), path)
                elif isinstance(node.value, list) and detail["type"] == "string_type" and isinstance(path[-1], str):
                    continue  # the list is what is meant, and the other errors are about it
                else:
                    message = sentence(detail, path)
            if path not in said:
                said.add(path)
                self.errors.append(self.source.error(offset, path, message))

    def _locate(self, loc: Place, kind: str) -> tuple[int, Place, bool, bool]:
        """Return (offset, path, whether it is damaged, whether a union was crossed) of a validation error's place."""
        node, offset = self.root, self.root.start
        path: list[Step] = []
        damaged, in_union = node.damaged, False
        last = loc[-1:] if kind in ("missing", "extra_forbidden") else ()
        for step in self._with_kind(loc[: len(loc) - len(last)], kind):
            below = _step(node, step)
            if below is None:
                in_union = True  # pydantic names the member of the union here, which the file does not
                continue
            offset, node = below
            path.append(step)
            damaged = damaged or node.damaged
        if kind == "missing":
            return offset, (*path, *last), damaged, False
        if kind == "extra_forbidden":
            return node.entries[str(last[0])][0], (*path, *last), damaged, False
        unknown_kind = len(path) == 3 and path[0] == "faults" and path[2] not in FAULTS
        return (node.start if node.written and not unknown_kind else offset), tuple(path), damaged, in_union

    def _with_kind(self, loc: Place, kind: str) -> Place:
        """Put the fault's kind, which validation errors leave out, into their place."""
        start = 3 if loc[:2] == ("tune", "scenarios") else 0
        cut = start + 2
        fault = self._node(loc[:cut]) if len(loc) >= cut and loc[start] == "faults" else None
        if fault is None or len(fault.entries) != 1:
            return loc
        return (*loc[:cut], next(iter(fault.entries)), *loc[cut:])

    def _node(self, path: Place) -> Node | None:
        node = self.root
        for step in path:
            below = _step(node, step)
            if below is None:
                return None
            node = below[1]
        return node

    def _note(self, path: Place, message: str) -> None:
        """Record an error about the value at `path`, or about the nearest part above it that is written."""
        node, offset, damaged = self.root, self.root.start, False
        for step in path:
            below = _step(node, step)
            if below is None:
                break
            offset, node = below
            damaged = damaged or node.damaged
        else:
            # A mapping is named by its key (for a link, the key is what is wrong), any other value by itself.
            offset = node.start if not node.entries and node.written else offset
        if not damaged:
            self.errors.append(self.source.error(offset, path, message))


def _step(node: Node, step: Step) -> tuple[int, Node] | None:
    """Return (offset of the key or item, node) one step below, or None."""
    if isinstance(step, str):
        return node.entries.get(step)
    return (node.items[step].start, node.items[step]) if step < len(node.items) else None


def _salvage(data: dict[str, Any], places: set[Place]) -> tuple[Experiment | None, list[int] | None]:
    """Return an experiment of the parts without errors, and which faults of the file it kept (None: all).

    With it contradictions are found in the same pass as wrong values. None if even the system is not readable.
    """
    known = keys_at(())
    wrong = {place[0] for place in places}
    parts = {key: value for key, value in data.items() if key in known and key not in wrong}
    for key, value in _STAND_INS.items():
        if key in wrong:
            parts[key] = value
    system = data.get("system")
    protocol = system.get("protocol") if isinstance(system, dict) else None
    if "workload" in wrong and protocol in PROTOCOLS and not settings_of(protocol).has_client:
        parts["workload"] = {"duration": "24h"}
    variants = data.get("variants")
    if isinstance(variants, dict) and not wrong.isdisjoint({"variants", "policy", "workload"}):
        parts["variants"] = {name: {} for name in variants}  # claims may name them; their values are not judged
    kept: list[int] | None = None
    faults = data.get("faults")
    if "faults" in wrong and isinstance(faults, list) and ("faults",) not in places:
        broken = {place[1] for place in places if place[0] == "faults"}
        kept = [index for index in range(len(faults)) if index not in broken]
        parts["faults"] = [faults[index] for index in kept]
    try:
        return Experiment.model_validate(parts), kept
    except ValidationError:
        return None, None
