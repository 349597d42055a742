"""A small experiment of every protocol, as text and as a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.checkers import checker_names
from lab.engines import reference
from lab.engines.scenario import prepare
from lab.history import History
from lab.protocols import PROTOCOLS, settings_of
from lab.run import units_of
from lab.spec.load import SpecErrors, load_text
from lab.spec.schema import Experiment

LINKS = "network: { links: { default: { delay: 5ms } } }"
CLIENTS = "workload: { arrivals: poisson(40/s), duration: 3s, keys: 5 }"
ALONE = "workload: { duration: 3s }"
CALLS = "workload: { arrivals: poisson(40/s), duration: 3s, keys: 1000 }"


def text(protocol: str, section: str = "", *lines: str, replicas: str = "5", workload: str = "") -> str:
    """Return an experiment file; `section` is what stands in the protocol's section, `lines` follow."""
    own = f", {protocol}: {{ {section} }}" if section else ""
    settings = settings_of(protocol) if protocol in PROTOCOLS else settings_of("changelog")
    usual = (CLIENTS if settings.has_links else CALLS) if settings.has_client else ALONE
    head = ["title: small", f"system: {{ protocol: {protocol}, replicas: {replicas}{own} }}"]
    links = [LINKS] if settings.has_links and not any(line.startswith("network") for line in lines) else []
    return "\n".join([*head, *links, workload or usual, *lines])


def read(content: str) -> Experiment:
    """Return the experiment of a text, judged by the measures and checkers of its protocol."""
    return load_text(content + "\n", "spec.yaml", Path("."), units_of, checker_names)


def refusal(content: str) -> str:
    """Return what is said about a text that must not load."""
    try:
        read(content)
    except SpecErrors as errors:
        return errors.render()
    raise AssertionError("the text loads")


def history(content: str, seed: int = 1, protocol: Any = None) -> History:
    """Run one seed on the reference executor; with `protocol` in place of the file's."""
    scenario = prepare(read(content))
    return reference.run(replace(scenario, protocol=protocol) if protocol else scenario, seed)
