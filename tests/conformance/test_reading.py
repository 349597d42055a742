"""Section 12 of the contract: the read model, how old it is known to be, and the bound on that."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from lab.containers import wire_pb2 as wire
from tests.conformance.benches import Workshop, payload
from tests.conformance.replicas import MS, Replica
from tests.conformance.test_acceptance import write
from tests.conformance.test_cluster import IS_ACK
from tests.conformance.wires import is_repair, is_update, of_kind

pytestmark = pytest.mark.replicas
IS_PROGRESS = of_kind(wire.KIND_PROGRESS)
SECOND_NS = 1000 * MS


def read(replica: Replica, key: str, bound_ns: int | None = None) -> tuple[int, dict[str, Any]]:
    """Return status and answer of a read."""
    bound = "" if bound_ns is None else f"&max_staleness_ns={bound_ns}"
    status, body = replica.request("GET", f"/read?key={key.encode().hex()}{bound}")
    return status, json.loads(body)


def test_a_leader_reads_what_it_has_now(runtime: str, workshop: Workshop) -> None:
    replica = workshop.leader(runtime, mode="async").replica
    client = replica.client()
    client.write("t1", payload(1, key="ключ"))
    client.write("t2", payload(2, key="ключ"))
    client.acknowledged("t2")
    before_ns = time.monotonic_ns()
    status, answer = read(replica, "ключ", 0)
    as_of_ns = answer.pop("as_of_ns")
    assert before_ns <= as_of_ns <= time.monotonic_ns()
    assert (status, answer) == (
        200,
        {
            "key": "ключ".encode().hex(),
            "found": True,
            "sequence": 2,
            "payload": payload(2, key="ключ").hex(),
            "staleness_ns": 0,
            "prefix": 2,
        },
    )
    status, answer = read(replica, "nothing")
    assert (status, answer["found"], answer["sequence"], answer["payload"]) == (200, False, 0, "")
    client.write("t3", b"\x12\x01v")
    client.acknowledged("t3")
    assert read(replica, "")[1]["payload"] == "120176", "the empty key is a key"
    counters = replica.counters()
    assert (counters["reads"], counters["stale_reads"]) == (3, 0)


@pytest.mark.parametrize(
    "query", ["", "?key=6", "?key=zz", "?key=ff", "?key=61&max_staleness_ns=-1", "?key=61&max_staleness_ns=x"]
)
def test_a_bad_read_is_refused(query: str, runtime: str, workshop: Workshop) -> None:
    replica = workshop.follower(runtime).replica
    status, body = replica.request("GET", f"/read{query}")
    assert (status, bool(json.loads(body)["error"])) == (400, True)
    counters = replica.counters()
    assert (counters["reads"], counters["stale_reads"]) == (0, 0)


def test_a_follower_that_knows_nothing_is_as_old_as_the_clock(runtime: str, workshop: Workshop) -> None:
    replica = workshop.follower(runtime).replica
    before_ns = time.monotonic_ns()
    status, answer = read(replica, "k1")
    assert (status, answer["as_of_ns"], answer["found"]) == (200, 0, False)
    assert before_ns <= answer["staleness_ns"] <= time.monotonic_ns()
    assert replica.metric("driftlab_staleness_seconds") >= before_ns // SECOND_NS
    status, refused = read(replica, "k1", SECOND_NS)
    assert (status, refused["error"]) == (503, "stale")
    assert refused["staleness_ns"] > answer["staleness_ns"]
    counters = replica.counters()
    assert (counters["reads"], counters["stale_reads"]) == (1, 1)


def test_entries_and_progress_tell_a_follower_how_far_it_is(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    start_ns = time.monotonic_ns()
    clock = [start_ns + number for number in range(10)]

    def as_of() -> int:
        return int(read(bench.replica, "k")[1]["as_of_ns"])

    def told(sequence: int, clock_ns: int) -> None:
        bench.leader.say(wire.KIND_PROGRESS, sequence=sequence, clock_ns=clock_ns)
        # Frames of one connection are handled in order: the answer to a duplicate says that the news was read.
        answers = len(bench.leader.mailbox.all(of_kind(wire.KIND_UPDATE_ACK, sequence=1)))
        bench.leader.update(1, payload(1, key="k"))
        bench.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK, sequence=1), answers + 1)

    def stored(sequence: int, clock_ns: int = 0) -> None:
        bench.leader.update(sequence, payload(sequence, key="k"), clock_ns=clock_ns)
        bench.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK, sequence=sequence))

    stored(1, clock[0])
    assert as_of() == clock[0]
    told(1, clock[1])
    assert as_of() == clock[1]
    told(4, clock[5])
    assert as_of() == clock[1], "it says nothing before everything up to it is applied"
    stored(3, clock[3])
    assert as_of() == clock[1], "nothing counts behind a gap"
    stored(2)
    assert as_of() == clock[3], "an entry that does not say its time tells nothing, one that was waiting does"
    stored(4)
    assert as_of() == clock[5]
    told(4, clock[2])
    assert as_of() == clock[5], "old news"
    bench.leader.update(5, payload(5, key="k"), kind=wire.KIND_REPAIR, clock_ns=clock[7])
    bench.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK, sequence=5))
    assert as_of() == clock[7]
    bench.leader.update(2, payload(2, key="k"), clock_ns=clock[9])
    bench.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK, sequence=2), 2)
    assert as_of() == clock[9], "a copy tells as much as the first"


def test_news_of_strangers_is_malformed(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    stranger = workshop.stand_in("f2", workshop.port(), bench.replica.peer_port)
    stranger.say(wire.KIND_PROGRESS, sequence=0, clock_ns=time.monotonic_ns())
    bench.replica.counted("malformed", 1)
    assert read(bench.replica, "k")[1]["as_of_ns"] == 0
    leader = workshop.leader(runtime)
    leader.f1.say(wire.KIND_PROGRESS, sequence=0, clock_ns=time.monotonic_ns())
    leader.replica.counted("malformed", 1)


def test_a_leader_tells_its_progress(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", progress_every_ns=30 * MS, policy={"attempts": 1})
    client = bench.replica.client()
    write(client, 3)
    client.acknowledged("t3")
    asked_ns = time.monotonic_ns()
    for follower in bench.followers:
        seen = follower.mailbox.wait(lambda frame: IS_PROGRESS(frame) and frame.clock_ns > asked_ns, 2)
        assert {frame.sequence for frame in seen} == {3}
        assert {frame.source for frame in seen} == {"leader"}
        assert seen[1].clock_ns > seen[0].clock_ns
        frames = follower.mailbox.timed(IS_PROGRESS)
        assert all(frame.clock_ns <= arrived_ns for arrived_ns, frame in frames)
        for update in follower.mailbox.all(is_update):
            assert update.clock_ns == update.timestamp_ns > 0
    assert bench.replica.counters()["transmissions"] == 6


def test_a_leader_tells_no_progress_by_default(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async")
    write(bench.replica.client(), 1)
    bench.f1.mailbox.wait(is_update)
    time.sleep(0.1)
    assert bench.f1.mailbox.all(IS_PROGRESS) == []


def test_after_a_restart_the_leader_does_not_know_when_entries_came(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", policy={"attempts": 1})
    client = bench.replica.client()
    write(client, 2)
    client.acknowledged("t2")
    bench.replica.kill()
    bench.replica.start()
    bench.linked(2)
    bench.f1.digest(0, 0, 1)
    assert {repair.clock_ns for repair in bench.f1.mailbox.wait(is_repair, 2)} == {0}


@pytest.mark.parametrize("runtimes", [("go", "rust"), ("rust", "go"), ("go", "go"), ("rust", "rust")], ids="-".join)
def test_the_bound_on_staleness_holds(runtimes: tuple[str, str], workshop: Workshop) -> None:
    leader, follower = workshop.group(*runtimes, mode="sync", progress_every_ns=10 * MS)
    client = leader.client()
    write(client, 5)
    client.mailbox.wait(IS_ACK, 5)
    follower.until(lambda _: read(follower, "k5", SECOND_NS)[0] == 200)
    status, answer = read(follower, "k5", 5 * SECOND_NS)
    assert (status, answer["payload"], answer["prefix"]) == (200, payload(5).hex(), 5)
    assert answer["staleness_ns"] < SECOND_NS * 5
    leader.kill()
    killed_ns = time.monotonic_ns()
    time.sleep(0.1)
    status, refused = read(follower, "k5", 50 * MS)
    assert (status, refused["error"]) == (503, "stale")
    _, answer = read(follower, "k5")
    assert answer["as_of_ns"] <= killed_ns
    assert answer["staleness_ns"] >= 100 * MS
