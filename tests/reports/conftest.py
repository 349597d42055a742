"""Results shared by the tests of reports: built once, read by all."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import store
from lab.reports.page import write_report
from tests.reports import build


def finished(root: Path, **options: object) -> store.Stored:
    """Build results with a report and a manifest, and read them back."""
    results = build.build(root, **options)  # type: ignore[arg-type]
    write_report(results.folder)
    results.finish({"suite": "cut-off"})
    return store.read(results.folder)


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> store.Stored:
    """Three variants, 20 seeds, censored runs in `no-retry`, and a recommendation."""
    return finished(tmp_path_factory.mktemp("three"), tune=build.tune_json())


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> store.Stored:
    """Texts that try to be markup, terminal control, mathematics and reversed text."""
    return finished(
        tmp_path_factory.mktemp("hostile"),
        variants=("base", "no-retry"),
        title=build.HOSTILE,
        question=build.HOSTILE,
        labels={0: build.HOSTILE, 1: 'style="; font-family: d="1.2345" id="x" url(#y) </text>'},
    )


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> store.Stored:
    """One variant, six runs, and a fault that never bit."""
    return finished(tmp_path_factory.mktemp("few"), variants=("base",), seeds=6, idle=1)
