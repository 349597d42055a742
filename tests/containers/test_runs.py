"""Whole runs on real replicas: each ends in one history that agrees with itself."""

from __future__ import annotations

from typing import Any

import docker
import numpy as np
import pytest
from scipy import stats

from lab.containers import reaper
from lab.containers.execute import run_once
from lab.containers.images import Images
from lab.containers.session import Session
from lab.history import ACKNOWLEDGED, REJECTED, UNKNOWN, History
from lab.spec.schema import Experiment
from tests.containers.conftest import make_experiment

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]
LINKS = {("leader", "f1"), ("f1", "leader"), ("leader", "f2"), ("f2", "leader")}


@pytest.fixture
def run(client: docker.DockerClient, session: Session, images: Images) -> Any:
    def once(experiment: Experiment, seed: int = 7) -> History:
        history = run_once(experiment, seed, session=session, images=images)
        assert reaper.find(client, session.id) == [], "something of the run is left"
        return history

    return once


def converged(history: History) -> None:
    """Check what holds of every run that ended well."""
    assert history.invalid == ""
    assert {final.digest for final in history.finals} == {history.truth_digest}, history.notes
    assert {final.prefix for final in history.finals} == {len(history.accepted)}
    assert (history.plane, history.replicas) == ("containers", ("leader", "f1", "f2"))
    outcomes = history.operations.outcome
    assert set(outcomes.tolist()) <= {UNKNOWN, ACKNOWLEDGED, REJECTED}
    acknowledged = history.operations.acknowledged_ns[outcomes == ACKNOWLEDGED]
    assert len(acknowledged) and (acknowledged > history.operations.intended_ns[outcomes == ACKNOWLEDGED]).all()
    assert history.accepted.sequence.tolist() == list(range(1, len(history.accepted) + 1))
    assert (history.accepted.time_ns > 0).all() and (history.applies.time_ns > 0).all()
    assert {(link.source, link.target) for link in history.links} == LINKS
    for link in history.links:
        assert link.sent + link.duplicated == link.delivered + link.lost + link.cut + link.down + link.overflow
    assert all(fault.healed for fault in history.faults)


def applied_once(history: History, lives: dict[int, int] | None = None) -> None:
    """Check that each replica applied each update once in each of its lives."""
    for replica in range(len(history.replicas)):
        mine = history.applies.sequence[history.applies.replica == replica]
        _, times = np.unique(mine, return_counts=True)
        assert len(times) == len(history.accepted) and times.max() <= (lives or {}).get(replica, 1)


@pytest.mark.parametrize(("leader", "followers"), [("go", ("go", "rust")), ("rust", ("go", "rust"))])
def test_a_partition_heals(run: Any, leader: str, followers: tuple[str, str]) -> None:
    partition = {"partition": {"at": "800ms", "for": "700ms", "groups": [["leader", "f1"], ["f2"]]}}
    history = run(make_experiment(partition, leader=leader, followers=followers))
    converged(history)
    applied_once(history)
    (fault,) = history.faults
    assert fault.bit is not None and fault.bit > 20
    assert 0 <= fault.start_ns - 800_000_000 < 100_000_000 and 0 <= fault.stop_ns - 1_500_000_000 < 100_000_000
    cut = {(link.source, link.target) for link in history.links if link.cut}
    assert cut == {("leader", "f2"), ("f2", "leader")}
    assert history.counters["retries"] > 0 and history.counters["transmissions"] > 2 * len(history.accepted)
    during = history.applies.time_ns[(history.applies.replica == 2)]
    # Messages under way when the cut began still arrive; after that, nothing until the heal.
    assert not ((during > fault.start_ns + 50_000_000) & (during < 1_500_000_000)).any()
    assert (history.operations.outcome == ACKNOWLEDGED).all(), "a majority was there all the time"


@pytest.mark.parametrize("node", ["f1", "leader"])
def test_a_crash_keeps_what_is_durable(run: Any, node: str) -> None:
    history = run(make_experiment({"crash": {"at": "800ms", "for": "500ms", "node": node}}, leader="go"))
    converged(history)
    applied_once(history)
    (fault,) = history.faults
    assert fault.bit == 1 and history.losses == ()
    assert 1_300_000_000 <= fault.stop_ns < 4_000_000_000
    replica = history.replicas.index(node)
    times = history.applies.time_ns[history.applies.replica == replica]
    assert not ((times > fault.start_ns + 400_000_000) & (times < 1_300_000_000)).any()
    if node == "leader":
        assert history.operations.attempts.max() > 1


def test_a_crash_that_keeps_nothing_is_filled_up_again(run: Any) -> None:
    history = run(make_experiment({"crash": {"at": "800ms", "for": "500ms", "node": "f2", "keep": "nothing"}}))
    converged(history)
    applied_once(history, {2: 2})
    ((replica, time_ns),) = history.losses
    assert replica == 2 and 800_000_000 < time_ns < 2_500_000_000
    again = history.applies.sequence[(history.applies.replica == 2) & (history.applies.time_ns > time_ns)]
    assert sorted(again.tolist()) == list(range(1, len(history.accepted) + 1))
    assert history.counters["repairs"] > 0


def test_a_pause_and_a_switch_of_the_mode(run: Any) -> None:
    history = run(
        make_experiment(
            {"pause": {"at": "600ms", "for": "800ms", "node": "f2"}},
            {"set": {"at": "1100ms", "mode": "async"}},
            mode="sync",
        )
    )
    converged(history)
    applied_once(history)
    pause, switch = history.faults
    assert pause.bit == 1 and switch.bit is None and switch.start_ns == switch.stop_ns
    latency = history.operations.acknowledged_ns - history.operations.intended_ns
    held = (history.operations.intended_ns > 700_000_000) & (history.operations.intended_ns < 1_000_000_000)
    after = (history.operations.intended_ns > 1_300_000_000) & (history.operations.outcome == ACKNOWLEDGED)
    assert np.median(latency[held]) > 100_000_000, "sync waits for the paused replica"
    assert np.median(latency[after]) < 100_000_000, "async does not"


def test_the_dice_of_the_links_are_fair(run: Any) -> None:
    """Shares agree with what was asked within a 99 % binomial interval over more than 2,000 messages."""
    every = {"at": "0s", "for": "6s", "links": "all"}
    history = run(
        make_experiment(
            {"drop": {**every, "share": "10%"}},
            {"duplicate": {**every, "share": "5%"}},
            {"reorder": {**every, "share": "10%", "by": "5ms"}},
            rate="300/s",
            duration="6s",
        )
    )
    converged(history)
    frames, duplicated, lost, reordered = (
        sum(getattr(link, name) for link in history.links) for name in ("sent", "duplicated", "lost", "reordered")
    )
    assert frames > 2000
    trials = {"duplicated": (frames, 0.05), "lost": (frames + duplicated, 0.1)}
    trials["reordered"] = (frames + duplicated - lost, 0.1)
    for name, (n, p) in trials.items():
        low, high = stats.binom.interval(0.99, n, p)
        assert low <= locals()[name] <= high, f"{name}: {locals()[name]} of {n}, expected {low:.0f} to {high:.0f}"
    drop, duplicate, reorder = history.faults
    assert drop.bit and duplicate.bit and reorder.bit


def test_links_without_faults_touch_nothing(run: Any) -> None:
    history = run(make_experiment(rate="300/s", duration="2s", network={"links": {}}))
    converged(history)
    applied_once(history)
    for link in history.links:
        assert (link.lost, link.cut, link.duplicated, link.reordered, link.down, link.overflow) == (0,) * 6
        assert link.sent == link.delivered > 0
    assert history.counters["retries"] == history.counters["duplicates"] == 0
