"""Whole runs on both wires: each kind of fault bites, is read back as healed, and leaves the replicas equal."""

from __future__ import annotations

from typing import Any

import docker
import pytest

from lab.containers import reaper
from lab.containers.execute import run_once
from lab.containers.images import Images
from lab.containers.session import Session
from lab.containers.stack import Stack
from lab.containers.topology import RECONCILER
from lab.history import ACKNOWLEDGED, History
from lab.spec.schema import Experiment
from tests.containers.conftest import make_experiment

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]
WIRES = ("framed", "oneshot")
BUSY_TRIES = 3  # a run whose load could not be kept up is no run; others may be using this machine
TO_F1, TO_F2 = {"links": ["leader->f1"]}, {"links": ["leader->f2"]}


@pytest.fixture
def run(client: docker.DockerClient, session: Session, images: Images) -> Any:
    def once(experiment: Experiment, seed: int = 7) -> History:
        for _ in range(BUSY_TRIES):
            history = run_once(experiment, seed, session=session, images=images)
            if "too busy" not in history.invalid:
                break
        assert reaper.find(client, session.id) == [], "something of the run is left"
        return history

    return once


def converged(history: History) -> None:
    assert history.invalid == ""
    assert {final.digest for final in history.finals} == {history.truth_digest}, history.notes
    assert {final.prefix for final in history.finals} == {len(history.accepted)}


def at(start_ms: int, **parameters: Any) -> dict[str, Any]:
    return {"at": f"{start_ms}ms", "for": "400ms", **parameters}


def kinds(wire: str) -> list[tuple[dict[str, Any], bool]]:
    """Every kind of fault that the wire carries, and whether it can bite; those on one link do not overlap."""
    groups = [["leader", "f1"], ["f2"]]
    found: list[tuple[dict[str, Any], bool]] = [
        ({"partition": at(100, groups=groups, kind="hold")}, True),
        ({"cut": at(600, **TO_F2, kind="kill")}, True),
        ({"cut": at(1100, **TO_F2, kind="slow", by="40ms")}, True),
        ({"cut": at(1600, **TO_F2)}, True),
        ({"toxic": at(2100, **TO_F2, type="slicer", average_size="30B", delay="10us")}, True),
        ({"toxic": at(2600, **TO_F2, type="latency", latency="20ms", jitter="5ms")}, True),
        ({"drop": at(100, **TO_F1, share="60%")}, True),
        ({"toxic": at(600, **TO_F1, type="reset_peer", timeout="0s")}, True),
        ({"toxic": at(1100, **TO_F1, type="limit_data", bytes="70B")}, True),
        ({"toxic": at(1600, **TO_F1, type="limit_data", bytes="1MiB")}, False),  # the control: no message is that long
        ({"toxic": at(2100, **TO_F1, type="timeout", timeout="0s")}, True),
        ({"toxic": at(2600, **TO_F1, type="bandwidth", rate="10KB/s")}, True),
        ({"slow_node": at(2600, node="f1", service="5ms")}, True),
        ({"clock_offset": at(100, node="leader", offset="-1s")}, True),
        ({"disk_stall": at(2600, node="f2", by="10ms")}, True),
        ({"duplicate": at(2600, links=["leader->f2"], share="50%")}, True),
        ({"delay": at(1100, links=["f1->leader"], by="10ms")}, True),
    ]
    if wire == "framed":
        found.append(({"reorder": at(1600, links=["f1->leader"], share="50%", by="10ms")}, True))
    else:
        found.append(({"toxic": at(1600, links=["f1->leader"], type="slow_close", delay="50ms")}, True))
    return found


@pytest.mark.parametrize("wire", WIRES)
def test_every_kind_bites_and_heals(wire: str, run: Any) -> None:
    faults = kinds(wire)
    history = run(make_experiment(*(fault for fault, _ in faults), duration="3.2s", system={"wire": wire}))
    converged(history)
    for record, (fault, bites) in zip(history.faults, faults, strict=True):
        assert record.healed, fault
        assert (record.bit or 0) > 0 if bites else record.bit == 0, (fault, record.bit)
    assert {link.kind for link in history.links} == {"frame" if wire == "framed" else "byte"}
    for link in history.links:
        assert link.sent + link.duplicated == link.delivered + link.lost + link.cut + link.down + link.overflow
    assert any("skew" in note for note in history.notes)


@pytest.mark.parametrize("wire", WIRES)
def test_nothing_sent_before_a_crash_arrives_after_the_restart(wire: str, run: Any) -> None:
    """Messages are 200 ms under way, nothing is repeated or repaired: what a crash took never arrives."""
    history = run(
        make_experiment(
            {"crash": {"at": "800ms", "for": "400ms", "node": "f1"}},
            network={"links": {"default": {"delay": "200ms"}}},
            policy={"reconcile_every": "0s", "ordering": "key", "timeout": "20s", "retry": {"attempts": 1}},
            mode="async",
            duration="3s",
            drain="1s",
            system={"wire": wire},
        )
    )
    assert history.invalid == ""
    (crash,) = history.faults
    accepted = dict(zip(history.accepted.sequence.tolist(), history.accepted.time_ns.tolist(), strict=True))
    under_way = [s for s, at_ns in accepted.items() if crash.start_ns - 190_000_000 < at_ns < crash.start_ns]
    after = history.applies.sequence[(history.applies.replica == 1) & (history.applies.time_ns > crash.start_ns)]
    assert len(under_way) > 5 and len(after) > 5
    assert min(accepted[sequence] for sequence in after.tolist()) > crash.start_ns
    assert history.crashes and history.crashes[0][0] == 1


@pytest.mark.parametrize("wire", WIRES)
def test_a_rollout_under_load(wire: str, run: Any) -> None:
    """Another runtime starts empty and catches up; the leader takes another schema version and keeps its store."""
    faults = [
        {"replace": {"at": "300ms", "node": "f1", "runtime": "rust", "schema_version": 2}},
        {"replace": {"at": "2s", "node": "leader", "schema_version": 2}},
    ]
    history = run(make_experiment(*faults, followers=("go", "go"), duration="3.5s", system={"wire": wire}))
    converged(history)
    assert [(fault.bit, fault.healed) for fault in history.faults] == [(1, True), (1, True)]
    assert [replica for replica, _ in history.losses] == [1], "the leader keeps its store, the follower starts empty"
    assert (history.operations.outcome == ACKNOWLEDGED).mean() > 0.95


@pytest.mark.parametrize("killed", [False, True])
def test_the_reconciler_is_beside_the_run(killed: bool, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Stack.start_reconciler

    def start_and_kill(stack: Stack) -> bool:
        started = start(stack)
        stack.kill(RECONCILER)
        return started

    if killed:
        monkeypatch.setattr(Stack, "start_reconciler", start_and_kill)
    history = run(
        make_experiment(duration="1.5s", system={"reconciler": {"every": "300ms", "snapshot_every": "600ms"}})
    )
    converged(history)
    rounds = int(history.environment["reconciler.rounds"])
    assert any(note.startswith("reconciler: ") for note in history.notes)
    assert any("137" in note for note in history.notes) == killed
    assert killed or (rounds > 2 and history.environment["reconciler.drift"] == "0")


def test_nine_replicas(run: Any) -> None:
    experiment = make_experiment(followers=("go", "rust") * 4, rate="40/s", duration="1s")
    history = run(experiment)
    converged(history)
    assert len(history.replicas) == 9 and len(history.links) == 16
