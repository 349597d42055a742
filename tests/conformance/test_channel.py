"""Section 2 of the contract: the oneshot wire, frames that are cut, and the limits of a channel."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest

from lab.containers import wire_pb2 as wire
from lab.containers.frames import SCHEMA_VERSION, encode
from lab.core import draws
from tests.conformance.benches import LeaderBench, Workshop, payload
from tests.conformance.replicas import MS
from tests.conformance.test_acceptance import write
from tests.conformance.test_cluster import IS_ACK, converged
from tests.conformance.test_process import fill_queue
from tests.conformance.wires import Connection, is_update, of_kind

pytestmark = pytest.mark.replicas
PATIENT = {"attempts": 1, "timeout_ns": 60_000 * MS}
DUPLICATE_WORD = 0x6475706C
FRAME_BYTES = 8300  # of a write that `fill_queue` makes, roughly


def test_every_frame_has_its_own_connection(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", wire="oneshot", policy=PATIENT)
    bench.linked(8)
    client = bench.replica.client()
    for number in range(1, 31):
        write(client, 1, first=number)
        bench.f1.mailbox.wait(is_update, number)
        bench.f2.mailbox.wait(is_update, number)
    bench.linked(38)
    counters = bench.replica.counters()
    assert (counters["unsent"], counters["transmissions"], counters["duplicated"]) == (0, 60, 0)
    for follower in bench.followers:
        assert follower.carried == [1] * 30
        assert follower.connections == 38, "as many as were used, and a pool of eight"


def test_answers_have_their_own_connections_too(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime, wire="oneshot", pool=2)
    for sequence in range(1, 6):
        bench.leader.update(sequence, payload(sequence))
        bench.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK, sequence=sequence))
    bench.leader.linked(7)
    assert bench.leader.carried == [1] * 5


def test_an_empty_pool_counts_unsent_and_fills_again(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", wire="oneshot", pool=3, policy=PATIENT)
    bench.linked(3)
    bench.f1.hang_up()
    time.sleep(0.1)
    client = bench.replica.client()
    for number in range(1, 6):
        write(client, 1, first=number)
        bench.f2.mailbox.wait(is_update, number)
    assert bench.replica.counters()["unsent"] == 5
    bench.f1.listen()
    bench.f1.linked(6)
    client.write("after", payload(1))
    bench.f1.mailbox.wait(of_kind(wire.KIND_UPDATE, idempotency_token="after"))
    assert len(bench.f1.mailbox.all(is_update)) == 1, "nothing waits for a connection"


def test_a_connection_that_is_closed_in_the_pool_is_replaced(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", wire="oneshot", pool=4, policy=PATIENT)
    bench.linked(4)
    bench.f1.drop_connections()
    bench.f1.linked(8)
    write(bench.replica.client(), 3)
    bench.f1.mailbox.wait(is_update, 3)
    assert bench.replica.counters()["unsent"] == 0


def test_the_share_that_is_asked_for_is_written_twice(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", wire="oneshot", pool=64, policy=PATIENT)
    bench.linked(64)
    share = 300_000
    answer = bench.replica.post("/links", {"f1": {"duplicate_ppm": share}})
    assert answer == {"f1": {"duplicate_ppm": share}, "f2": {"duplicate_ppm": 0}}
    assert bench.replica.post("/links", {}) == answer
    client = bench.replica.client()
    write(client, 40)
    key = draws.mix(draws.mix(bench.replica.settings["seed"], DUPLICATE_WORD), 1)
    twice = {number for number in range(1, 41) if draws.below(draws.mix(key, number), share)}
    assert 5 < len(twice) < 20
    bench.replica.counted("duplicated", len(twice))
    times = Counter(update.sequence for update in bench.f1.mailbox.wait(is_update, 40 + len(twice)))
    assert times == {number: 2 if number in twice else 1 for number in range(1, 41)}
    assert len(bench.f2.mailbox.wait(is_update, 40)) == 40
    counters = bench.replica.counters()
    assert (counters["duplicated"], counters["transmissions"], counters["unsent"]) == (len(twice), 80, 0)


@pytest.mark.parametrize(
    ("wire_name", "body"),
    [
        ("framed", {"f1": {"duplicate_ppm": 1}}),
        ("oneshot", {"f1": {"duplicate_ppm": 5}, "f3": {"duplicate_ppm": 1}}),
        ("oneshot", {"leader": {"duplicate_ppm": 1}}),
        ("oneshot", {"f1": {"duplicate_ppm": 1_000_001}}),
        ("oneshot", {"f1": {"duplicate_ppm": -1}}),
        ("oneshot", {"f1": {"duplicate_ppm": 0.5}}),
        ("oneshot", {"f1": {"duplicate_ppm": None}}),
        ("oneshot", {"f1": {"duplicate": 1}}),
        ("oneshot", ["f1"]),
    ],
)
def test_shares_that_are_none_are_refused(wire_name: str, body: object, runtime: str, workshop: Workshop) -> None:
    replica = workshop.leader(runtime, wire=wire_name).replica
    status, answer = replica.request("POST", "/links", json.dumps(body))
    assert (status, bool(json.loads(answer)["error"])) == (400, True)
    if wire_name == "oneshot":
        assert replica.post("/links", {}) == {name: {"duplicate_ppm": 0} for name in ("f1", "f2")}


@pytest.mark.parametrize(
    ("runtimes", "only"),
    [
        (("go", "rust", "go"), {}),
        (("rust", "go", "rust"), {}),
        (("go", "rust", "go"), {"leader": {"wire": "framed"}}),
        (("rust", "go", "go"), {"f1": {"wire": "framed"}}),
    ],
)
def test_a_group_converges_on_the_oneshot_wire(
    runtimes: tuple[str, ...], only: dict[str, dict[str, str]], workshop: Workshop
) -> None:
    group = workshop.group(*runtimes, mode="sync", wire="oneshot", pool=32, queue={"limit": 1000}, only=only)
    if "leader" not in only:
        group[0].post("/links", {name: {"duplicate_ppm": 200_000} for name in ("f1", "f2")})
    client = group[0].client()
    write(client, 100)
    client.mailbox.wait(IS_ACK, 100)
    states = converged(group, [payload(number) for number in range(1, 101)])
    assert {state["counters"]["malformed"] for state in states} == {0}
    if "leader" not in only:
        assert group[0].counters()["duplicated"] > 5
        assert group[1].counters()["duplicates"] > 0


@pytest.mark.parametrize("listener", ["peer_port", "client_port"])
@pytest.mark.parametrize("cut", [1, 3, 4, 20, -1])
def test_a_connection_that_ends_inside_a_frame_is_counted(
    cut: int, listener: str, runtime: str, workshop: Workshop
) -> None:
    replica = workshop.leader(runtime, mode="async").replica
    kind = wire.KIND_WRITE if listener == "client_port" else wire.KIND_DIGEST
    frame = encode(
        wire.Envelope(
            schema_version=SCHEMA_VERSION, kind=kind, source="f1", idempotency_token="t", payload=payload(1), attempt=1
        )
    )
    whole, partial = Connection(getattr(replica, listener)), Connection(getattr(replica, listener))
    try:
        whole.send_bytes(frame)
        partial.send_bytes(frame + frame[:cut])
        time.sleep(0.02)
    finally:
        whole.close()
        partial.close()
    counters = replica.counted("partial_frames", 1)["counters"]
    assert (counters["partial_frames"], counters["malformed"]) == (1, 0)
    if listener == "client_port":
        replica.until(lambda state: state["last_sequence"] == 1 and state["counters"]["duplicate_requests"] == 1)


def test_frames_of_many_connections_are_taken(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    links = [Connection(bench.replica.peer_port) for _ in range(20)]
    try:
        for sequence, link in enumerate(links[:-3], 1):
            link.send(
                wire.Envelope(
                    schema_version=1,
                    kind=wire.KIND_UPDATE,
                    source="leader",
                    sequence=sequence,
                    idempotency_token=f"t{sequence}",
                    payload=payload(sequence),
                )
            )
            link.close()
        state = bench.replica.until(lambda state: state["prefix"] == 17)
    finally:
        for link in links:
            link.close()
    assert (state["counters"]["partial_frames"], state["counters"]["malformed"]) == (0, 0)


def waiting_for(bench: LeaderBench, peer: str) -> tuple[float, float]:
    """Return the bytes and the frames that wait for a peer, of one moment."""
    waiting, frames = bench.replica.metrics(
        f'driftlab_queue_bytes{{peer="{peer}"}}', f'driftlab_queue_depth{{peer="{peer}"}}'
    )
    return waiting, frames


@pytest.mark.parametrize("overflow", ["defer", "reject"])
def test_memory_bounds_what_waits_for_a_peer(overflow: str, runtime: str, workshop: Workshop) -> None:
    limit = 400_000
    bench = workshop.leader(
        runtime,
        mode="async",
        reads=False,
        queue={"limit": 20_000, "overflow": overflow},
        policy=PATIENT,
        channel={"memory_bytes": limit},
    )
    client = bench.replica.client()
    fill_queue(client, writes=1)
    bench.replica.counted("transmissions", 2)  # From here on it is known how large an entry is.
    for number in range(1, 200):
        # The kernel takes some megabytes before anything waits.
        fill_queue(client, writes=100, first=100 * number)
        time.sleep(0.01)
        depths = [waiting_for(bench, peer) for peer in ("f1", "f2")]
        # How much each kernel buffer takes differs, and the first peer without room decides that writes are rejected.
        waiting, frames = max(depths)
        assert waiting <= limit
        if waiting > limit - 2 * FRAME_BYTES:
            break
    assert waiting > limit - 2 * FRAME_BYTES, depths
    assert abs(frames - waiting / FRAME_BYTES) < 5
    counters = bench.replica.counted("deferred" if overflow == "defer" else "rejected", 20)["counters"]
    if overflow == "defer":
        assert counters["send_queue_full"] == 0, "what has no room is not even tried"


def test_a_frame_over_the_memory_is_dropped_and_counted(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", policy=PATIENT, channel={"memory_bytes": 1000})
    fill_queue(bench.replica.client(), writes=3)
    counters = bench.replica.counted("send_queue_full", 6)["counters"]
    assert (counters["transmissions"], counters["rejected"], counters["unsent"]) == (6, 0, 0)
    bench.replica.client().write("small", payload(1))
    bench.f1.mailbox.wait(of_kind(wire.KIND_UPDATE, idempotency_token="small"))


@pytest.mark.parametrize("wire_name", ["framed", "oneshot"])
def test_bandwidth_bounds_how_fast_frames_leave(wire_name: str, runtime: str, workshop: Workshop) -> None:
    rate, count, bucket = 400_000, 24, 65_536
    bench = workshop.leader(
        runtime, mode="async", wire=wire_name, pool=64, policy=PATIENT, channel={"bandwidth_bytes_per_s": rate}
    )
    bench.linked(64 if wire_name == "oneshot" else 1)
    fill_queue(bench.replica.client(), writes=count)
    bench.f1.mailbox.wait(is_update, count)
    arrivals = [time_ns for time_ns, _ in bench.f1.mailbox.timed(is_update)]
    # What a full bucket does not cover has to be earned; the first frame left at some moment before it arrived.
    earned_ns = (count * 8192 - bucket) * 1_000_000_000 // rate
    assert arrivals[-1] - arrivals[0] > earned_ns * 8 // 10
    state = bench.replica.counted("throttled", 2)
    assert 2 * (count - 10) <= state["counters"]["throttled"] <= 2 * count
    assert bench.replica.metric("driftlab_enqueue_delay_seconds_sum") > 0.1
