"""What tests of real replica processes share: the binaries, built when needed, and a workshop."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.containers.build import COMPONENTS, build
from tests.conformance.benches import Workshop

RUNTIMES = ("go", "rust")


@pytest.fixture(scope="session")
def binaries() -> dict[str, Path]:
    """The replica binaries. A missing compiler skips, except on CI, where it fails; a failing build always fails."""
    for name in RUNTIMES:
        if shutil.which(COMPONENTS[name].tool) is None:
            reason = f"{COMPONENTS[name].tool} is needed to build the {name} replica: {COMPONENTS[name].hint}"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
    return {name: build(COMPONENTS[name], print) for name in RUNTIMES}


@pytest.fixture
def workshop(binaries: dict[str, Path], tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(binaries, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    """Each of the runtimes."""
    return str(request.param)
