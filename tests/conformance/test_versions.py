"""Section 16 of the contract: two versions of the schema side by side, as in a rollout."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lab.containers import wire_pb2 as wire
from tests.conformance.benches import Workshop, payload
from tests.conformance.replicas import MS
from tests.conformance.test_acceptance import write
from tests.conformance.test_cluster import IS_ACK, converged
from tests.conformance.wires import is_update, of_kind

pytestmark = pytest.mark.replicas


@pytest.mark.parametrize("version", [1, 2])
def test_every_frame_of_a_leader_says_its_version(version: int, runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", schema_version=version, progress_every_ns=20 * MS)
    begun_ns = time.monotonic_ns()
    client = bench.replica.client()
    write(client, 1)
    frames = [
        client.acknowledged("t1"),
        bench.f1.mailbox.wait(is_update)[0],
        bench.f1.mailbox.wait(of_kind(wire.KIND_PROGRESS, sequence=1))[0],
    ]
    for frame in frames:
        assert frame.schema_version == version
        if version == 1:
            assert frame.enqueued_ns == 0
        else:
            assert begun_ns < frame.enqueued_ns < time.monotonic_ns()


@pytest.mark.parametrize("version", [1, 2])
def test_every_frame_of_a_follower_says_its_version(version: int, runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime, schema_version=version, reconcile_every_ns=50 * MS)
    bench.leader.update(1, payload(1), enqueued_ns=7)
    for kind in (wire.KIND_UPDATE_ACK, wire.KIND_DIGEST):
        frame = bench.leader.mailbox.wait(of_kind(kind))[0]
        assert (frame.schema_version, frame.enqueued_ns > 0) == (version, version == 2)


@pytest.mark.parametrize("newer", [{"leader"}, {"f1"}, {"leader", "f2"}], ids=sorted)
def test_versions_work_side_by_side(newer: set[str], workshop: Workshop) -> None:
    only = {name: {"schema_version": 2} for name in newer}
    group = workshop.group("go", "rust", "go", mode="sync", only=only)
    client = group[0].client()
    write(client, 30)
    client.mailbox.wait(IS_ACK, 30)
    states = converged(group, [payload(number) for number in range(1, 31)])
    assert {state["counters"]["malformed"] for state in states} == {0}


@pytest.mark.parametrize(
    "changes",
    [{"schema_version": 3}, {"schema_version": 0}, {"pool": 0}, {"pool": 65}, {"wire": "udp"}, {"traces": "x"}],
)
def test_values_out_of_range_exit_2(changes: dict[str, Any], runtime: str, workshop: Workshop) -> None:
    replica = workshop.leader(runtime, start=False, **changes).replica
    assert replica.launch().wait(5) == 2
    (line,) = replica.log().splitlines()
    ((key, value),) = changes.items()
    assert key in line or str(value) in line
