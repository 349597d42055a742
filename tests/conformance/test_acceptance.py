"""Section 3 of the contract, the leader: which writes it takes, and when it acknowledges them."""

from __future__ import annotations

import pytest

from lab.containers import wire_pb2 as wire
from tests.conformance.benches import LeaderBench, Workshop, expected_digest, payload, prefix_hash
from tests.conformance.wires import Connection, is_update, of_kind

pytestmark = pytest.mark.replicas
IS_ACK = of_kind(wire.KIND_WRITE_ACK)


def write(client: Connection, count: int, first: int = 1) -> None:
    """Send writes t<first>, t<first + 1>, …"""
    for number in range(first, first + count):
        client.write(f"t{number}", payload(number))


def accepted(bench: LeaderBench, count: int) -> None:
    """Wait until the leader has stored so many writes."""
    bench.replica.until(lambda state: state["last_sequence"] >= count)


def tokens(client: Connection) -> list[str]:
    return [envelope.idempotency_token for envelope in client.mailbox.all(IS_ACK)]


def test_a_write_is_numbered_stored_applied_replicated_and_told(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async")
    client = bench.replica.client()
    write(client, 3)
    answers = client.mailbox.wait(IS_ACK, 3)
    assert [(answer.sequence, answer.idempotency_token, answer.correlation_id) for answer in answers] == [
        (number, f"t{number}", f"op-t{number}") for number in (1, 2, 3)
    ]
    assert {answer.source for answer in answers} == {answer.origin for answer in answers} == {"leader"}
    payloads = [payload(number) for number in (1, 2, 3)]
    state = bench.replica.state()
    assert (state["digest"], state["prefix_hash"]) == (expected_digest(payloads), prefix_hash(payloads))
    for follower in bench.followers:
        updates = follower.mailbox.wait(is_update, 3)
        assert [update.payload for update in updates] == payloads
        assert {(update.source, update.origin, update.attempt) for update in updates} == {("leader", "leader", 1)}
        assert [update.timestamp_ns for update in updates] == sorted(answer.timestamp_ns for answer in answers)
    names = [event["e"] for event in bench.replica.events()]
    assert sorted(names) == ["accepted"] * 3 + ["applied"] * 3 + ["released"] * 3 + ["start"]
    for number in (1, 2, 3):
        its = [event for event in bench.replica.events() if event.get("seq") == number]
        assert [event["e"] for event in its] == ["accepted", "applied", "released"]
        assert {event["token"] for event in its} == {f"t{number}"}


def test_async_is_released_at_once_and_quorum_is_not(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async")
    client = bench.replica.client()
    write(client, 1)
    client.acknowledged("t1")
    bench.replica.set_mode("quorum")
    write(client, 1, first=2)
    bench.f1.mailbox.wait(is_update, 2)
    assert tokens(client) == ["t1"]


def test_quorum_waits_for_a_majority_of_all_replicas(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="quorum")
    client = bench.replica.client()
    write(client, 2)
    accepted(bench, 2)
    assert tokens(client) == []
    bench.f2.acknowledge(2)
    client.acknowledged("t2")
    assert tokens(client) == ["t2"], "a later write may be released first"
    bench.f1.acknowledge(1)
    client.acknowledged("t1")


def test_sync_waits_for_every_follower(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="sync")
    client = bench.replica.client()
    write(client, 2)
    accepted(bench, 2)
    bench.f1.acknowledge(1, 2)
    bench.f2.acknowledge(2)
    client.acknowledged("t2")
    assert tokens(client) == ["t2"]
    bench.f2.acknowledge(1)
    client.acknowledged("t1")


def test_bounded_lets_the_slowest_lag_by_the_bound(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="bounded", bound=2)
    client = bench.replica.client()
    write(client, 5)
    client.mailbox.wait(IS_ACK, 2)
    accepted(bench, 5)
    bench.f1.acknowledge(1, 2, 3, 4, 5)
    bench.f2.acknowledge(2, 3)
    bench.replica.until(lambda state: state["outstanding"] == 3)
    assert tokens(client) == ["t1", "t2"], "the prefix of f2 is still empty"
    bench.f2.acknowledge(1)
    client.acknowledged("t5")
    assert tokens(client) == ["t1", "t2", "t3", "t4", "t5"]


@pytest.mark.parametrize(
    ("mode", "released"), [("async", {"t1", "t2", "t3"}), ("quorum", {"t1"}), ("bounded", {"t1", "t2"})]
)
def test_a_mode_switch_reevaluates_everything_at_once(
    mode: str, released: set[str], runtime: str, workshop: Workshop
) -> None:
    bench = workshop.leader(runtime, mode="sync", bound=2)
    client = bench.replica.client()
    write(client, 3)
    accepted(bench, 3)
    bench.f1.acknowledge(1)
    bench.replica.until(lambda state: state["outstanding"] == 5)
    assert tokens(client) == []
    bench.replica.set_mode(mode)
    client.mailbox.wait(IS_ACK, len(released))
    assert set(tokens(client)) == released
    assert bench.replica.state()["mode"] == mode
    assert [event["mode"] for event in bench.replica.events("mode")] == [mode]


def test_a_known_token_is_stored_once_and_answered_again(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="quorum")
    client, other = bench.replica.client(), bench.replica.client()
    client.write("t1", payload(1))
    accepted(bench, 1)
    client.write("t1", payload(2))
    other.write("t1", payload(1))
    bench.replica.counted("duplicate_requests", 2)
    assert tokens(client) + tokens(other) == [], "not released yet"
    bench.f1.acknowledge(1)
    assert client.acknowledged("t1").sequence == other.acknowledged("t1").sequence == 1
    client.mailbox.wait(IS_ACK, 2)
    other.write("t1", payload(1))
    other.mailbox.wait(IS_ACK, 2)
    state = bench.replica.state()
    assert (state["last_sequence"], state["counters"]["duplicate_requests"]) == (1, 3)
    assert state["digest"] == expected_digest([payload(1)]), "the first payload counts"
    assert len(bench.replica.events("accepted")) == len(bench.replica.events("released")) == 1


def test_a_repeated_write_starts_new_attempts_where_none_is_outstanding(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="sync", policy={"attempts": 1})
    client = bench.replica.client()
    write(client, 1)
    bench.f1.mailbox.wait(is_update)
    bench.f1.acknowledge(1)
    bench.replica.counted("exhausted", 1)
    client.write("t1", payload(1))
    second = bench.f2.mailbox.wait(is_update, 2)[1]
    assert (second.attempt, second.sequence) == (1, 1)
    bench.f2.acknowledge(1)
    client.acknowledged("t1")
    assert len(bench.f1.mailbox.all(is_update)) == 1, "f1 has it already"


def test_a_full_queue_rejects_before_anything_is_stored(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(
        runtime, mode="async", queue={"limit": 3, "overflow": "reject"}, policy={"timeout_ns": 60_000_000_000}
    )
    client = bench.replica.client()
    write(client, 5)
    refused = client.mailbox.wait(of_kind(wire.KIND_WRITE_REJECT), 2)
    assert [answer.idempotency_token for answer in refused] == ["t4", "t5"]
    accepted(bench, 3)
    state = bench.replica.state()
    assert (state["last_sequence"], state["counters"]["rejected"], state["outstanding"]) == (3, 2, 6)
    assert [event["token"] for event in bench.replica.events("rejected")] == ["t4", "t5"]
    bench.f1.acknowledge(1)
    bench.f2.acknowledge(1)
    bench.replica.until(lambda state: state["outstanding"] == 4)
    client.write("t4", payload(4))
    assert client.acknowledged("t4").sequence == 4, "a rejected token may be tried again"


def test_a_full_queue_defers_to_reconciliation(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", queue={"limit": 2, "overflow": "defer"})
    client = bench.replica.client()
    write(client, 5)
    client.mailbox.wait(IS_ACK, 5)
    state = bench.replica.counted("deferred", 6)
    assert (state["counters"]["rejected"], state["last_sequence"]) == (0, 5)
    first = [update.sequence for update in bench.f1.mailbox.all(is_update) if update.attempt == 1]
    assert first == [1, 2]


def test_an_answer_to_a_client_that_has_gone_is_dropped(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="quorum")
    gone, stays = bench.replica.client(), bench.replica.client()
    gone.write("t1", payload(1))
    accepted(bench, 1)
    gone.close()
    bench.f1.acknowledge(1)
    bench.replica.until(lambda _: bench.replica.events("released"))
    stays.write("t1", payload(1))
    assert stays.acknowledged("t1").sequence == 1
    assert bench.replica.counters()["unsent"] == 0


def test_an_acknowledged_write_survives_kill_9(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", queue={"limit": 5000})
    client = bench.replica.client()
    write(client, 300)
    client.mailbox.wait(IS_ACK, 40)
    bench.replica.kill()
    answered = {envelope.sequence for envelope in client.mailbox.all(IS_ACK)}
    state = bench.replica.start().state()
    assert state["last_sequence"] >= max(answered)
    payloads = [payload(number) for number in range(1, state["last_sequence"] + 1)]
    assert (state["digest"], state["prefix_hash"]) == (expected_digest(payloads), prefix_hash(payloads))


def test_a_restarted_leader_knows_its_log_and_nothing_of_acknowledgements(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="sync")
    client = bench.replica.client()
    write(client, 2)
    bench.f1.mailbox.wait(is_update, 2)
    for follower in bench.followers:
        follower.acknowledge(1, 2)
    client.mailbox.wait(IS_ACK, 2)
    before = bench.replica.state()
    bench.replica.kill()
    bench.replica.start()
    bench.linked(2)
    state = bench.replica.state()
    assert state["incarnation"] > before["incarnation"]
    assert (state["digest"], state["prefix_hash"]) == (before["digest"], before["prefix_hash"])
    assert (state["outstanding"], set(state["counters"].values())) == (0, {0})
    again = bench.replica.client()
    again.write("t1", payload(1))
    attempt = bench.f1.mailbox.wait(is_update, 3)[2]
    assert (attempt.sequence, attempt.attempt) == (1, 1)
    assert tokens(again) == [], "acknowledgements are asked for anew"
    hashed = prefix_hash([payload(1), payload(2)])
    bench.f1.digest(2, hashed, 1)
    bench.f2.acknowledge(1)
    again.acknowledged("t1")
    assert [event["prefix"] for event in bench.replica.events("start")] == [0, 2]


def test_the_log_of_a_leader_never_reuses_a_sequence_after_a_restart(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async")
    client = bench.replica.client()
    write(client, 3)
    client.mailbox.wait(IS_ACK, 3)
    bench.replica.kill()
    bench.replica.start()
    again = bench.replica.client()
    again.write("t9", payload(9))
    assert again.acknowledged("t9").sequence == 4
