"""A sweep is columns, yet says what the runs say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from lab.spec.schema import Experiment
from lab.sweep import SweepError, blocks, drawn_points, points
from tests.lab.conftest import SMALL, write
from tests.lab.test_cli import LAB, lab, run_json


def test_a_sweep_has_the_values_of_runs(small: Path) -> None:
    done = lab(
        "sweep", small, "--seeds", 6, "--vary", "policy.timeout=150ms,400ms", "--json", "--quiet", "--results",
        small.parent / "results",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    table = pd.read_parquet(Path(document["results"]) / "sweep.parquet")
    assert len(table) == document["runs"] == 12
    runs = pd.read_parquet(Path(run_json(small)["results"]) / "runs.parquet")
    same = table[table["policy.timeout"] == "150ms"].reset_index(drop=True)
    other = table[table["policy.timeout"] == "400ms"].reset_index(drop=True)
    for name in ("convergence", "amplification", "availability", "visibility_lag_p99", "divergence_max", "retries"):
        pd.testing.assert_series_equal(same[name], runs[name], check_dtype=False)
    assert (same["trace_hash"].map(lambda value: f"{value:016x}") == runs["trace_hash"]).all()
    assert not (same["retries"] == other["retries"]).all()


def test_a_run_that_columns_cannot_measure_is_measured_from_its_history(tmp_path: Path) -> None:
    faults = [{"crash": {"at": "500ms", "for": "500ms", "node": "f2", "keep": "nothing"}}]
    file = write(tmp_path / "wiped.yaml", faults=faults)
    document = json.loads(lab("sweep", file, "--json", "--quiet", "--results", tmp_path / "results").stdout)
    table = pd.read_parquet(Path(document["results"]) / "sweep.parquet")
    runs = pd.read_parquet(Path(run_json(file)["results"]) / "runs.parquet")
    pd.testing.assert_series_equal(table["convergence"], runs["convergence"], check_dtype=False)


def test_variations_are_checked_before_anything_runs() -> None:
    experiment = Experiment.model_validate(SMALL)
    assert [point.values for point in points(experiment, ["policy.bound=1,2", "system.mode=sync"])] == [
        {"policy.bound": "1", "system.mode": "sync"},
        {"policy.bound": "2", "system.mode": "sync"},
    ]
    for wrong in ("policy.timeout", "policy.timeout=5", "workload.keys=3", "policy.tmeout=5ms"):
        with pytest.raises(SweepError):
            points(experiment, [wrong])
    with pytest.raises(SweepError, match="twice"):
        points(experiment, ["policy.bound=1", "policy.bound=2"])


TUNE = {
    "parameters": {
        "policy.timeout": "40ms..2s log", "policy.retry.backoff": ["fixed", "exponential"],
        "policy.retry.cap": "100ms..5s log",
    },
    "when": {"policy.retry.cap": "policy.retry.backoff == exponential"},
    "constraints": ["policy.timeout <= policy.retry.cap"],
    "minimise": ["convergence.mean"],
}  # fmt: skip


def test_settings_are_drawn_evenly_and_meet_the_conditions() -> None:
    experiment = Experiment.model_validate(SMALL | {"tune": TUNE})
    drawn = drawn_points(experiment, 60, 1)
    assert drawn == drawn_points(experiment, 60, 1) != drawn_points(experiment, 60, 2)
    assert len({tuple(point.values.values()) for point in drawn}) == 60
    policies = [point.experiment.policy for point in drawn]
    assert all(policy.timeout <= policy.retry.cap for policy in policies)
    assert all(policy.retry.cap == 1_000_000_000 for policy in policies if policy.retry.backoff == "fixed")
    assert 20 <= sum(policy.retry.backoff == "fixed" for policy in policies) <= 40
    with pytest.raises(SweepError, match="has none"):
        drawn_points(Experiment.model_validate(SMALL), 5, 1)
    few = TUNE | {"parameters": {"policy.retry.backoff": ["fixed", "exponential"]}, "when": {}, "constraints": []}
    few["constraints"] = ["policy.retry.backoff != fixed"]
    with pytest.raises(SweepError, match="distinct"):
        drawn_points(Experiment.model_validate(SMALL | {"tune": few}), 5, 1)


@pytest.mark.parametrize(
    ("settings", "seeds"), [(7, range(1, 11)), (3, range(5, 1305)), (1, range(1, 2)), (1001, range(1, 3))]
)
def test_blocks_hold_every_run_once_and_in_order(settings: int, seeds: range) -> None:
    made = blocks(settings, seeds)
    runs = [(point, seed) for block in made for point in range(block.first, block.last) for seed in block.seeds]
    assert runs == [(point, seed) for point in range(settings) for seed in seeds]


def test_the_digest_depends_neither_on_threads_nor_on_who_asks(tmp_path: Path) -> None:
    file = write(tmp_path / "small.yaml", tune=TUNE)

    def digest(*options: object) -> str:
        done = lab("sweep", file, "--settings", 12, "--seeds", 60, "--json", "--quiet", "--results", tmp_path, *options)
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        assert (document["settings"], document["runs"]) == (12, 720)
        return str(document["digest"])

    first = digest("--threads", 1)
    assert first == digest("--threads", 2)
    assert first != digest("--first-seed", 2)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_sweep_goes_on_with_resume(tmp_path: Path, how: signal.Signals) -> None:
    file = write(tmp_path / "small.yaml")
    command = ["sweep", str(file), "--vary", "policy.timeout=100ms,200ms", "--seeds", "6000", "--json", "--quiet"]
    whole = lab(*command, "--results", tmp_path / "whole")
    results = ["--results", str(tmp_path / "killed")]
    slowly = [*LAB, *command, *results, "--threads", "1"]
    stopped = subprocess.Popen(slowly, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "killed").glob("*/.sweep-*/*.parquet"))) < 2:
        assert time.monotonic() < deadline and stopped.poll() is None
        time.sleep(0.002)
    os.kill(stopped.pid, how)
    _, err = stopped.communicate(timeout=60)
    if how == signal.SIGINT:
        assert stopped.returncode == 130
        assert "--resume" in err and "are kept" in err
    torn = sorted((tmp_path / "killed").glob("*/.sweep-*/*.parquet"))[0]
    torn.write_bytes(torn.read_bytes()[:-100])
    again = lab(*command, *results, "--resume")
    assert again.returncode == 0, again.stderr
    first, second = json.loads(whole.stdout), json.loads(again.stdout)
    assert second["digest"] == first["digest"]
    assert second["points"] == first["points"]
    assert 0 < second["resumed_runs"] < second["runs"], "some were known, the torn block was run again"
    assert first["resumed_runs"] == 0
    assert not list((tmp_path / "killed").glob("*/.sweep-*")), "the sweep is over"
