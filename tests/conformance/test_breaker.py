"""Section 3 of the contract: the circuit breaker of a follower."""

from __future__ import annotations

import time

import pytest

from tests.conformance.benches import LeaderBench, Workshop, payload
from tests.conformance.replicas import MS
from tests.conformance.test_acceptance import write
from tests.conformance.test_control import samples
from tests.conformance.wires import is_repair, is_update

pytestmark = pytest.mark.replicas
OPEN_NS = 400 * MS
GAUGE = 'driftlab_breaker_state{{follower="{}"}}'


def opened(workshop: Workshop, runtime: str, *arguments: str, failures: int = 2) -> LeaderBench:
    """Return a leader whose two writes f1 did not answer, so that the breaker of f1 is open."""
    policy = {"timeout_ns": 60 * MS, "attempts": 2, "breaker_failures": failures, "breaker_open_ns": OPEN_NS}
    bench = workshop.leader(runtime, arguments=arguments, mode="async", policy=policy)
    write(bench.replica.client(), 2)
    bench.f2.mailbox.wait(is_update, 2)
    bench.f2.acknowledge(1, 2)
    bench.replica.counted("breaker_opened", 1)
    return bench


def breaker(bench: LeaderBench) -> str:
    return str(bench.replica.state()["breakers"]["f1"])


def heard(bench: LeaderBench) -> list[int]:
    """Return the sequences of the attempts that reached f1, first attempts only."""
    return [update.sequence for update in bench.f1.mailbox.all(is_update) if update.attempt == 1]


def ask(bench: LeaderBench, number: int) -> None:
    """Write once more, let f2 answer, and wait until the leader is through with it."""
    client = bench.replica.client()
    client.write(f"t{number}", payload(number))
    client.acknowledged(f"t{number}")
    bench.f2.acknowledge(number)


def test_an_open_breaker_sends_nothing_and_is_told(runtime: str, workshop: Workshop) -> None:
    bench = opened(workshop, runtime)
    state = bench.replica.state()
    assert state["breakers"] == {"f1": "open", "f2": "closed"}
    found = samples(bench.replica.request("GET", "/metrics")[1])
    assert (found[GAUGE.format("f1")], found[GAUGE.format("f2")]) == (2, 0)
    ask(bench, 3)
    state = bench.replica.until(lambda state: state["outstanding"] == 0)
    assert heard(bench) == [1, 2]
    assert (state["counters"]["breaker_opened"], state["counters"]["breaker_rejected"]) == (1, 3)
    assert "breaker" in bench.replica.log(), "a warning"


def test_reconciliation_brings_what_was_held_back(runtime: str, workshop: Workshop) -> None:
    bench = opened(workshop, runtime)
    time.sleep(0.06)
    bench.f1.digest(0, 0, 1)
    assert [repair.sequence for repair in bench.f1.mailbox.wait(is_repair, 2)] == [1, 2]
    assert breaker(bench) == "open"


def test_half_open_lets_one_attempt_through_and_success_closes(runtime: str, workshop: Workshop) -> None:
    half_opens(workshop, runtime)


def half_opens(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """After the pause one attempt is a probe, and its answer closes the breaker."""
    bench = opened(workshop, runtime, *arguments)
    time.sleep(OPEN_NS / 1e9 + 0.02)
    ask(bench, 3)
    assert breaker(bench) == "half_open"
    ask(bench, 4)
    bench.f1.mailbox.wait(lambda update: update.sequence == 3, within_s=2)
    bench.f1.acknowledge(3)
    bench.replica.until(lambda state: state["breakers"]["f1"] == "closed")
    ask(bench, 5)
    bench.f1.mailbox.wait(lambda update: update.sequence == 5)
    assert heard(bench) == [1, 2, 3, 5]


def test_a_probe_without_an_answer_opens_it_again(runtime: str, workshop: Workshop) -> None:
    bench = opened(workshop, runtime)
    time.sleep(OPEN_NS / 1e9 + 0.02)
    ask(bench, 3)
    bench.replica.counted("breaker_opened", 2)
    assert breaker(bench) == "open"
    ask(bench, 4)
    assert heard(bench) == [1, 2, 3]


def test_without_failures_there_is_no_breaker(runtime: str, workshop: Workshop) -> None:
    policy = {"timeout_ns": 20 * MS, "attempts": 1}
    bench = workshop.leader(runtime, mode="async", policy=policy)
    for number in range(1, 8):
        ask(bench, number)
    state = bench.replica.counted("exhausted", 7)
    assert state["breakers"] == {"f1": "closed", "f2": "closed"}
    assert state["counters"]["breaker_rejected"] == state["counters"]["breaker_opened"] == 0
    assert heard(bench) == [1, 2, 3, 4, 5, 6, 7]


def test_a_follower_has_no_breakers(runtime: str, workshop: Workshop) -> None:
    replica = workshop.follower(runtime).replica
    assert replica.state()["breakers"] == {}
    assert "driftlab_breaker_state" not in replica.request("GET", "/metrics")[1]
