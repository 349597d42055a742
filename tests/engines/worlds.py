"""Small scenarios for the tests of the executors."""

from __future__ import annotations

from typing import Any

from lab.engines.scenario import Scenario, prepare
from lab.spec.schema import Experiment

MS = 1_000_000


def experiment(**changes: Any) -> Experiment:
    """Return a changelog of three replicas with constant delays of 10 ms, changed as asked."""
    document: dict[str, Any] = {
        "title": "test",
        "system": {"mode": "quorum", "replicas": [{"name": "leader"}, {"name": "f1"}, {"name": "f2"}]},
        "network": {"links": {"default": {"delay": "10ms"}}},
        "workload": {"arrivals": "constant(10/s)", "duration": "1s", "keys": 5},
        "policy": {"timeout": "100ms", "reconcile_every": "300ms"},
        "drain": "2s",
    }
    return Experiment.model_validate({**document, **changes})


def scenario(**changes: Any) -> Scenario:
    """Return the scenario of such an experiment."""
    return prepare(experiment(**changes))
