"""The command line as its user meets it: documents, exit codes, sentences. Every verb runs in its own process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import SMALL, write

LAB = [sys.executable, "-m", "lab.cli"]


def lab(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAB, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False, cwd=cwd,
        env=os.environ | environment,
    )  # fmt: skip


def run_json(file: Path, *arguments: object) -> dict[str, Any]:
    done = lab("run", file, "--json", "--results", file.parent / "results", *arguments)
    assert done.returncode in (0, 1, 3), done.stderr
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def test_run_prints_one_document_and_repeats_to_the_byte(small: Path) -> None:
    first = run_json(small)
    second = run_json(small, "--workers", 1)
    other = run_json(small, "--first-seed", 100)
    assert set(first) == {"schema", "verdict", "plane", "executor", "seeds", "digest", "measures", "claims", "results"}
    assert first["verdict"] == "pass"
    assert json.dumps(first["measures"]) == json.dumps(second["measures"])
    assert first["digest"] == second["digest"]
    assert first["digest"] != other["digest"]
    assert json.dumps(first["measures"]) != json.dumps(other["measures"])
    for measure in first["measures"].values():
        assert {"value", "low", "high", "n", "unit", "censored"} <= set(measure)


def test_both_executors_give_the_same_digest_and_measures(small: Path) -> None:
    compiled = run_json(small, "--executor", "compiled")
    reference = run_json(small, "--executor", "reference")
    assert (compiled["executor"], reference["executor"]) == ("compiled", "reference")
    assert compiled["digest"] == reference["digest"]
    assert compiled["measures"] == reference["measures"]


def test_results_do_not_depend_on_hash_seed_or_processes(small: Path) -> None:
    results = small.parent / "r"
    digests = {
        json.loads(lab("run", small, "--json", "--results", results, "--seeds", 4, PYTHONHASHSEED=value).stdout)[
            "digest"
        ]
        for value in ("0", "1", "77")
    }
    assert len(digests) == 1
    hashes = {lab_hash(value) for value in ("0", "1")}
    assert len(hashes) == 2, "the hash seeds really differ"


def lab_hash(value: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", "print(hash('x'))"], env={**os.environ, "PYTHONHASHSEED": value}, capture_output=True,
        text=True, check=True,
    ).stdout  # fmt: skip


def test_a_violated_claim_exits_1_with_the_seed_and_a_replay_that_shows_it(tmp_path: Path) -> None:
    file = write(tmp_path / "late.yaml", measure={"claims": ["convergence.p50 < 1ms"]})
    done = lab("run", file, "--results", tmp_path / "results", "--quiet")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "A claim was violated." in done.stdout
    document = run_json(file)
    (claim,) = [claim for claim in document["claims"] if not claim["holds"]]
    command = claim["replay"].split()
    assert command[:2] == ["lab", "replay"]
    assert f"--seed {claim['seed']}" in claim["replay"]
    replayed = lab(*command[1:], "--json")
    values = json.loads(replayed.stdout)["values"]
    assert values["convergence"]["value"] > 1e6
    assert claim["replay"] in done.stdout.replace("\n", " ") or str(claim["seed"]) in done.stdout


def test_a_run_that_does_not_converge_is_censored_and_fails(tmp_path: Path) -> None:
    policy = SMALL["policy"] | {"reconcile_every": "0s", "retry": {"attempts": 1}}
    file = write(tmp_path / "never.yaml", policy=policy, measure={"claims": ["convergence.p95 < 3s"]})
    document = run_json(file)
    assert document["verdict"] == "fail"
    measure = document["measures"]["convergence.p95"]
    assert measure["value"] is None
    assert measure["censored"] == 6
    allowed = write(tmp_path / "allowed.yaml", policy=policy, measure={"allow": ["convergence", "digests"]})
    assert run_json(allowed)["verdict"] == "pass"


def test_a_fault_that_never_bites_is_inconclusive(tmp_path: Path) -> None:
    harmless = [{"drop": {"at": "100ms", "for": "300ms", "share": "0.0001%", "links": ["f2->leader"]}}]
    file = write(tmp_path / "harmless.yaml", faults=harmless, measure={"claims": ["lost_acknowledged == 0"]})
    done = lab("run", file, "--results", tmp_path / "results", "--seeds", 2, "--quiet")
    assert done.returncode == 3, done.stdout + done.stderr


def test_a_bad_file_exits_2_with_places_and_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "title: bad\nsystem: { replicas: [{ name: leader }, { name: f1 }] }\n"
        "workload: { arrivals: poisson(5/s), duration: 5 }\nfaults:\n  - delay: { at: 1s, for: 1s, latncy: 5ms }\n"
    )
    done = lab("run", file, "--results", tmp_path / "results")
    assert done.returncode == 2
    assert f"{file}:3:47:" in done.stderr
    assert f"{file}:5:31:" in done.stderr
    assert "5ms or 5s" in done.stderr
    assert not (tmp_path / "results").exists()
    validated = lab("validate", file, "--json")
    assert validated.returncode == 2
    errors = json.loads(validated.stdout)["files"][0]["errors"]
    assert {(error["line"], error["column"]) for error in errors} >= {(3, 47), (5, 31)}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "absent.yaml"], "absent.yaml"),
        (["rum"], "No such command"),
        (["run", "{small}", "--plane", "moon"], "moon"),
        (["tune", "{small}"], "no `tune` section"),
        (["report", "nowhere"], "no results at"),
        (["replay", "{small}", "--seed", "1", "--node", "f9"], "'f9' is not a node"),
        (["replay", "{small}", "--seed", "1", "--from", "5"], "write 5ms or 5s"),
        (["replay", "{small}", "--seed", "1", "--variant", "x"], "'x' is not a variant"),
    ],
)
def test_wrong_usage_exits_2_with_a_sentence(small: Path, arguments: list[str], sentence: str) -> None:
    done = lab(*[argument.replace("{small}", str(small)) for argument in arguments], cwd=small.parent)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_damaged_results_exit_5(small: Path) -> None:
    folder = Path(run_json(small, "--seeds", 2)["results"])
    assert lab("report", folder, "--json").returncode == 0
    (folder / "runs.parquet").write_bytes(b"torn")
    assert lab("report", folder).returncode == 5


def test_tune_recommends_a_gain_where_there_is_one_and_none_on_a_flat_objective(tmp_path: Path) -> None:
    gain = {
        "parameters": {"policy.retry.cap": "100ms..2s log", "policy.timeout": "60ms..1s log"},
        "minimise": ["convergence.p90"], "candidates": 8, "seeds": 8, "confirm_seeds": 16,
    }  # fmt: skip
    slow = SMALL["policy"] | {"timeout": "900ms", "reconcile_every": "0s", "retry": {"base": "800ms", "cap": "2s"}}
    steep = write(tmp_path / "steep.yaml", policy=slow, tune=gain)
    done = lab("tune", steep, "--json", "--results", tmp_path / "results", "--quiet")
    found = json.loads(done.stdout)["recommendation"]
    assert found["status"] == "gain"
    assert found["gain"]["low"] > 0
    assert found["current"] != found["proposed"]
    flat_space = gain | {"parameters": {"policy.bound": "1..60"}, "minimise": ["convergence.p90", "amplification"]}
    flat = write(tmp_path / "flat.yaml", tune=flat_space)
    refused = json.loads(lab("tune", flat, "--json", "--results", tmp_path / "results", "--quiet").stdout)
    assert refused["recommendation"]["status"] == "no_gain", "bound has no effect in quorum mode"


def test_plan_starts_nothing(small: Path) -> None:
    before = sorted(path.name for path in small.parent.iterdir())
    document = json.loads(lab("plan", small, "--json", cwd=small.parent).stdout)
    assert document["runs"] == 6
    assert document["faults"][0]["at"] == "500ms"
    assert sorted(path.name for path in small.parent.iterdir()) == before


def test_list_and_schema_come_from_the_tables() -> None:
    from lab.faults import FAULTS

    assert set(json.loads(lab("list", "--json").stdout)["faults"]) == set(FAULTS)
    schema = json.loads(lab("schema").stdout)
    assert "system" in schema["properties"]


def test_help_and_validate_import_nothing_heavy(small: Path) -> None:
    for arguments in (["--help"], ["validate", str(small)]):
        code = (
            "import sys, lab.cli\n"
            f"sys.argv = ['lab', *{arguments!r}]\n"
            "try: lab.cli.main()\nexcept SystemExit: pass\n"
            "heavy = {'pandas', 'scipy', 'matplotlib', 'docker', 'simpy', 'numba'} & set(sys.modules)\n"
            "assert not heavy, heavy"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


def test_a_terminated_run_exits_143_and_leaves_no_half_results(tmp_path: Path) -> None:
    file = write(tmp_path / "long.yaml", seeds=100_000)
    process = subprocess.Popen(
        [*LAB, "run", str(file), "--results", str(tmp_path / "results"), "--quiet"], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "results").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert not list((tmp_path / "results").rglob("manifest.json"))


def test_the_simulator_opens_no_socket(small: Path) -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise AssertionError('a socket was opened')\n"
        "socket.socket.connect = refuse; socket.socket.bind = refuse\n"
        "import lab.cli\n"
        f"sys.argv = ['lab', 'run', {str(small)!r}, '--seeds', '2', '--workers', '1', '--quiet', '--results',"
        f" {str(small.parent / 'quiet')!r}]\n"
        "lab.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
