"""Raft: its safety properties under loss, crashes and pauses, and that it makes progress."""

from __future__ import annotations

from collections import defaultdict

import pytest

from lab.core import quantiles
from lab.engines import compiled
from lab.engines.context import EVENT_NAMES, TraceRow
from lab.engines.scenario import Scenario
from lab.history import ACKNOWLEDGED, History
from lab.model.effects import Keep, Outage
from lab.protocols.raft import APPEND, Raft
from validation.world import MS, SECOND, Leg, between, workload, world

NODES = 5


def cluster(outages: list[Outage], *, loss_ppm: int = 0, prevote: int = 0, seconds: int = 10) -> Scenario:
    params = {
        "election_ns": 150 * MS, "election_range_ns": 0, "heartbeat_ns": 40 * MS, "prevote": prevote,
        "stable_after": 0, "client_timeout_ns": 200 * MS, "client_attempts": 60,
    }  # fmt: skip
    leg = Leg(quantiles.uniform(MS, 15 * MS), loss_ppm, 20_000)
    return world(
        Raft, params, nodes=NODES, horizon_ns=(seconds + 12) * SECOND, leg=between(NODES, leg), outages=outages,
        workload=workload("poisson(20/s)", f"{seconds}s"),
    )  # fmt: skip


def crashes(keep: Keep) -> list[Outage]:
    """One node after the other is down for 600 ms, two at a time for a while."""
    found = []
    for number in range(12):
        start = 800 * MS + number * 700 * MS
        found.append(Outage(f"n{number % NODES}", start, start + 600 * MS, keep))
        if number % 3 == 0:
            found.append(Outage(f"n{(number + 2) % NODES}", start + 100 * MS, start + 900 * MS, keep))
    return found


def logs(history: History) -> list[list[tuple[int, int]]]:
    """Return what each replica applied, in order: (index, token)."""
    applies = history.applies
    return [
        [
            (int(index), int(token))
            for replica, index, token in zip(applies.replica, applies.sequence, applies.token, strict=True)
            if replica == node
        ]
        for node in range(NODES)
    ]


def leaders(trace: list[TraceRow]) -> dict[int, set[int]]:
    """Return who sent appends in each term."""
    found: dict[int, set[int]] = defaultdict(set)
    for row in trace:
        if EVENT_NAMES[row.what] == "message" and row.kind == APPEND:
            found[row.words[0]].add(row.source)
    return found


@pytest.mark.parametrize("prevote", [0, 1])
def test_replicas_apply_one_log_and_keep_what_was_acknowledged(prevote: int) -> None:
    world_ = cluster(crashes(Keep.DURABLE), loss_ppm=50_000, prevote=prevote)
    changes = 0
    for seed in range(25):
        trace: list[TraceRow] = []
        history = compiled.run(world_, seed, trace=trace)
        by_term = leaders(trace)
        assert all(len(who) == 1 for who in by_term.values()), "two leaders in one term"
        changes += len(by_term) - 1
        applied = logs(history)
        longest = max(applied, key=len)
        for log in applied:
            assert [index for index, _ in log] == list(range(1, len(log) + 1))
            assert log == longest[: len(log)], "replicas applied different logs"
        tokens = [token for _, token in longest]
        assert len(set(tokens)) == len(tokens), "an operation was applied twice"
        acknowledged = set((history.operations.outcome == ACKNOWLEDGED).nonzero()[0].tolist())
        assert acknowledged <= set(tokens), "an acknowledged operation is nowhere"
        assert len(acknowledged) > 0.9 * len(history.operations)
    assert changes > 100  # leaders did change


def test_losing_logs_breaks_it() -> None:
    """The control: nodes that forget their log and vote lose acknowledged operations or disagree."""
    world_ = cluster(crashes(Keep.NOTHING), loss_ppm=50_000)
    broken = 0
    for seed in range(10):
        history = compiled.run(world_, seed)
        order: dict[int, set[int]] = defaultdict(set)
        for log in logs(history):
            for index, token in log:
                order[index].add(token)
        broken += any(len(tokens) > 1 for tokens in order.values())
    assert broken > 0


def test_pre_vote_keeps_a_paused_node_from_deposing_the_leader() -> None:
    """A node that stood still finds its election timer expired; with pre-vote it asks first and stays a follower."""
    outages = [
        Outage(f"n{node}", 2 * SECOND + node * SECOND, 2 * SECOND + node * SECOND + 500 * MS, None) for node in range(5)
    ]
    elections = [
        int(compiled.run_many(cluster(outages, prevote=prevote), range(20), threads=1).counters["elections"].sum())
        for prevote in (0, 1)
    ]
    assert elections[1] < elections[0]


def test_without_faults_everything_is_acknowledged_once_there_is_a_leader() -> None:
    for seed in range(5):
        history = compiled.run(cluster([]), seed)
        assert (history.operations.outcome == ACKNOWLEDGED).all()
        assert len({tuple(log) for log in logs(history)}) == 1
