"""Calibration on a stack whose links are known: it finds them, the table accepts them, and rejects others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.calibration.calibrate import CalibrationError, Effort, calibrate
from lab.calibration.legs import retry_lateness
from lab.calibration.model import NetworkModel, read, thinned, write
from lab.calibration.render import page
from lab.calibration.worlds import KINDS, Base, cases, leg_probes, retry_probe
from lab.history import History
from lab.run import simulate
from lab.spec.load import load_experiment
from lab.spec.schema import Experiment
from tests.calibration.fakes import TRUTH, FakeStack

SHORT = Effort(probe_s=3, probes=1, runs=2, episodes=4, simulated=4)
LONG = Effort(probe_s=3, probes=1, runs=3, episodes=12, simulated=9)


def run_many(experiment: Experiment, seeds: Sequence[int]) -> Iterator[History]:
    for seed in seeds:
        yield simulate(experiment, seed)


def calibrated(stack: FakeStack, *kinds: str, effort: Effort = SHORT) -> tuple[NetworkModel, dict[str, Any]]:
    return calibrate(
        Base(arrivals="poisson(100/s)"), stack, effort, first_seed=1, kinds=kinds, command="lab calibrate",
        folder="data/calibration", progress=lambda *_: None, simulate=run_many,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found() -> tuple[NetworkModel, dict[str, Any]]:
    return calibrated(FakeStack(), "partition", effort=LONG)


def test_it_finds_what_the_links_take(found: tuple[NetworkModel, dict[str, Any]]) -> None:
    model, document = found
    legs = document["legs"]
    assert legs["request"]["p50_ns"] == 500_000 and legs["back"]["p50_ns"] == 300_000 and legs["answer"]["p99_ns"] == 0
    assert 1_400_000 < legs["forward"]["p50_ns"] < 1_600_000
    assert min(model.samples["forward"]) >= 1_000_000 and max(model.samples["forward"]) <= 2_000_000
    assert document["retry_late"]["n"] > 50 and abs(document["retry_late"]["p50_ns"]) < 500_000
    assert document["switch_late"] == {"n": 16, "p50_ns": 0, "p95_ns": 0, "p99_ns": 0}
    assert document["images"] == {"go": "sha256:1"} and document["followers"].keys() == {"f1", "f2"}
    json.dumps(document, allow_nan=False)


def test_what_was_measured_is_inside(found: tuple[NetworkModel, dict[str, Any]]) -> None:
    (row,) = found[1]["rows"]
    assert row["runs"] == 3 and row["convergence"]["n_containers"] == 36
    assert row["verdict"] == "inside", row


def test_another_network_than_the_measured_one_is_outside_and_shown() -> None:
    slower = TRUTH | {"forward": "uniform(low=13ms, high=14ms)"}
    _, document = calibrated(FakeStack(shifted=slower), "none")
    assert [row["verdict"] for row in document["rows"]] == ["outside"] * 4
    text = page(document)
    assert text.count("**outside**") == 4 and "4 outside." in text


def test_broken_runs_are_left_out_and_counted(found: tuple[NetworkModel, dict[str, Any]]) -> None:
    _, document = calibrated(FakeStack(broken=[3]), "partition")  # three probes come first
    (row,) = document["rows"]
    assert row["runs"] == 1 and row["invalid"] == ["seed 1: the proxy died"]
    assert "1 runs could not be judged" in page(document)
    with pytest.raises(CalibrationError, match="the proxy died"):
        calibrated(FakeStack(broken=range(100)))


def test_samples_on_disk_are_a_base_that_an_experiment_can_name(
    found: tuple[NetworkModel, dict[str, Any]], tmp_path: Path
) -> None:
    model, document = found
    write(model, tmp_path / "data" / "calibration", document)
    assert read(tmp_path / "data" / "calibration") == model
    side = json.loads((tmp_path / "data" / "calibration" / "base.json").read_text())
    assert side["command"] == "lab calibrate" and side["schema"] == "driftlab.base/1" and side["images"]
    text = (
        "title: x\nsystem: {replicas: [{name: leader}, {name: f1}]}\n"
        "network:\n  links: {default: {delay: 10ms}}\n  base: samples(data/calibration/base.csv)\n"
        "workload: {arrivals: poisson(100/s), duration: 1s}\n"
    )
    file = tmp_path / "x.yaml"
    file.write_text(text)
    experiment = load_experiment(file)
    assert experiment.network.base["default"].values_ns == model.samples["base"]


def test_every_case_can_be_run_and_has_its_episodes() -> None:
    base = Base()
    found = cases(base, 20)
    assert [case.kind for case in found] == ["none"] * 4 + list(KINDS[1:])
    counts = {"crash": 10, "drop": 20, "partition": 20}
    assert all(len(case.experiment.faults) == counts.get(case.kind, 160) for case in found[4:])
    assert all(len(case.moments_ns) == 200 for case in found[:4])
    from lab.containers.schedule import refusals

    probes = [probe.experiment for probe in leg_probes(base, 4_000_000_000)]
    for experiment in [*(case.experiment for case in found), *probes, retry_probe(base, 4_000_000_000)]:
        assert refusals(experiment, 1) == []


def test_the_lateness_of_timers_is_shared_among_repetitions() -> None:
    accepted = {0: 0, 1: 0, 2: 0, 3: 5}
    applied = {0: 21_000_000, 1: 21_000_000 + 151_000_000, 2: 21_000_000 + 304_000_000}
    late = retry_lateness(accepted, applied, 20_000_000, 1_000_000, 150_000_000)
    assert late.tolist() == [1_000_000, 2_000_000]  # the first came at once, the last never


def test_samples_are_thinned_to_order_statistics() -> None:
    kept = thinned(np.arange(50_000)[::-1])
    assert len(kept) == 4_000 and kept[0] == 0 and kept[-1] == 49_999 and list(kept) == sorted(kept)
    with pytest.raises(ValueError, match="1 samples are too few"):
        thinned(np.array([5]))


def test_service_times_are_read_from_the_histograms() -> None:
    from lab.calibration.observe import service_ns

    text = "# HELP x\ndriftlab_processing_seconds_sum 1.5\ndriftlab_processing_seconds_count 1000\n"
    labelled = 'driftlab_processing_seconds_sum{a="b"} 3\ndriftlab_processing_seconds_count{a="b"} 1000\n'
    empty = "driftlab_processing_seconds_sum 0\ndriftlab_processing_seconds_count 0\n"
    found = service_ns({"f1": text, "f2": labelled, "leader": empty, "gone": ""})
    assert found == {"f1": pytest.approx(1.5e6), "f2": pytest.approx(3e6)}
