"""Section 10 of the contract: each check here passes on a correct replica and fails on one with the seeded bug."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from lab.containers import wire_pb2 as wire
from lab.core.changelog_state import update_payload
from tests.conformance.benches import Workshop, expected_digest, payload, prefix_hash
from tests.conformance.replicas import MS
from tests.conformance.test_acceptance import write
from tests.conformance.test_breaker import half_opens
from tests.conformance.test_follower import applies_in_order
from tests.conformance.test_process import fill_queue
from tests.conformance.test_reconciliation import survives_an_error
from tests.conformance.test_replication import backs_off, stays_in_budget
from tests.conformance.test_snapshots import snapshots_are_whole, wide_numbers_survive
from tests.conformance.wires import is_update, of_kind

pytestmark = pytest.mark.replicas
IS_ACK = of_kind(wire.KIND_UPDATE_ACK)
IS_WRITE_ACK = of_kind(wire.KIND_WRITE_ACK)
ROUNDS = 10
BURST = 400


def followers_acknowledgements_survive_kill_9(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """What a follower acknowledged before kill -9 is there afterwards. Large entries make each commit take a while."""
    bench = workshop.follower(runtime, arguments=arguments, queue={"limit": 60_000})
    reached = 0
    for round_number in range(1, ROUNDS + 1):
        for sequence in range(reached + 1, reached + BURST + 1):
            bench.leader.update(sequence, update_payload(f"k{sequence % 10}", bytes(8192), sequence))
        bench.leader.mailbox.wait(lambda ack, after=reached: IS_ACK(ack) and ack.sequence > after, BURST // 4)
        bench.replica.kill()
        answered = max(ack.sequence for ack in bench.leader.mailbox.all(IS_ACK))
        reached = bench.replica.start().state()["prefix"]
        assert reached >= answered, f"{answered - reached} acknowledged updates are lost"
        bench.leader.linked(round_number + 1)


def leaders_acknowledgements_survive_kill_9(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """What a leader acknowledged to a client before kill -9 is there afterwards."""
    bench = workshop.leader(runtime, arguments=arguments, mode="async", queue={"limit": 60_000})
    for round_number in range(ROUNDS):
        client = bench.replica.client()
        for number in range(BURST):
            client.write(f"{round_number}-{number}", update_payload(f"k{number % 10}", bytes(8192), number))
        client.mailbox.wait(IS_WRITE_ACK, BURST // 4)
        bench.replica.kill()
        answered = max(ack.sequence for ack in client.mailbox.all(IS_WRITE_ACK))
        reached = bench.replica.start().state()["last_sequence"]
        assert reached >= answered, f"{answered - reached} acknowledged writes are lost"


def stores_a_token_once(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """A client that repeats a write gets one effect."""
    bench = workshop.leader(runtime, arguments=arguments, mode="async")
    client = bench.replica.client()
    for _ in range(3):
        client.write("t1", payload(1))
    answers = client.mailbox.wait(IS_WRITE_ACK, 3)
    assert {answer.sequence for answer in answers} == {1}
    assert bench.replica.state()["last_sequence"] == 1


def ends_in_the_state_of_the_log(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """Updates of one key that come in any order end in the state of the highest."""
    bench = workshop.follower(runtime, arguments=arguments)
    for sequence in (2, 1, 4, 3):
        bench.leader.update(sequence, payload(sequence, key="one"))
        bench.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK, sequence=sequence))
    state = bench.replica.until(lambda state: state["prefix"] == 4)
    assert state["digest"] == expected_digest([payload(number, key="one") for number in (1, 2, 3, 4)])


def forwards_bytes_as_they_came(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """A field of a newer schema reaches the followers."""
    bench = workshop.leader(runtime, arguments=arguments, mode="async")
    newer = update_payload("k", b"v", 1) + b"\x9a\x3e\x02hi"
    bench.replica.client().write("t1", newer)
    for follower in bench.followers:
        assert follower.mailbox.wait(is_update)[0].payload == newer


def bounds_its_queues(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """A peer that does not read costs so much memory and no more."""
    policy = {"attempts": 1, "timeout_ns": 60_000 * MS}
    bench = workshop.leader(
        runtime, arguments=arguments, mode="async", reads=False, queue={"limit": 20_000}, policy=policy
    )
    fill_queue(bench.replica.client(), writes=6000)
    counters = bench.replica.counted("transmissions", 12_000, within_s=30)["counters"]
    assert counters["send_queue_full"] > 1000


def connects_again(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """A link that was lost comes back, and attempts with it."""
    bench = workshop.leader(runtime, arguments=arguments, mode="async")
    bench.f1.hang_up()
    bench.f1.listen()
    bench.f1.linked(2, within_s=1.5)
    write(bench.replica.client(), 1)
    bench.f1.mailbox.wait(is_update)


def the_last_write_wins(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """What a key holds is decided by the order of the changelog, whatever the clock says."""
    bench = workshop.leader(runtime, arguments=arguments, mode="async")
    client = bench.replica.client()
    client.write("t1", payload(1, key="one"))
    client.acknowledged("t1")
    bench.replica.post("/faults", {"clock_offset_ns": -1000 * MS})
    client.write("t2", payload(2, key="one"))
    client.acknowledged("t2")
    assert bench.replica.state()["digest"] == expected_digest([payload(number, key="one") for number in (1, 2)])


def the_last_write_wins_on_a_follower(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """A follower agrees with its leader, however the leader's clock goes."""
    leader, follower = workshop.group(runtime, runtime, mode="sync", arguments={"f1": arguments})
    client = leader.client()
    for number, offset_ns in enumerate((0, -1000 * MS), 1):
        leader.post("/faults", {"clock_offset_ns": offset_ns})
        client.write(f"t{number}", payload(number, key="one"))
        client.acknowledged(f"t{number}")
    assert follower.state()["digest"] == leader.state()["digest"]


def merges_a_duplicate_once(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """A copy of an update changes neither the prefix nor its hash."""
    bench = workshop.follower(runtime, arguments=arguments)
    for number, sequence in enumerate((1, 2, 2), 1):
        bench.leader.update(sequence, payload(sequence))
        bench.leader.mailbox.wait(IS_ACK, number)
    state = bench.replica.state()
    assert (state["prefix"], state["prefix_hash"]) == (2, prefix_hash([payload(1), payload(2)]))


def remembers_a_token(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """A client that repeats a write much later gets the same effect."""
    bench = workshop.leader(runtime, arguments=arguments, mode="async")
    client = bench.replica.client()
    for number in range(2):
        client.write("t1", payload(1))
        assert {answer.sequence for answer in client.mailbox.wait(IS_WRITE_ACK, number + 1)} == {1}
        time.sleep(0.35)


Check = Callable[..., None]
CHECKS: list[tuple[str, Check]] = [
    ("B1", followers_acknowledgements_survive_kill_9),
    ("B1", leaders_acknowledgements_survive_kill_9),
    ("B2", stores_a_token_once),
    ("B3", applies_in_order),
    ("B3", ends_in_the_state_of_the_log),
    ("B4", the_last_write_wins),
    ("B4", the_last_write_wins_on_a_follower),
    ("B5", merges_a_duplicate_once),
    ("B6", remembers_a_token),
    ("B9", backs_off),
    ("B9", stays_in_budget),
    ("B12", survives_an_error),
    ("B13", snapshots_are_whole),
    ("B15", forwards_bytes_as_they_came),
    ("B16", wide_numbers_survive),
    ("B17", bounds_its_queues),
    ("B18", half_opens),
    ("B19", connects_again),
]
NAMES = [f"{bug}-{check.__name__}" for bug, check in CHECKS]


@pytest.mark.parametrize(("bug", "check"), CHECKS, ids=NAMES)
def test_a_correct_replica_passes(bug: str, check: Check, runtime: str, workshop: Workshop) -> None:
    check(workshop, runtime)


@pytest.mark.parametrize(("bug", "check"), CHECKS, ids=NAMES)
def test_a_seeded_replica_is_caught(bug: str, check: Check, runtime: str, workshop: Workshop) -> None:
    with pytest.raises(AssertionError):
        check(workshop, runtime, "--seeded-bug", bug)


@pytest.mark.parametrize("bug", sorted({bug for bug, _ in CHECKS}))
def test_a_seeded_bug_is_told(bug: str, runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, arguments=("--seeded-bug", bug), log_level="error")
    told = json.loads(bench.replica.request("GET", "/healthz")[1])
    assert told["seeded_bug"] == bug
    (line,) = map(json.loads, bench.replica.log().splitlines())
    assert (line["level"].lower(), line["seeded_bug"], line["replica"]) == ("warn", bug, "leader")
    assert {"time", "message"} <= set(line)


@pytest.mark.parametrize("name", ["B99", "", "b1"])
def test_an_unknown_bug_exits_2(name: str, runtime: str, workshop: Workshop) -> None:
    replica = workshop.leader(runtime, start=False).replica
    replica.arguments = ("--seeded-bug", name)
    assert replica.launch().wait(5) == 2
    assert replica.events() == []


def test_no_settings_key_seeds_a_bug(runtime: str, workshop: Workshop) -> None:
    for key in ("bug", "seeded_bug", "seeded-bug"):
        replica = workshop.leader(runtime, start=False, **{key: "B2"}).replica
        assert replica.launch().wait(5) == 2
