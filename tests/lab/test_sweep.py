"""A sweep is columns, yet says what the runs say."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from lab.spec.schema import Experiment
from lab.sweep import SweepError, points
from tests.lab.conftest import SMALL, write
from tests.lab.test_cli import lab, run_json


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
