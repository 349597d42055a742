"""Section 3 of the contract, the leader: what it makes of followers' digests."""

from __future__ import annotations

import pytest

from lab.containers import wire_pb2 as wire
from tests.conformance.benches import LeaderBench, Workshop, payload, prefix_hash
from tests.conformance.replicas import MS
from tests.conformance.test_acceptance import accepted, tokens, write
from tests.conformance.wires import is_repair, is_update

pytestmark = pytest.mark.replicas
ONE_ATTEMPT = {"attempts": 1, "timeout_ns": 30 * MS}


def hash_of(count: int) -> int:
    return prefix_hash([payload(number) for number in range(1, count + 1)])


def exhausted(workshop: Workshop, runtime: str, count: int, *arguments: str, **changes: object) -> LeaderBench:
    """Return a leader with `count` writes that no follower answered and that it has given up."""
    bench = workshop.leader(runtime, arguments=arguments, policy=ONE_ATTEMPT, **changes)
    write(bench.replica.client(), count)
    bench.replica.counted("exhausted", 2 * count)
    return bench


def test_a_digest_is_answered_with_what_is_missing_in_order(runtime: str, workshop: Workshop) -> None:
    bench = exhausted(workshop, runtime, 6)
    bench.f1.acknowledge(4)
    bench.f1.digest(2, hash_of(2), 1)
    repairs = bench.f1.mailbox.wait(is_repair, 3)
    assert [repair.sequence for repair in repairs] == [3, 5, 6]
    assert [repair.payload for repair in repairs] == [payload(number) for number in (3, 5, 6)]
    counters = bench.replica.counters()
    assert (counters["repairs"], counters["transmissions"]) == (3, 15)
    assert bench.f2.mailbox.all(is_repair) == []


def test_repairs_come_in_batches_and_have_no_timeout(runtime: str, workshop: Workshop) -> None:
    bench = exhausted(workshop, runtime, 10, reconcile_batch=4)
    bench.f1.digest(0, 0, 1)
    assert [repair.sequence for repair in bench.f1.mailbox.wait(is_repair, 4)] == [1, 2, 3, 4]
    bench.f1.digest(4, hash_of(4), 1)
    assert [repair.sequence for repair in bench.f1.mailbox.wait(is_repair, 8)[4:]] == [5, 6, 7, 8]
    state = bench.replica.state()
    assert (state["outstanding"], state["counters"]["repairs"], state["counters"]["retries"]) == (0, 8, 0)


def test_what_is_younger_than_the_timeout_is_not_repaired(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", policy={"timeout_ns": 60_000 * MS})
    write(bench.replica.client(), 2)
    accepted(bench, 2)
    bench.f1.digest(0, 0, 1)
    bench.f1.digest(0, 1, 1)
    assert bench.replica.counted("digest_mismatch", 1)["counters"]["repairs"] == 0


@pytest.mark.parametrize(("prefix", "wrong"), [(3, 0), (2, 1), (0, 7)])
def test_a_digest_that_contradicts_the_log_is_counted_and_not_believed(
    prefix: int, wrong: int, runtime: str, workshop: Workshop
) -> None:
    bench = exhausted(workshop, runtime, 2, mode="sync")
    bench.f1.digest(prefix, hash_of(min(prefix, 2)) ^ wrong, 1)
    state = bench.replica.counted("digest_mismatch", 1)
    assert (state["counters"]["repairs"], state["counters"]["malformed"]) == (0, 0)
    assert "digest" in bench.replica.log(), "it is logged"


def test_a_digest_acknowledges_its_prefix(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="sync", policy={"timeout_ns": 60_000 * MS})
    client = bench.replica.client()
    write(client, 3)
    accepted(bench, 3)
    bench.f1.acknowledge(1, 2, 3)
    bench.f2.digest(2, hash_of(2), 1)
    client.acknowledged("t2")
    assert tokens(client) == ["t1", "t2"]
    assert bench.replica.state()["outstanding"] == 1


def test_a_follower_that_lost_state_is_believed(runtime: str, workshop: Workshop) -> None:
    bench = exhausted(workshop, runtime, 3)
    bench.f1.digest(3, hash_of(3), 5)
    bench.f1.digest(1, hash_of(1), 6)
    assert [repair.sequence for repair in bench.f1.mailbox.wait(is_repair, 2)] == [2, 3]


def test_without_a_new_incarnation_nothing_is_forgotten(runtime: str, workshop: Workshop) -> None:
    bench = exhausted(workshop, runtime, 3)
    bench.f1.digest(3, hash_of(3), 5)
    bench.f1.digest(1, hash_of(1), 5)
    bench.f1.digest(0, 1, 5)
    assert bench.replica.counted("digest_mismatch", 1)["counters"]["repairs"] == 0


def test_a_digest_of_an_older_incarnation_is_ignored(runtime: str, workshop: Workshop) -> None:
    bench = exhausted(workshop, runtime, 3)
    bench.f1.digest(2, hash_of(2), 6)
    bench.f1.mailbox.wait(is_repair)
    bench.f1.digest(0, 0, 5)
    bench.f1.digest(0, 1, 5)
    bench.f1.digest(0, 1, 6)
    counters = bench.replica.counted("digest_mismatch", 1)["counters"]
    assert (counters["repairs"], counters["digest_mismatch"]) == (1, 1)


def test_reconciliation_goes_on_after_an_error(runtime: str, workshop: Workshop) -> None:
    survives_an_error(workshop, runtime)


def survives_an_error(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """A digest that makes no sense is followed by one that does, and that one is answered."""
    bench = exhausted(workshop, runtime, 2, *arguments)
    bench.f1.digest(9, 12345, 1)
    bench.replica.counted("digest_mismatch", 1)
    bench.f1.digest(0, 0, 1)
    assert [repair.sequence for repair in bench.f1.mailbox.wait(is_repair, 2, within_s=2)] == [1, 2]


def test_a_follower_may_answer_a_repair_like_an_update(runtime: str, workshop: Workshop) -> None:
    bench = exhausted(workshop, runtime, 1, mode="sync")
    bench.f1.digest(0, 0, 1)
    bench.f1.mailbox.wait(is_repair)
    bench.f1.say(wire.KIND_UPDATE_ACK, sequence=1)
    bench.f2.acknowledge(1)
    bench.replica.until(lambda _: bench.replica.events("released"))
    assert len(bench.f2.mailbox.all(is_update)) == 1
