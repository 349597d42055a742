"""Section 2 of the contract: the process, its frames and its links."""

from __future__ import annotations

import json
import time

import pytest

from lab.containers import wire_pb2 as wire
from lab.containers.frames import FRAME_MAX_BYTES, SCHEMA_VERSION, encode
from tests.conformance.benches import Workshop, payload
from tests.conformance.replicas import MS
from tests.conformance.wires import Connection, StandIn, is_update, of_kind

pytestmark = pytest.mark.replicas
UNKNOWN_KEYS = {
    "colour": {"colour": "red"},
    "retries": {"policy": {"retries": 3}},
    "size": {"queue": {"size": 3}},
    "debug": {"listen": {"debug": ":1"}},
}


@pytest.mark.parametrize("key", UNKNOWN_KEYS)
def test_an_unknown_settings_key_exits_2_with_one_line_that_names_it(
    key: str, runtime: str, workshop: Workshop
) -> None:
    replica = workshop.leader(runtime, start=False, **UNKNOWN_KEYS[key]).replica
    assert replica.launch().wait(5) == 2
    (line,) = replica.log().splitlines()
    assert key in line
    assert replica.events() == []


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("seed", {"seed": 1 << 63}),
        ("mode", {"mode": "eventual"}),
        ("schema", {"schema": 2}),
        ("index", {"index": 1}),
        ("limit", {"queue": {"limit": 0}}),
        ("timeout_ns", {"policy": {"timeout_ns": 0}}),
    ],
)
def test_a_wrong_value_exits_2(key: str, changes: dict[str, object], runtime: str, workshop: Workshop) -> None:
    replica = workshop.leader(runtime, start=False, **changes).replica
    assert replica.launch().wait(5) == 2
    assert key in replica.log() or str(changes[key]) in replica.log()


def test_a_missing_key_exits_2(runtime: str, workshop: Workshop) -> None:
    replica = workshop.leader(runtime, start=False).replica
    del replica.settings["policy"]["cap_ns"]
    assert replica.launch().wait(5) == 2
    assert "cap_ns" in replica.log()


def test_sigterm_under_load_exits_0_within_2_s_with_every_event_written(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", queue={"limit": 5000})
    client = bench.replica.client()
    for number in range(1000):
        client.write(f"t{number}", payload(number))
    client.acknowledged("t10")
    code, seconds = bench.replica.terminate()
    assert (code, seconds < 2) == (0, True)
    answered = {envelope.idempotency_token for envelope in client.mailbox.all(of_kind(wire.KIND_WRITE_ACK))}
    assert len(answered) > 10
    assert answered <= {event["token"] for event in bench.replica.events("released")}
    restarted = bench.replica.start().state()
    assert restarted["last_sequence"] >= len(answered)


def test_sigterm_with_nothing_to_do_exits_0(runtime: str, workshop: Workshop) -> None:
    code, seconds = workshop.follower(runtime).replica.terminate()
    assert (code, seconds < 2) == (0, True)


def test_frames_split_anywhere_are_put_together(runtime: str, workshop: Workshop) -> None:
    client = workshop.leader(runtime, mode="async").replica.client()
    frames = b"".join(
        encode(
            wire.Envelope(
                schema_version=SCHEMA_VERSION,
                kind=wire.KIND_WRITE,
                idempotency_token=f"t{number}",
                payload=payload(number),
            )
        )
        for number in range(3)
    )
    for at in range(0, len(frames), 7):
        client.send_bytes(frames[at : at + 7])
        time.sleep(0.0005)
    assert [client.acknowledged(f"t{number}").sequence for number in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("listener", ["peer_port", "client_port"])
def test_a_frame_over_the_limit_closes_its_connection_alone(listener: str, runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async")
    healthy = bench.replica.client()
    stranger = StandIn("nobody", workshop.port(), getattr(bench.replica, listener))
    try:
        stranger.outgoing.send_bytes((FRAME_MAX_BYTES + 1).to_bytes(4, "big"))
        assert stranger.outgoing_ended(5), "the connection stays open"
    finally:
        stranger.close()
    assert bench.replica.counted("malformed", 1)["counters"]["malformed"] == 1
    healthy.write("t1", payload(1))
    assert healthy.acknowledged("t1").sequence == 1


MALFORMED = {
    "a body that is no envelope": b"\0\0\0\x03\xff\xff\xff",
    "an empty body": b"\0\0\0\0",
    "a kind that is none": encode(wire.Envelope(schema_version=1, idempotency_token="t")),
    "a kind for somebody else": encode(wire.Envelope(schema_version=1, kind=wire.KIND_DIGEST, source="f1")),
    "a write without a token": encode(wire.Envelope(schema_version=1, kind=wire.KIND_WRITE, payload=payload(1))),
    "a payload that is no update": encode(
        wire.Envelope(schema_version=1, kind=wire.KIND_WRITE, idempotency_token="t", payload=b"\x0a\xff")
    ),
    "a key that is not UTF-8": encode(
        wire.Envelope(schema_version=1, kind=wire.KIND_WRITE, idempotency_token="t", payload=b"\x0a\x02\xff\xfe")
    ),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_frame_is_counted_and_the_next_one_read(what: str, runtime: str, workshop: Workshop) -> None:
    replica = workshop.leader(runtime, mode="async").replica
    client = replica.client()
    client.send_bytes(MALFORMED[what])
    client.write("t1", payload(1))
    assert client.acknowledged("t1").sequence == 1
    state = replica.state()
    assert (state["counters"]["malformed"], state["last_sequence"]) == (1, 1)
    assert len(replica.events("accepted")) == 1


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_peer_frame_from_a_stranger_is_malformed(role: str, runtime: str, workshop: Workshop) -> None:
    replica = getattr(workshop, role)(runtime).replica
    stranger = workshop.stand_in("stranger", workshop.port(), replica.peer_port)
    stranger.update(1, payload(1))
    stranger.acknowledge(1)
    stranger.digest(0, 0, 1)
    state = replica.counted("malformed", 3)
    assert state["last_sequence"] == 0


def test_answers_travel_on_the_replicas_own_connection(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    bench.leader.update(1, payload(1))
    bench.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK, sequence=1))
    assert bench.leader.outgoing.mailbox.arrived == []
    assert bench.leader.connections == 1, "one long-lived connection"


def test_a_frame_without_a_connection_is_counted_unsent_and_the_link_comes_back(
    runtime: str, workshop: Workshop
) -> None:
    bench = workshop.leader(runtime, mode="async", policy={"attempts": 1})
    client = bench.replica.client()
    bench.f1.hang_up()
    sent = 0
    while bench.replica.counters()["unsent"] == 0:
        # A replica learns of a closed link a moment after it happened; a frame written until then is lost, too.
        sent += 1
        assert sent < 100
        client.write(f"before{sent}", payload(sent))
        client.acknowledged(f"before{sent}")
    bench.f1.listen()
    bench.f1.linked(2)
    before = bench.replica.counters()["unsent"]
    client.write("after", payload(1))
    bench.f1.mailbox.wait(of_kind(wire.KIND_UPDATE, idempotency_token="after"))
    assert bench.replica.counters()["unsent"] == before, "nothing is dropped once the link is back"
    assert len(bench.f1.mailbox.all(is_update)) < sent + 1, "a dropped frame does not come later"
    assert len(bench.f2.mailbox.wait(is_update, sent + 1)) == sent + 1, "the other link is not concerned"


def test_a_link_is_tried_again_every_20_ms(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime)
    waits = []
    for connections in (2, 3, 4):  # the quickest counts: a busy machine may hold up one
        bench.f1.hang_up()
        time.sleep(0.2)
        bench.f1.listen()
        begun = time.monotonic()
        bench.f1.linked(connections)
        waits.append(time.monotonic() - begun)
    assert min(waits) < 0.5


def test_a_peer_that_never_reads_fills_a_bounded_queue(runtime: str, workshop: Workshop) -> None:
    """Frames of 64 KiB fill the kernel's buffers soon; 4,096 frames wait; what comes then is dropped and counted."""
    bench = workshop.leader(
        runtime, mode="async", reads=False, queue={"limit": 20_000}, policy={"attempts": 1, "timeout_ns": 60_000 * MS}
    )
    fill_queue(bench.replica.client(), writes=6000)
    counters = bench.replica.counted("transmissions", 12_000, within_s=30)["counters"]
    assert counters["send_queue_full"] > 2 * 500
    assert counters["unsent"] == 0


def fill_queue(client: Connection, writes: int, first: int = 0) -> None:
    """Send writes of 8 KiB without waiting for answers."""
    value = b"x" * 8192
    for number in range(first, first + writes):
        client.write(f"t{number}", b"\x0a\x01k\x12\x80\x40" + value)


def test_logs_are_json_on_stderr_and_name_the_replica(runtime: str, workshop: Workshop) -> None:
    replica = workshop.leader(runtime).replica
    replica.client().send_bytes(MALFORMED["a body that is no envelope"] + MALFORMED["a payload that is no update"])
    replica.counted("malformed", 2)
    replica.terminate()
    lines = [json.loads(line) for line in replica.log().splitlines()]
    assert lines
    for line in lines:
        assert {"level", "time", "replica", "message"} <= set(line)
        assert line["replica"] == "leader" and line["level"].lower() == "warn"
