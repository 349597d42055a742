"""A search that is stopped anywhere and goes on ends with the same recommendation as one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.run import RunSet
from lab.spec.schema import Experiment
from lab.tuning.journal import Journal, JournalError, journal_path
from lab.tuning.recommend import tune
from tests.lab.conftest import write
from tests.tuning.test_parts import experiment, run

PLAN = {
    "parameters": {"policy.timeout": "40ms..2s log", "policy.retry.jitter": ["none", "full"]},
    "minimise": ["convergence.mean", "amplification"], "subject_to": ["lost_acknowledged == 0"],
    "candidates": 12, "seeds": 8, "confirm_seeds": 12,
}  # fmt: skip


class Stop(Exception):
    """The search is stopped here."""


def search(path: Path, *, resume: bool, limit: int | None = None) -> tuple[dict[str, Any], int]:
    """Return (recommendation, runs made) of a search that stops after `limit` calls."""
    made = 0

    def counted(candidate: Experiment, seeds: Sequence[int]) -> RunSet:
        nonlocal made
        made += len(seeds)
        if limit is not None and made > limit:
            raise Stop
        return run(candidate, seeds)

    plan = experiment(minimise=["convergence.mean", "amplification"])
    with Journal(path, plan, 1, resume=resume) as journal:
        known = journal.run(counted)
        found = tune(plan, run, first_seed=1, progress=lambda *_: None, known=known)
    return found.as_json(), made


def test_it_goes_on_wherever_it_stopped(tmp_path: Path) -> None:
    whole, runs = search(tmp_path / "whole.jsonl", resume=False)
    plain = tune(
        experiment(minimise=["convergence.mean", "amplification"]), run, first_seed=1, progress=lambda *_: None
    )
    assert whole == plain.as_json(), "keeping a journal changes nothing"
    for limit in (1, runs // 3, runs // 2, runs - 5):
        path = tmp_path / f"{limit}.jsonl"
        with pytest.raises(Stop):
            search(path, resume=False, limit=limit)
        again, made = search(path, resume=True)
        assert again == whole
        assert made < runs or limit == 1
    assert search(path, resume=True) == (whole, 0), "everything is known"


def test_a_line_cut_off_is_run_again(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl"
    whole, _ = search(path, resume=False)
    for keep in (10, 200, 5_000):
        path.write_bytes(path.read_bytes()[:-keep])
        assert search(path, resume=True)[0] == whole


def test_another_search_is_refused_and_starting_anew_is_not(tmp_path: Path) -> None:
    path = journal_path(tmp_path, 1)
    search(path, resume=False)
    with pytest.raises(JournalError, match="another search"):
        Journal(path, experiment(seeds=13), 1, resume=True)
    with Journal(path, experiment(seeds=13), 1, resume=False) as fresh:
        assert not fresh.known


def lab(folder: Path, file: Path, *more: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lab.cli", "tune", str(file), "--results", str(folder), "--json", "--quiet", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def recommendation(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert process.returncode in (0, 1, 3), err
    found: dict[str, Any] = json.loads(out)["recommendation"]
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("whole")
    return recommendation(lab(folder, write(folder / "small.yaml", tune=PLAN)))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_command_goes_on_with_resume(tmp_path: Path, how: signal.Signals, whole: dict[str, Any]) -> None:
    file = write(tmp_path / "small.yaml", tune=PLAN)
    stopped = lab(tmp_path / "killed", file)
    journal = journal_path(tmp_path / "killed" / "small", 1)
    limit = time.monotonic() + 60
    while not (journal.is_file() and journal.stat().st_size > 20_000):
        assert time.monotonic() < limit and stopped.poll() is None
        time.sleep(0.005)
    os.kill(stopped.pid, how)
    _, err = stopped.communicate(timeout=60)
    if how == signal.SIGINT:
        assert stopped.returncode == 130
        assert "--resume" in err and "are kept" in err
    assert journal.is_file()
    assert recommendation(lab(tmp_path / "killed", file, "--resume")) == whole
    assert not journal.exists(), "the search is over"
