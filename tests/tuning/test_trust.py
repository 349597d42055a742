"""The last calibration beside an experiment: what it says with a recommendation, and when it refuses one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.spec.load import load_experiment
from lab.spec.schema import Experiment
from lab.tuning.apply import apply_settings
from lab.tuning.confirm import GAIN, NO_GAIN
from lab.tuning.contain import CONFIRMED, Contained
from lab.tuning.recommend import Recommendation
from lab.tuning.trust import ERROR_MAX, FILE, UNCALIBRATED, last_calibration, weigh
from tests.tuning.test_tuning import experiment, recommend

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def row(kind: str, difference: float, verdict: str = "inside") -> dict[str, Any]:
    return {"kind": kind, "verdict": verdict, "convergence": {"median_difference": difference}}


def stored(folder: Path, *rows: dict[str, Any], schema: str = "driftlab.calibration/1") -> Path:
    system = {"replicas": {"leader": "go", "f1": "rust"}, "wire": "framed", "arrivals": "poisson(200/s)"}
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": schema, "date": "2026-01-02", "system": system, "rows": list(rows)}))
    return folder


def crashing(tmp_path: Path) -> Experiment:
    file = tmp_path / "x.yaml"
    file.write_text(
        "title: x\nsystem: {replicas: 3}\nworkload: {arrivals: poisson(10/s), duration: 2s}\n"
        "faults:\n  - crash: {at: 1s, for: 300ms, node: r2}\n  - corrupt: {at: 1s, for: 300ms, share: 1%}\n"
    )
    return load_experiment(file)


def test_only_rows_of_the_experiments_faults_count(tmp_path: Path) -> None:
    rows = [row("none", 0.01), row("none", -0.02), row("crash", -0.08, "outside"), row("pause", 0.9, "outside")]
    trust = last_calibration(crashing(tmp_path), stored(tmp_path, *rows))
    assert (trust.error, trust.kind, trust.inside, trust.rows) == (-0.08, "crash", 2, 3)
    assert trust.uncovered == ("corrupt",)
    assert not trust.is_refused
    for part in ("2026-01-02", "go, rust", "-8.0% (crash)", "2 of 3 rows", "no row for corrupt"):
        assert part in trust.sentence, part
    assert last_calibration(crashing(tmp_path), stored(tmp_path, row("crash", 0.3))).is_refused


@pytest.mark.parametrize("damage", ["missing", "no JSON", "other schema", "no rows", "strange rows"])
def test_without_a_usable_table_nothing_is_known_and_nothing_refused(damage: str, tmp_path: Path) -> None:
    stored(
        tmp_path,
        row("none", 0.9),
        schema="driftlab.calibration/9" if damage == "other schema" else "driftlab.calibration/1",
    )
    if damage == "missing":
        (tmp_path / FILE).unlink()
    elif damage != "other schema":
        texts = {"no JSON": "{", "no rows": '{"schema": "driftlab.calibration/1"}'}
        (tmp_path / FILE).write_text(texts.get(damage, '{"schema": "driftlab.calibration/1", "rows": [5]}'))
    trust = last_calibration(crashing(tmp_path), tmp_path)
    assert trust.error is None and not trust.is_refused
    assert "is not known" in trust.sentence


def test_protocols_that_containers_do_not_run_are_not_calibrated(tmp_path: Path) -> None:
    raft = load_experiment(EXPERIMENTS / "election_timeouts.yaml")
    assert "protocol raft" in last_calibration(raft, stored(tmp_path, row("none", 0.9))).sentence


@pytest.fixture(scope="module")
def gain() -> Recommendation:
    found = recommend(experiment(), "valley")
    assert found.confirmation.status == GAIN
    return found


def test_a_gain_of_a_simulator_that_is_far_off_is_refused(gain: Recommendation, tmp_path: Path) -> None:
    near, far = (
        last_calibration(experiment(), stored(tmp_path, row("none", off))) for off in (0.02, -ERROR_MAX - 0.05)
    )
    stands, refused = weigh(gain, near), weigh(gain, far)
    assert stands.recommended is gain.proposed
    assert stands.as_json()["calibration"]["error"] == 0.02
    assert near.sentence in stands.as_json()["assumes"]
    assert refused.confirmation.status == UNCALIBRATED
    assert refused.recommended is gain.current
    assert "off by -30% (none)" in refused.as_json()["sentence"]
    target = tmp_path / "settings.json"
    assert "nothing" in apply_settings(refused, target).sentence.lower()
    assert not target.exists()


def test_containers_say_more_than_a_calibration(gain: Recommendation, tmp_path: Path) -> None:
    far = last_calibration(experiment(), stored(tmp_path, row("none", 0.5)))
    measured = gain.confirmation.gain
    asked = replace(gain, contained=Contained(CONFIRMED, "yes", measured, measured, [], [], 20, []))
    assert weigh(asked, far).confirmation.status == GAIN
    none = replace(gain, confirmation=replace(gain.confirmation, status=NO_GAIN))
    assert weigh(none, far).confirmation.status == NO_GAIN


def test_the_faults_of_scenarios_count_too(tmp_path: Path) -> None:
    file = tmp_path / "y.yaml"
    file.write_text(
        "title: y\nsystem: {replicas: 3}\nworkload: {arrivals: poisson(10/s), duration: 2s}\n"
        "tune:\n  parameters: {policy.timeout: 50ms..500ms}\n  minimise: [convergence.p90]\n"
        "  scenarios:\n    rough: {faults: [{crash: {at: 1s, for: 300ms, node: r2}}]}\n"
    )
    found = stored(tmp_path, row("none", 0.01), row("crash", 0.3))
    assert last_calibration(load_experiment(file), found).kind == "crash"
    assert last_calibration(experiment(), found).kind == "none", "an experiment without crashes"
