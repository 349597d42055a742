"""Section 14 of the contract: snapshots, Merkle trees, entries, and correction."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from subprocess import PIPE, run
from typing import Any

import pytest

from lab.containers import wire_pb2 as wire
from lab.core.changelog_state import payload_key
from tests.conformance.benches import FollowerBench, Workshop, expected_digest, payload, prefix_hash
from tests.conformance.replicas import Replica
from tests.conformance.test_acceptance import write
from tests.conformance.test_cluster import IS_ACK, converged
from tests.conformance.trees import GOLDEN, golden_merkle, tree, wide_stream
from tests.conformance.wires import of_kind

pytestmark = pytest.mark.replicas
DIGITS = "0123456789abcdef"
WIDE_LIMIT = (1 << 63) - 1


def entry(sequence: int, data: bytes, **changes: Any) -> dict[str, Any]:
    """Return an entry as a snapshot and a correction have it."""
    usual = {"sequence": str(sequence), "timestamp_ns": 5, "origin": "leader", "token": f"t{sequence}"}
    return {**usual, "payload": data.hex(), **changes}


def follow(bench: FollowerBench, *sequences: int, key: str | None = None) -> None:
    """Give a follower updates, in this order, one after the other."""
    for sequence in sequences:
        bench.leader.update(sequence, payload(sequence, key=key))
        bench.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK, sequence=sequence))


def snapshot(replica: Replica) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return header and entries."""
    status, body = replica.request("GET", "/snapshot")
    assert status == 200
    header, *entries = map(json.loads, body.splitlines())
    return header, entries


def snapshots_are_whole(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """A snapshot holds the whole prefix, on either role, under load."""
    leader, follower = workshop.group(runtime, runtime, mode="sync", arguments={"leader": arguments, "f1": arguments})
    client = leader.client()
    write(client, 40)
    client.mailbox.wait(IS_ACK, 20)
    for replica in (leader, follower):
        before_ns = time.monotonic_ns()
        header, entries = snapshot(replica)
        assert before_ns <= header["monotonic_ns"] <= time.monotonic_ns()
        assert set(header) == {"prefix", "prefix_hash", "digest", "monotonic_ns"}
        assert [int(each["sequence"]) for each in entries] == list(range(1, header["prefix"] + 1))
        assert header["prefix"] >= 20
        payloads = [bytes.fromhex(each["payload"]) for each in entries]
        assert int(header["prefix_hash"]) == prefix_hash(payloads)
        assert header["digest"] == expected_digest(payloads)
        assert payloads == [payload(number) for number in range(1, header["prefix"] + 1)]
    client.mailbox.wait(IS_ACK, 40)
    states = converged([leader, follower], [payload(number) for number in range(1, 41)])
    headers, entries = zip(*map(snapshot, (leader, follower)), strict=True)
    assert entries[0] == entries[1], "entries say when and where they were accepted"
    assert {each["origin"] for each in entries[0]} == {"leader"}
    for state, header in zip(states, headers, strict=True):
        assert (header["prefix_hash"], header["digest"]) == (str(state["prefix_hash"]), state["digest"])


def test_a_snapshot_ends_before_a_gap_and_of_nothing_is_empty(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    header, entries = snapshot(bench.replica)
    assert (header["prefix"], header["prefix_hash"], header["digest"]) == (0, "0", expected_digest([]))
    assert entries == []
    follow(bench, 1, 3)
    header, entries = snapshot(bench.replica)
    assert (header["prefix"], len(entries)) == (1, 1)


def nodes(replica: Replica, path: str = "") -> dict[str, Any]:
    """Return the answers for every node that is not empty."""
    answer = replica.get(f"/merkle?path={path}")
    assert answer["path"] == path
    if not answer["hash"]:
        return {}
    found = {path: answer}
    for digit, child in zip(DIGITS, answer.get("children", ()), strict=False):
        if child:
            found |= nodes(replica, path + digit)
    return found


def test_the_tree_is_that_of_the_reference_and_the_same_everywhere(workshop: Workshop) -> None:
    group = workshop.group("go", "rust", "go", mode="sync")
    client = group[0].client()
    write(client, 30)
    client.mailbox.wait(IS_ACK, 30)
    payloads = {number: payload(number) for number in range(1, 31)}
    converged(group, list(payloads.values()))
    answers = [nodes(replica) for replica in group]
    assert answers[0] == answers[1] == answers[2]
    assert {path: answer["hash"] for path, answer in answers[0].items()} == tree(payloads)
    for path, answer in answers[0].items():
        assert answer["prefix"] == 30
        if len(path) < 4:
            assert set(answer) == {"path", "hash", "prefix", "children"}
            assert len(answer["children"]) == 16
            continue
        assert set(answer) == {"path", "hash", "prefix", "rows"}
        for row in answer["rows"]:
            sequence = int(row["sequence"])
            assert bytes.fromhex(row["key"]).decode() == payload_key(payloads[sequence])
            assert row["payload_hash"] == hashlib.sha256(payloads[sequence]).hexdigest()
    write(client, 1, first=31)
    client.acknowledged("t31")
    assert group[0].get("/merkle")["hash"] == tree({**payloads, 31: payload(31)})[""], "the tree follows what changes"


@pytest.mark.parametrize("path", ["g", "00000", "A", "-1", "%00"])
def test_a_path_that_is_none_is_refused(path: str, runtime: str, workshop: Workshop) -> None:
    replica = workshop.follower(runtime).replica
    status, body = replica.request("GET", f"/merkle?path={path}")
    assert (status, bool(json.loads(body)["error"])) == (400, True)
    empty = {"path": "", "hash": "", "prefix": 0, "children": [""] * 16}
    assert replica.get("/merkle") == replica.get("/merkle?path=") == empty
    assert replica.get("/merkle?path=0aF".lower())["children"] == [""] * 16
    assert replica.get("/merkle?path=00ff") == {"path": "00ff", "hash": "", "prefix": 0, "rows": []}


def wide_numbers_survive(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """Sequences above 2^53 reach digest and tree as they are."""
    bench = workshop.follower(runtime, arguments=arguments, ordering="key", queue={"limit": WIDE_LIMIT})
    stream = wide_stream()
    for sequence, data in stream:
        bench.leader.update(sequence, data)
    bench.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK), len(stream))
    expected = golden_merkle()["wide"]
    assert bench.replica.state()["digest"] == expected["digest"]
    assert {path: answer["hash"] for path, answer in nodes(bench.replica).items()} == expected["nodes"]
    sequence, data = stream[-1]
    assert bench.replica.get(f"/entry?sequence={sequence}")["payload"] == data.hex()


def wide_numbers_are_applied(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """`replica apply` takes sequences above 2^53 as they are."""
    expected = golden_merkle()
    for name, stream in (("wide", "wide.jsonl"), ("stream", "stream.jsonl")):
        told = applied(workshop.binaries[runtime], stream, *arguments)
        assert told["digest"] == expected[name]["digest"]


def applied(binary: Path, stream: str, *arguments: str) -> dict[str, Any]:
    command = [str(binary), "apply", "--ordering", "key", *arguments]
    done = run(command, stdin=(GOLDEN / stream).open("rb"), stdout=PIPE, timeout=8, check=True)
    return dict(json.loads(done.stdout))


def test_wide_numbers_are_applied(runtime: str, workshop: Workshop) -> None:
    wide_numbers_are_applied(workshop, runtime)
    seeded = applied(workshop.binaries[runtime], "wide.jsonl", "--seeded-bug", "B16")
    assert seeded["digest"] == golden_merkle()["wide"]["rounded"]


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_single_entries_are_told(role: str, runtime: str, workshop: Workshop) -> None:
    bench: Any = getattr(workshop, role)(runtime, mode="async")
    if role == "leader":
        bench.replica.client().write("t1", payload(1))
        bench.f1.mailbox.wait(of_kind(wire.KIND_UPDATE))
    else:
        follow(bench, 1)
    told = bench.replica.get("/entry?sequence=1")
    timestamp_ns = told.pop("timestamp_ns")
    assert 0 < timestamp_ns < time.monotonic_ns()
    assert told == {"sequence": "1", "origin": "leader", "token": "t1", "payload": payload(1).hex()}
    assert bench.replica.request("GET", "/entry?sequence=2")[0] == 404
    assert bench.replica.request("GET", "/entry?sequence=0")[0] == 404
    for query in ("", "?sequence=", "?sequence=x", "?sequence=-1"):
        assert bench.replica.request("GET", f"/entry{query}")[0] == 400


# Correction


def repaired(replica: Replica, *entries: dict[str, Any]) -> tuple[int, int, int]:
    """Return how many entries were stored, corrected, left."""
    answer = replica.post("/repair", {"entries": list(entries)})
    assert set(answer) == {"stored", "corrected", "unchanged"}
    return answer["stored"], answer["corrected"], answer["unchanged"]


def test_a_correction_stores_what_is_missing(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime)
    follow(bench, 1)
    entries = [entry(number, payload(number)) for number in (1, 2, 3)]
    assert repaired(bench.replica, *entries) == (2, 0, 1)
    state = bench.replica.state()
    assert (state["prefix"], state["prefix_hash"]) == (3, prefix_hash([payload(number) for number in (1, 2, 3)]))
    assert [event["seq"] for event in bench.replica.events("applied")] == [1, 2, 3]
    assert repaired(bench.replica, *entries) == (0, 0, 3)
    assert repaired(bench.replica) == (0, 0, 0)
    assert repaired(bench.replica, entry(3 + 65, payload(1))) == (0, 0, 1), "beyond the window"
    assert repaired(bench.replica, entry(5, payload(5))) == (1, 0, 0)
    assert repaired(bench.replica, entry(5, payload(6))) == (0, 0, 1), "behind a gap it is left"
    counters = bench.replica.counters()
    assert (counters["corrected"], counters["duplicates"], counters["reorder_full"]) == (0, 0, 0)
    assert counters["out_of_order"] == 1
    assert len(bench.leader.mailbox.all(of_kind(wire.KIND_UPDATE_ACK))) == 1, "the leader hears of it by a digest"
    bench.replica.kill()
    assert bench.replica.start().state()["prefix"] == 3, "what was answered is durable"
    assert bench.replica.get("/entry?sequence=3")["timestamp_ns"] == 5


def test_a_correction_puts_a_row_right(runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime, arguments=("--seeded-bug", "B3"))
    follow(bench, 2, 1, 3, key="one")
    follow(bench, 5, 4, key="two")
    payloads = [payload(number, key="one" if number < 4 else "two") for number in range(1, 6)]
    assert bench.replica.state()["digest"] != expected_digest(payloads)
    assert repaired(bench.replica, entry(5, payloads[4]), entry(3, payloads[2])) == (0, 1, 1)
    state = bench.replica.state()
    assert (state["digest"], state["prefix_hash"]) == (expected_digest(payloads), prefix_hash(payloads))
    assert [(event["seq"], event["token"]) for event in bench.replica.events("corrected")] == [(5, "t5")]
    assert state["counters"]["corrected"] == 1
    assert repaired(bench.replica, entry(4, payloads[3])) == (0, 0, 1), "an older entry changes nothing"


@pytest.mark.parametrize("ordering", ["sequence", "key"])
def test_a_correction_of_the_log_lasts(ordering: str, runtime: str, workshop: Workshop) -> None:
    bench = workshop.follower(runtime, ordering=ordering)
    payloads = [payload(number) for number in range(1, 6)]
    for number, data in enumerate(payloads, 1):
        bench.leader.update(number, data if number != 3 else payload(3) + b"\x9a\x3e\x02hi")
        bench.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK, sequence=number))
    assert bench.replica.get("/merkle")["hash"] != tree(dict(enumerate(payloads, 1)))[""]
    assert repaired(bench.replica, entry(3, payloads[2]), entry(2, payloads[1])) == (0, 1, 1)
    follow(bench, 6)
    payloads.append(payload(6))
    for _ in range(2):
        state = bench.replica.state()
        assert (state["digest"], state["prefix_hash"]) == (expected_digest(payloads), prefix_hash(payloads))
        assert bench.replica.get("/merkle")["hash"] == tree(dict(enumerate(payloads, 1)))[""]
        assert int(snapshot(bench.replica)[0]["prefix_hash"]) == prefix_hash(payloads)
        bench.replica.kill()
        bench.replica.start()
    assert [event["seq"] for event in bench.replica.events("corrected")] == [3]


BAD_ENTRIES: dict[str, Any] = {
    "not a list": "x",
    "too many": [entry(number, b"") for number in range(1, 1002)],
    "sequence 0": [entry(0, b"")],
    "a number": [{**entry(1, b""), "sequence": 1}],
    "no hex": [entry(1, b"", payload="0")],
    "no update": [entry(1, b"\x0a\x05")],
    "an unknown key": [entry(1, b"", more=1)],
    "a missing key": [{"sequence": "1", "payload": ""}],
}


@pytest.mark.parametrize("what", BAD_ENTRIES)
def test_a_correction_that_is_malformed_changes_nothing(what: str, runtime: str, workshop: Workshop) -> None:
    replica = workshop.follower(runtime).replica
    good = [entry(1, payload(1))] if isinstance(BAD_ENTRIES[what], list) else []
    body = json.dumps({"entries": [*good, *BAD_ENTRIES[what]] if good else BAD_ENTRIES[what]})
    status, answer = replica.request("POST", "/repair", body)
    assert (status, bool(json.loads(answer)["error"])) == (400, True)
    assert replica.state()["last_sequence"] == 0


def test_the_leader_is_not_corrected_and_large_requests_are_refused(runtime: str, workshop: Workshop) -> None:
    leader, follower = workshop.leader(runtime).replica, workshop.follower(runtime).replica
    assert leader.request("POST", "/repair", json.dumps({"entries": [entry(1, payload(1))]}))[0] == 400
    assert leader.state()["last_sequence"] == 0
    large = json.dumps({"entries": [entry(1, payload(1) + b"\x12\x80\x80\x80\x01" + bytes(1 << 21))]})
    assert follower.request("POST", "/repair", large)[0] == 413
    for replica in (leader, follower):
        for method, path, status in (("GET", "/nothing", 404), ("POST", "/snapshot", 405), ("GET", "/repair", 405)):
            answered, body = replica.request(method, path)
            assert (answered, bool(json.loads(body)["error"])) == (status, True)
