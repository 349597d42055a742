"""Three real replicas, the runtimes mixed in every way that matters: they end in the same state."""

from __future__ import annotations

import signal
import time

import pytest

from lab.containers import wire_pb2 as wire
from tests.conformance.benches import Workshop, expected_digest, payload, prefix_hash
from tests.conformance.replicas import Replica, State
from tests.conformance.test_acceptance import write
from tests.conformance.wires import of_kind

pytestmark = pytest.mark.replicas
MIXED = [
    ("go", "go", "rust"),
    ("go", "rust", "rust"),
    ("rust", "go", "go"),
    ("rust", "rust", "go"),
]
IS_ACK = of_kind(wire.KIND_WRITE_ACK)


def converged(replicas: list[Replica], payloads: list[bytes]) -> list[State]:
    """Wait until every replica holds exactly this changelog."""
    reached = [replica.until(lambda state: state["prefix"] == len(payloads)) for replica in replicas]
    expected = (expected_digest(payloads), prefix_hash(payloads), 0)
    for state in reached:
        assert (state["digest"], state["prefix_hash"], state["waiting"]) == expected
    return reached


@pytest.fixture(params=MIXED, ids="-".join)
def runtimes(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    made: tuple[str, str, str] = request.param
    return made


@pytest.mark.parametrize("mode", ["sync", "bounded"])
def test_a_mixed_group_converges(mode: str, runtimes: tuple[str, ...], workshop: Workshop) -> None:
    group = workshop.group(*runtimes, mode=mode, queue={"limit": 1000})
    client = group[0].client()
    write(client, 200)
    client.mailbox.wait(IS_ACK, 200)
    states = converged(group, [payload(number) for number in range(1, 201)])
    assert {state["counters"]["digest_mismatch"] for state in states} == {0}
    assert {state["counters"]["malformed"] for state in states} == {0}


def test_a_follower_that_was_killed_is_reconciled(runtimes: tuple[str, ...], workshop: Workshop) -> None:
    group = workshop.group(*runtimes, mode="quorum", queue={"limit": 1000}, policy={"attempts": 1})
    client = group[0].client()
    write(client, 20)
    client.mailbox.wait(IS_ACK, 20)
    group[1].kill()
    write(client, 60, first=21)
    client.mailbox.wait(IS_ACK, 80)
    group[0].until(lambda state: state["outstanding"] == 0)
    group[1].start()
    converged(group, [payload(number) for number in range(1, 81)])
    assert group[0].counters()["repairs"] > 0


def test_a_leader_that_was_killed_keeps_what_it_acknowledged(runtimes: tuple[str, ...], workshop: Workshop) -> None:
    group = workshop.group(*runtimes, mode="quorum", queue={"limit": 1000})
    client = group[0].client()
    write(client, 100)
    client.mailbox.wait(IS_ACK, 30)
    group[0].kill()
    answered = {envelope.idempotency_token for envelope in client.mailbox.all(IS_ACK)}
    group[0].start()
    again = group[0].client()
    write(again, 100)
    again.mailbox.wait(IS_ACK, 100)
    assert len(answered) >= 30
    assert group[0].state()["last_sequence"] == 100, "every token is stored once"
    converged(group, [payload(number) for number in range(1, 101)])


def test_a_paused_follower_catches_up(workshop: Workshop) -> None:
    group = workshop.group("go", "rust", "go", mode="quorum", queue={"limit": 1000}, policy={"attempts": 2})
    client = group[0].client()
    paused = group[1].process
    assert paused is not None
    paused.send_signal(signal.SIGSTOP)
    write(client, 30)
    client.mailbox.wait(IS_ACK, 30)
    time.sleep(0.3)
    paused.send_signal(signal.SIGCONT)
    converged(group, [payload(number) for number in range(1, 31)])


def test_a_follower_that_lost_its_disk_gets_everything_again(runtimes: tuple[str, ...], workshop: Workshop) -> None:
    group = workshop.group(*runtimes, mode="sync", queue={"limit": 1000})
    client = group[0].client()
    write(client, 25)
    client.mailbox.wait(IS_ACK, 25)
    group[2].kill()
    for file in (group[2].folder / "data").iterdir():
        file.unlink()
    group[2].start()
    converged(group, [payload(number) for number in range(1, 26)])
    assert group[0].counters()["repairs"] >= 25
