"""Section 13 of the contract: a wrong clock, a slow node, a slow disk."""

from __future__ import annotations

import itertools
import json
import time

import pytest

from lab.containers import wire_pb2 as wire
from tests.conformance.benches import Workshop, payload
from tests.conformance.replicas import MS
from tests.conformance.test_acceptance import write
from tests.conformance.wires import is_update, of_kind

pytestmark = pytest.mark.replicas
NONE = {"clock_offset_ns": 0, "clock_drift_ppm": 0, "service_ns": 0, "fsync_ns": 0}
HOUR_NS = 3600 * 1000 * MS
IS_ACK = of_kind(wire.KIND_UPDATE_ACK)


def test_faults_are_set_one_by_one(runtime: str, workshop: Workshop) -> None:
    replica = workshop.follower(runtime).replica
    assert replica.state()["faults"] == NONE
    expected = dict(NONE)
    for changes in (
        {"clock_offset_ns": -HOUR_NS, "fsync_ns": 7},
        {"clock_drift_ppm": 100_000},
        {},
        {"service_ns": 10_000 * MS, "clock_offset_ns": HOUR_NS},
        NONE,
    ):
        expected |= changes
        assert replica.post("/faults", changes) == expected
        assert replica.state()["faults"] == expected


@pytest.mark.parametrize(
    "body",
    [
        '{"clock_offset_ns": 3600000000001}',
        '{"clock_offset_ns": -3600000000001}',
        '{"clock_drift_ppm": 100001}',
        '{"clock_drift_ppm": -100001}',
        '{"service_ns": -1}',
        '{"fsync_ns": 10000000001}',
        '{"fsync_ns": 1.5}',
        '{"fsync_ns": "1"}',
        '{"fsync_ns": null}',
        '{"fsync_ns": true}',
        '{"fsync_ns": 1, "disk_ns": 1}',
        "[]",
        "nonsense",
    ],
)
def test_faults_that_are_none_are_refused(body: str, runtime: str, workshop: Workshop) -> None:
    replica = workshop.leader(runtime).replica
    status, answer = replica.request("POST", "/faults", body)
    assert (status, bool(json.loads(answer)["error"])) == (400, True)
    assert replica.state()["faults"] == NONE


def test_a_wrong_clock_reaches_timestamps_alone(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", policy={"attempts": 1})
    client = bench.replica.client()
    for number, offset_ns in enumerate((0, 90_000 * MS, -90_000 * MS, 0), 1):
        bench.replica.post("/faults", {"clock_offset_ns": offset_ns})
        write(client, 1, first=number)
        answer = client.acknowledged(f"t{number}")
        update = bench.f1.mailbox.wait(of_kind(wire.KIND_UPDATE, sequence=number))[0]
        assert update.timestamp_ns - update.clock_ns == offset_ns
        assert answer.timestamp_ns == update.timestamp_ns
        assert bench.replica.counters()["skewed"] == min(number - 1, 2)
    times = [event["t"] for event in bench.replica.events()]
    assert times == sorted(times)
    assert abs(bench.replica.state()["monotonic_ns"] - time.monotonic_ns()) < 10_000 * MS


@pytest.mark.parametrize("drift_ppm", [100_000, -99_999])
def test_a_clock_that_drifts_goes_at_another_speed(drift_ppm: int, runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", policy={"attempts": 1})
    client = bench.replica.client()
    before_ns = time.monotonic_ns()
    bench.replica.post("/faults", {"clock_drift_ppm": drift_ppm, "clock_offset_ns": 1000})
    after_ns = time.monotonic_ns()
    for number in (1, 2):
        time.sleep(0.03)
        write(client, 1, first=number)
        client.acknowledged(f"t{number}")
    first, second = bench.f1.mailbox.wait(is_update, 2)
    for update in (first, second):
        skew_ns = update.timestamp_ns - update.clock_ns - 1000
        least, most = sorted((update.clock_ns - since) * drift_ppm / 1e6 for since in (after_ns, before_ns))
        assert least - 1 <= skew_ns <= most + 1
    gained_ns = (second.timestamp_ns - first.timestamp_ns) - (second.clock_ns - first.clock_ns)
    assert abs(gained_ns - (second.clock_ns - first.clock_ns) * drift_ppm / 1e6) <= 1
    assert bench.replica.counters()["skewed"] == 2


def test_a_slow_node_takes_entries_one_after_the_other(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    bench.replica.post("/faults", {"service_ns": 40 * MS})
    begun_ns = time.monotonic_ns()
    for sequence in range(1, 6):
        bench.leader.update(sequence, payload(sequence))
    bench.leader.mailbox.wait(IS_ACK, 5)
    arrivals = [time_ns for time_ns, _ in bench.leader.mailbox.timed(IS_ACK)]
    for number, arrived_ns in enumerate(arrivals, 1):
        assert arrived_ns - begun_ns >= number * 40 * MS
    assert bench.replica.counters()["slowed"] == 5
    assert bench.replica.metric("driftlab_processing_seconds_count") == 5
    assert bench.replica.metric("driftlab_processing_seconds_sum") >= 5 * 0.04
    bench.replica.post("/faults", {"service_ns": 0})
    bench.leader.update(6, payload(6))
    bench.leader.mailbox.wait(IS_ACK, 6)
    assert bench.replica.counters()["slowed"] == 5


def test_a_slow_disk_is_shared_by_a_group_commit(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    bench.replica.post("/faults", {"fsync_ns": 80 * MS})
    begun_ns = time.monotonic_ns()
    for sequence in range(1, 41):
        bench.leader.update(sequence, payload(sequence))
    bench.leader.mailbox.wait(IS_ACK, 40)
    arrivals = [time_ns for time_ns, _ in bench.leader.mailbox.timed(IS_ACK)]
    assert arrivals[0] - begun_ns >= 80 * MS
    counters = bench.replica.counters()
    assert 1 <= counters["stalled"] <= 10
    assert arrivals[-1] - begun_ns >= counters["stalled"] * 80 * MS
    assert counters["slowed"] == 0


def test_a_slow_disk_of_the_leader_holds_its_answers(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", policy={"attempts": 1})
    bench.replica.post("/faults", {"fsync_ns": 60 * MS})
    client = bench.replica.client()
    begun_ns = time.monotonic_ns()
    write(client, 1)
    client.acknowledged("t1")
    accepted = bench.replica.events("accepted")[0]["t"]
    assert accepted - begun_ns >= 60 * MS
    bench.f1.mailbox.wait(is_update)
    update_ns, update = bench.f1.mailbox.timed(is_update)[0]
    assert update_ns - begun_ns >= 60 * MS
    assert update.clock_ns - begun_ns < accepted - begun_ns
    assert bench.replica.metric("driftlab_commit_seconds_sum") >= 0.06


@pytest.mark.parametrize("fault", ["service_ns", "fsync_ns"])
def test_a_fault_does_not_keep_a_replica_from_stopping(fault: str, runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    bench.replica.post("/faults", {fault: 10_000 * MS})
    for sequence in (1, 2):
        bench.leader.update(sequence, payload(sequence))
    bench.replica.counted("slowed" if fault == "service_ns" else "stalled", 1)
    code, seconds = bench.replica.terminate()
    assert (code, seconds < 2) == (0, True)


def test_faults_end_with_the_process(runtime: str, workshop: Workshop) -> None:
    replica = workshop.follower(runtime).replica
    replica.post("/faults", dict(zip(NONE, itertools.repeat(5))))
    replica.kill()
    assert replica.start().state()["faults"] == NONE
