"""What tests of real replica processes share: the binaries, built when needed, and a workshop."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lab.containers.build import COMPONENTS, build
from tests.conformance.benches import Workshop

RUNTIMES = ("go", "rust")


class Binaries(Mapping[str, Path]):
    """The binaries by component, each built when it is first asked for."""

    def __init__(self) -> None:
        self._built: dict[str, Path] = {}

    def __getitem__(self, name: str) -> Path:
        if name not in self._built:
            component = COMPONENTS[name]
            if shutil.which(component.tool) is None:
                reason = f"{component.tool} is needed to build {component.image}: {component.hint}"
                (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
            self._built[name] = build(component, print)
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMPONENTS)

    def __len__(self) -> int:
        return len(COMPONENTS)


@pytest.fixture(scope="session")
def binaries() -> Mapping[str, Path]:
    """The replica binaries. A missing compiler skips, except on CI, where it fails; a failing build always fails."""
    return Binaries()


@pytest.fixture
def workshop(binaries: Mapping[str, Path], tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(binaries, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    """Each of the runtimes."""
    return str(request.param)
