"""Generated modules of these tests are kept in one folder for the session, away from the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = Path(os.environ.get("DRIFTLAB_CACHE") or tmp_path_factory.mktemp("cache"))
    before = os.environ.get("DRIFTLAB_CACHE")
    os.environ["DRIFTLAB_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["DRIFTLAB_CACHE"]
