"""Section 14 of the contract, the reconciler: what drifted is found and put right, what lags is left alone."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conformance.benches import Workshop, payload
from tests.conformance.replicas import MS, Replica
from tests.conformance.test_acceptance import write
from tests.conformance.test_cluster import IS_ACK, converged
from tests.conformance.wires import Connection

pytestmark = pytest.mark.replicas
ROOMY = {"limit": 5000}
CLOCK_WINS = ("--seeded-bug", "B4")


def drifting(
    workshop: Workshop, *runtimes: str, keys: int = 20, seeded: str = "f1"
) -> tuple[list[Replica], Connection]:
    """Return a group in which one follower keeps the older value of every key, because it goes by the clock."""
    group = workshop.group(*runtimes, mode="sync", queue=ROOMY, arguments={seeded: CLOCK_WINS})
    client = group[0].client()
    for number, offset_ns in enumerate((0, -1000 * MS)):
        group[0].post("/faults", {"clock_offset_ns": offset_ns})
        for key in range(keys):
            client.write(f"{number}-{key}", payload(key, key=f"key {key}"))
        client.mailbox.wait(IS_ACK, keys * (number + 1))
    assert digests(group)[seeded] != digests(group)["leader"]
    return group, client


def digests(group: Sequence[Replica]) -> dict[str, str]:
    return {replica.settings["name"]: replica.state()["digest"] for replica in group}


def agree(group: Sequence[Replica]) -> bool:
    return len(set(digests(group).values())) == 1


@pytest.mark.parametrize("runtimes", [("go", "rust", "go"), ("rust", "go", "rust")], ids="-".join)
def test_correct_replicas_under_load_have_no_drift(runtimes: tuple[str, ...], workshop: Workshop) -> None:
    group = workshop.group(*runtimes, mode="async", queue=ROOMY)
    # One follower is slow, so that there is lag to mistake for drift.
    group[2].post("/faults", {"service_ns": MS})
    reconciler = workshop.reconciler(group, every_ns=10 * MS, snapshot_every_ns=100 * MS)
    client, count = group[0].client(), 600
    for number in range(1, count + 1):
        client.write(f"t{number}", payload(number, key=f"k{number % 50}"))
        if number % 10 == 0:
            time.sleep(0.02)
    client.mailbox.wait(IS_ACK, count)
    converged(group, [payload(number, key=f"k{number % 50}") for number in range(1, count + 1)])
    reconciler.more(2, replica="f1")
    rounds = reconciler.lines()
    assert {(tuple(line["drift"]), line["corrected"], line["left"], line["unreachable"]) for line in rounds} == {
        ((), 0, 0, "")
    }
    assert sum(line["lag"] for line in rounds) > 0, "the comparison had something to be wrong about"
    assert sum(line["rows"] for line in rounds) > 0
    (last,) = reconciler.more(1, replica="f2")[-1:]
    assert (last["nodes"], last["rows"], last["lag"]) == (1, 0, 0)
    snapshots = reconciler.wait(lambda lines: len(lines) >= 2, "snapshot")
    assert {(line["valid"], line["reason"]) for line in snapshots} == {(True, "")}
    assert {replica.counters()["corrected"] for replica in group} == {0}
    assert json.loads(reconciler.get("/report"))["drift"] == dict.fromkeys(
        ("missing", "older", "newer", "different", "extra"), 0
    )
    assert reconciler.log() == ""


@pytest.mark.parametrize("runtimes", [("go", "rust", "go"), ("rust", "go", "rust")], ids="-".join)
def test_drift_is_found_and_put_right(runtimes: tuple[str, ...], workshop: Workshop) -> None:
    group, _ = drifting(workshop, *runtimes)
    reconciler = workshop.reconciler(group)
    first = reconciler.wait(lambda lines: lines, replica="f1")[0]
    assert set(first) == {*("t", "e", "replica", "nodes", "rows", "lag", "drift", "corrected", "left", "unreachable")}
    assert (first["corrected"], first["left"], first["lag"]) == (20, 0, 0)
    assert {bytes.fromhex(row["key"]).decode() for row in first["drift"]} == {f"key {key}" for key in range(20)}
    for row in first["drift"]:
        assert set(row) == {"key", "why", "leader_sequence", "replica_sequence"}
        assert row["why"] == "older"
        assert int(row["leader_sequence"]) == int(row["replica_sequence"]) + 20
    assert agree(group)
    assert group[1].counters()["corrected"] == len(group[1].events("corrected")) == 20
    (later,) = reconciler.more(1, replica="f1")
    assert (later["drift"], later["nodes"]) == ([], 1)
    assert {tuple(line["drift"]) for line in reconciler.lines(replica="f2")} == {()}
    report = json.loads(reconciler.get("/report"))
    assert (report["drift"]["older"], report["corrected"], len(report["last_drifts"])) == (20, 20, 20)
    metrics = reconciler.get("/metrics")
    assert 'driftlab_reconciler_drift_total{why="older"} 20' in metrics
    assert "driftlab_reconciler_corrected_total 20" in metrics
    told = json.loads(reconciler.get("/healthz"))
    assert (told["name"], told["role"], told["runtime"]) == ("reconciler", "reconciler", "go")


def test_a_killed_reconciler_harms_nothing_and_goes_on(runtime: str, workshop: Workshop) -> None:
    group, client = drifting(workshop, "go", runtime, keys=150)
    reconciler = workshop.reconciler(group, every_ns=20 * MS, repairs_per_s=20, snapshot_every_ns=10 * MS)
    reconciler.wait(lambda lines: len(lines) >= 2, replica="f1")
    reconciler.end(signal.SIGKILL)
    lines = reconciler.lines(replica="f1")
    assert lines[0]["corrected"] >= 20
    assert lines[0]["left"] > 0
    assert len(lines[0]["drift"]) == 100, "a line does not tell more"
    assert not agree(group)
    write(client, 5)
    client.mailbox.wait(IS_ACK, 305)
    assert group[1].state()["prefix"] == group[0].state()["prefix"] == 305
    reconciler.settings["repairs_per_s"] = 1000
    reconciler.launch()
    group[1].counted("corrected", 150)
    reconciler.wait(lambda lines: lines and lines[-1]["nodes"] == 1, replica="f1")
    assert agree(group)
    assert group[1].counters()["corrected"] == 150, "nothing was put right twice"


def test_a_follower_that_does_not_answer_is_skipped(runtime: str, workshop: Workshop) -> None:
    group, _ = drifting(workshop, "go", "go", runtime, seeded="f2")
    group[1].kill()
    reconciler = workshop.reconciler(group)
    group[2].until(lambda state: state["digest"] == group[0].state()["digest"])
    away = reconciler.wait(lambda lines: len(lines) >= 2, replica="f1")
    assert {(line["unreachable"], tuple(line["drift"])) for line in away} == {("f1", ())}
    assert {line["unreachable"] for line in reconciler.lines(replica="f2")} == {""}
    assert json.loads(reconciler.get("/report"))["unreachable"] >= 2
    group[1].start()
    reconciler.wait(lambda lines: lines[-1]["unreachable"] == "", replica="f1")
    group[0].kill()
    reconciler.wait(lambda lines: lines[-1]["unreachable"] == "leader", replica="f2")


def test_sigterm_does_not_wait_for_one_that_hangs(runtime: str, workshop: Workshop) -> None:
    group = workshop.group("go", runtime)
    reconciler = workshop.reconciler(group)
    reconciler.more(1)
    assert group[1].process is not None
    group[1].process.send_signal(signal.SIGSTOP)
    reconciler.wait(lambda lines: lines[-1]["unreachable"] == "f1")
    code, seconds = reconciler.end(signal.SIGTERM)
    assert (code, seconds < 2) == (0, True)
    group[1].process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("bug", [None, "B13"])
def test_snapshots_are_verified_before_they_are_kept(bug: str | None, runtime: str, workshop: Workshop) -> None:
    group = workshop.group(runtime, "go", mode="sync", arguments={"leader": ("--seeded-bug", bug) if bug else ()})
    client = group[0].client()
    write(client, 20)
    client.mailbox.wait(IS_ACK, 20)
    reconciler = workshop.reconciler(group, snapshot_every_ns=20 * MS)
    told = reconciler.wait(lambda lines: len(lines) >= 2, "snapshot")
    assert {line["prefix"] for line in told} == {20}
    assert {line["valid"] for line in told} == {bug is None}
    folder = Path(reconciler.settings["data_dir"])
    kept = list(folder.glob("snapshot-*.jsonl"))
    if bug is not None:
        assert "12 entries" in told[0]["reason"] and kept == []
        return
    (path,) = kept
    header, *entries = map(json.loads, path.read_text().splitlines())
    assert (path.name, header["prefix"], len(entries)) == ("snapshot-20.jsonl", 20, 20)
    for number in range(21, 27):
        write(client, 1, first=number)
        client.acknowledged(f"t{number}")
        reconciler.wait(lambda lines, number=number: lines[-1]["prefix"] == number, "snapshot")
    names = {path.name for path in folder.iterdir()}
    assert len(names) <= 4 and {"snapshot-26.jsonl", "snapshot-25.jsonl", "snapshot-24.jsonl"} <= names


def test_an_unknown_settings_key_exits_2(workshop: Workshop) -> None:
    reconciler = workshop.reconciler(workshop.group("go", "go"), colour="red")
    assert reconciler.process is not None
    assert reconciler.process.wait(5) == 2
    assert "colour" in reconciler.log() and len(reconciler.log().splitlines()) == 1
