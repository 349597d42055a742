"""Sections 4 and 5 of the contract: the follower and the hashes."""

from __future__ import annotations

import itertools

import pytest

from lab.containers import wire_pb2 as wire
from lab.core.changelog_state import update_payload
from lab.core.draws import mix
from tests.conformance.benches import FollowerBench, Workshop, expected_digest, payload, prefix_hash
from tests.conformance.replicas import MS
from tests.conformance.wires import of_kind

pytestmark = pytest.mark.replicas
IS_ACK = of_kind(wire.KIND_UPDATE_ACK)
IS_DIGEST = of_kind(wire.KIND_DIGEST)


def deliver(bench: FollowerBench, *sequences: int) -> None:
    """Send updates, and wait for the acknowledgement of each."""
    for sequence in sequences:
        bench.leader.update(sequence, payload(sequence))
    for sequence in sequences:
        bench.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK, sequence=sequence))


def test_an_update_is_stored_acknowledged_and_applied(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    deliver(bench, 1, 2)
    (first, second) = bench.leader.mailbox.wait(IS_ACK, 2)
    assert [(ack.source, ack.idempotency_token, ack.correlation_id) for ack in (first, second)] == [
        ("f1", "t1", "op-1"),
        ("f1", "t2", "op-2"),
    ]
    state = bench.replica.state()
    payloads = [payload(1), payload(2)]
    assert (state["digest"], state["prefix_hash"]) == (expected_digest(payloads), prefix_hash(payloads))
    assert (state["prefix"], state["waiting"], state["keys"], state["outstanding"]) == (2, 0, 2, 0)
    assert [(event["seq"], event["token"]) for event in bench.replica.events("applied")] == [(1, "t1"), (2, "t2")]
    assert state["counters"]["acks_sent"] == 2


@pytest.mark.parametrize("kind", [wire.KIND_UPDATE, wire.KIND_REPAIR])
def test_a_copy_is_counted_acknowledged_and_not_applied_again(
    kind: wire.Kind, runtime: str, workshop: Workshop
) -> None:
    bench = workshop.follower(runtime)
    deliver(bench, 1)
    bench.leader.update(1, payload(7), kind=kind)
    bench.leader.mailbox.wait(IS_ACK, 2)
    state = bench.replica.state()
    assert (state["counters"]["duplicates"], state["last_sequence"]) == (1, 1)
    assert state["digest"] == expected_digest([payload(1)])
    assert len(bench.replica.events("applied")) == 1


def test_copies_of_one_burst_are_each_answered_after_the_store(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    for _ in range(4):
        bench.leader.update(1, payload(1))
    bench.leader.mailbox.wait(IS_ACK, 4)
    counters = bench.replica.counters()
    assert (counters["duplicates"], counters["acks_sent"]) == (3, 4)


def test_the_window_bounds_what_waits_behind_a_gap(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime, queue={"limit": 3})
    deliver(bench, 3, 2)
    bench.leader.update(4, payload(4))
    bench.replica.counted("reorder_full", 1)
    assert bench.leader.mailbox.all(of_kind(wire.KIND_UPDATE_ACK, sequence=4)) == []
    assert bench.replica.state()["waiting"] == 2
    deliver(bench, 1)
    deliver(bench, 4)
    state = bench.replica.until(lambda state: state["prefix"] == 4)
    assert state["waiting"] == 0
    assert state["digest"] == expected_digest([payload(number) for number in (1, 2, 3, 4)])


def test_out_of_order_counts_what_is_not_next_to_the_highest(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    deliver(bench, 1)
    deliver(bench, 3)
    deliver(bench, 4)
    deliver(bench, 2)
    assert bench.replica.counters()["out_of_order"] == 2


def test_sequence_ordering_applies_the_gapless_prefix_alone(runtime: str, workshop: Workshop) -> None:
    applies_in_order(workshop, runtime)


def applies_in_order(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """What comes behind a gap waits for it: reads never go back."""
    bench = workshop.follower(runtime, arguments=arguments)
    for sequence in (2, 3):
        bench.leader.update(sequence, payload(sequence, key="one"))
        bench.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK, sequence=sequence))
    state = bench.replica.state()
    assert (state["prefix"], state["waiting"], state["keys"]) == (0, 2, 0)
    assert bench.replica.events("applied") == []
    bench.leader.update(1, payload(1, key="one"))
    bench.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK, sequence=1))
    state = bench.replica.until(lambda state: state["prefix"] == 3)
    assert [event["seq"] for event in bench.replica.events("applied")] == [1, 2, 3]
    assert state["digest"] == expected_digest([payload(number, key="one") for number in (1, 2, 3)])


def test_key_ordering_applies_at_once_and_supersedes(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime, ordering="key")
    for sequence in (3, 2, 1):
        bench.leader.update(sequence, payload(sequence, key="one"))
        bench.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK, sequence=sequence))
    state = bench.replica.until(lambda state: state["prefix"] == 3)
    assert [event["seq"] for event in bench.replica.events("applied")] == [3]
    assert [event["seq"] for event in bench.replica.events("superseded")] == [2, 1]
    assert state["digest"] == expected_digest([payload(number, key="one") for number in (1, 2, 3)])


@pytest.mark.parametrize("ordering", ["sequence", "key"])
def test_what_was_acknowledged_survives_kill_9(ordering: str, runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime, ordering=ordering, queue={"limit": 5000})
    for sequence in range(1, 401):
        bench.leader.update(sequence, payload(sequence))
    bench.leader.mailbox.wait(IS_ACK, 40)
    bench.replica.kill()
    answered = [envelope.sequence for envelope in bench.leader.mailbox.all(IS_ACK)]
    state = bench.replica.start().state()
    assert state["prefix"] >= max(answered)
    payloads = [payload(number) for number in range(1, state["prefix"] + 1)]
    assert (state["digest"], state["prefix_hash"]) == (expected_digest(payloads), prefix_hash(payloads))
    assert [event["prefix"] for event in bench.replica.events("start")] == [0, state["prefix"]]


def test_entries_behind_a_gap_survive_kill_9(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    deliver(bench, 2, 4)
    bench.replica.kill()
    bench.replica.start()
    bench.leader.linked(2)
    assert bench.replica.state()["waiting"] == 2
    deliver(bench, 1, 3)
    assert bench.replica.until(lambda state: state["prefix"] == 4)["waiting"] == 0


def test_digests_come_on_their_grid_and_tell_the_prefix(runtime: str, workshop: Workshop) -> None:
    every_ns = 60 * MS
    bench = workshop.follower(runtime, reconcile_every_ns=every_ns, seed=3)
    deliver(bench, 1, 3)
    digests = bench.leader.mailbox.wait(of_kind(wire.KIND_DIGEST, sequence=1), 3)
    state = bench.replica.state()
    for digest in digests:
        assert (digest.source, digest.prefix_hash) == ("f1", prefix_hash([payload(1)]))
        assert digest.incarnation == state["incarnation"]
    (start,) = bench.replica.events("start")
    phase_ns = 1 + mix(mix(3, 0), 1) % every_ns
    times = [time_ns - start["t"] - phase_ns for time_ns, _ in bench.leader.mailbox.timed(IS_DIGEST)]
    for time_ns in times:
        assert min(time_ns % every_ns, every_ns - time_ns % every_ns) < 25 * MS, times
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert abs(sorted(steps)[len(steps) // 2] - every_ns) < 20 * MS
    assert state["counters"]["digests_sent"] >= 3


def test_no_digests_are_sent_when_they_are_switched_off(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime, reconcile_every_ns=0)
    deliver(bench, 1)
    assert bench.replica.counters()["digests_sent"] == 0


def test_the_incarnation_grows_with_every_start(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    seen = [bench.replica.state()["incarnation"]]
    for _ in range(3):
        bench.replica.kill()
        seen.append(bench.replica.start().state()["incarnation"])
    assert seen == sorted(set(seen))
    assert [event["incarnation"] for event in bench.replica.events("start")] == seen


def test_a_follower_refuses_clients(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    client = bench.replica.client()
    client.write("t1", payload(1))
    (refused,) = client.mailbox.wait(of_kind(wire.KIND_WRITE_REJECT))
    assert (refused.idempotency_token, refused.source) == ("t1", "f1")
    state = bench.replica.state()
    assert (state["last_sequence"], state["counters"]["rejected"]) == (0, 1)


ODD_PAYLOADS = {
    "no key at all": b"",
    "an empty value": update_payload("k", b"", 0),
    "a key beyond the first plane": update_payload("𝄞\x00\uffff", b"\xff\xfe", (1 << 64) - 1),
    "an unknown field before the key": b"\x9a\x3e\x02hi" + update_payload("late", b"v", 1),
    "the key twice": update_payload("first", b"v", 1) + b"\x0a\x04last",
    "a value of 100 KiB": update_payload("long", b"\x80" * 102_400, 5),
}


def test_payloads_of_every_shape_are_kept_as_they_came(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    payloads = [*ODD_PAYLOADS.values(), update_payload("K", b"", 1), update_payload("\ud7ff", b"", 1)]
    for sequence, data in enumerate(payloads, 1):
        bench.leader.update(sequence, data)
    bench.leader.mailbox.wait(IS_ACK, len(payloads))
    for _ in range(2):
        state = bench.replica.until(lambda state: state["prefix"] == len(payloads))
        assert (state["digest"], state["prefix_hash"]) == (expected_digest(payloads), prefix_hash(payloads))
        bench.replica.kill()
        bench.replica.start()
