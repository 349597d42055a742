"""A small experiment that runs in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

SMALL: dict[str, Any] = {
    "title": "A small experiment",
    "system": {"mode": "quorum", "replicas": [{"name": "leader"}, {"name": "f1"}, {"name": "f2", "runtime": "rust"}]},
    "network": {"links": {"default": {"delay": "lognormal(median=20ms, p99=60ms)", "loss": "2%"}}},
    "workload": {"arrivals": "poisson(40/s)", "duration": "2s", "keys": 20},
    "policy": {"timeout": "150ms", "retry": {"base": "50ms", "cap": "1s"}, "reconcile_every": "500ms"},
    "faults": [{"partition": {"at": "500ms", "for": "700ms", "groups": [["leader", "f1"], ["f2"]]}}],
    "drain": "3s",
    "measure": {"claims": ["lost_acknowledged == 0", "convergence.p95 < 3s"]},
    "seeds": 6,
}


def write(path: Path, **changes: Any) -> Path:
    """Write SMALL with changes as an experiment file."""
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(SMALL | changes, file)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(tmp_path / "small.yaml")
