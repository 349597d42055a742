"""A newer schema's fields pass through today's replicas untouched: client, leader, follower, disk, in every pair."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from lab.containers import wire_pb2 as wire
from lab.containers.generate import SCHEMA
from tests.conformance.benches import Workshop, expected_digest, prefix_hash
from tests.conformance.conftest import RUNTIMES

pytestmark = pytest.mark.replicas
NEWER_UPDATE = """  uint64 revision = 3;
  repeated Tag tags = 4;
  fixed64 checksum = 5;
  map<string, bytes> headers = 2000;
}

message Tag {
  string name = 1;
  sint32 weight = 2;
}"""
NEWEST_FIELD = "  int64 enqueued_ns = 15;\n"
NEWER_ENVELOPE = NEWEST_FIELD + "  string tenant = 900;\n}"


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The message classes of a schema that is one version ahead."""
    pytest.importorskip("grpc_tools")
    folder: Path = tmp_path_factory.mktemp("newer")
    text = SCHEMA.read_text()
    text = text.replace("  uint64 revision = 3;\n}", NEWER_UPDATE).replace(NEWEST_FIELD + "}", NEWER_ENVELOPE)
    assert "tags" in text and "tenant" in text
    (folder / "newer.proto").write_text(text)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--descriptor_set_out={folder}/set"]
    subprocess.run([*command, "newer.proto"], check=True, timeout=60)
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString((folder / "set").read_bytes()).file:
        pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"driftlab.v1.{name}"))
        for name in ("Update", "Envelope")
    }


def payloads(newer: Any) -> list[bytes]:
    """Return updates that use every new kind of field; the last ones in an order of fields that no encoder writes."""
    made = []
    for number in range(1, 9):
        update = newer["Update"](key=f"k{number % 5}", value=bytes([number, 0, 255]), revision=(1 << 64) - number)
        update.tags.add(name="tier", weight=-number)
        update.checksum = (1 << 63) + number
        update.headers["κ"] = b"\xff\xfe"
        made.append(update.SerializeToString(deterministic=True))
    # The key after the unknown fields, and twice: as in any message, the last one counts.
    late_key = newer["Update"](revision=7, checksum=9).SerializeToString() + b"\x0a\x02k1\x0a\x02k3"
    return [*made, late_key, b"\x3a\x03abc" + made[0]]


def stripped(payload: bytes) -> bytes:
    """Return what a replica that decodes and encodes by today's schema would forward."""
    update = wire.Update.FromString(payload)
    update.DiscardUnknownFields()
    return update.SerializeToString()


@pytest.mark.parametrize(("leader", "follower"), list(itertools.product(RUNTIMES, RUNTIMES)))
def test_unknown_fields_of_a_payload_reach_the_followers_disk(
    leader: str, follower: str, newer: Any, workshop: Workshop
) -> None:
    replicas = workshop.group(leader, follower, mode="sync")
    written = payloads(newer)
    client = replicas[0].client()
    for number, data in enumerate(written):
        client.write(f"t{number}", data)
        client.acknowledged(f"t{number}")
    again = newer["Update"].FromString(written[0])
    assert again.checksum == (1 << 63) + 1 and again.tags[0].weight == -1, "the newer reader reads it back"
    expected, hashed = expected_digest(written), prefix_hash(written)
    assert expected != expected_digest([stripped(data) for data in written]), "the fields make a difference"
    for replica in replicas:
        state = replica.state()
        assert (state["digest"], state["prefix_hash"], state["prefix"]) == (expected, hashed, len(written))
    # What is on disk is what was in memory.
    for replica in replicas:
        replica.kill()
        state = replica.start().state()
        assert (state["digest"], state["prefix_hash"]) == (expected, hashed)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_unknown_field_of_an_envelope_does_no_harm(runtime: str, newer: Any, workshop: Workshop) -> None:
    leader = workshop.leader(runtime, mode="async")
    client = leader.replica.client()
    payload = payloads(newer)[0]
    sent = newer["Envelope"](
        schema_version=2, kind=wire.KIND_WRITE, idempotency_token="t1", payload=payload, tenant="new"
    )
    body = sent.SerializeToString()
    client.send_bytes(len(body).to_bytes(4, "big") + body)
    assert client.acknowledged("t1").sequence == 1
    assert leader.replica.state()["digest"] == expected_digest([payload])
    assert leader.replica.counters()["malformed"] == 0
    assert leader.f1.mailbox.wait(lambda envelope: envelope.sequence == 1)[0].payload == payload
