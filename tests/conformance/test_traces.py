"""Section 15 of the contract: spans of both languages join into one trace."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator

import pytest

from lab.containers import wire_pb2 as wire
from tests.conformance.benches import LeaderBench, Workshop, payload, prefix_hash
from tests.conformance.collectors import Collector, Span
from tests.conformance.replicas import MS
from tests.conformance.wires import is_repair, is_update, of_kind

pytestmark = pytest.mark.replicas
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"
NOT_SAMPLED = f"00-{TRACE}-{CALLER}-00"
PATIENT = {"timeout_ns": 2000 * MS}
ONE_ATTEMPT = {"attempts": 1, "timeout_ns": 50 * MS}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def named(name: str, **attributes: object) -> Callable[[Span], bool]:
    """Return the condition that a span has this name and these attributes of the lab."""
    return lambda span: (
        span.name == name and all(span.attributes.get(f"driftlab.{key}") == value for key, value in attributes.items())
    )


def by_follower(spans: list[Span]) -> dict[str, Span]:
    return {str(span.attributes["driftlab.follower"]): span for span in spans}


@pytest.mark.parametrize("runtimes", [("go", "rust", "go"), ("rust", "go", "rust")], ids="-".join)
def test_a_write_is_one_trace_through_both_languages(
    runtimes: tuple[str, ...], workshop: Workshop, collector: Collector
) -> None:
    group = workshop.group(*runtimes, mode="sync", traces=collector.address, policy=PATIENT)
    client = group[0].client()
    client.write("t1", payload(1))
    client.acknowledged("t1")  # by both: the links stand
    client.write("t2", payload(2), PARENT)
    client.acknowledged("t2")
    spans = collector.wait(5, lambda span: span.trace == TRACE)
    assert sorted(span.name for span in spans) == ["replicate", "replicate", "store", "store", "write"]
    (write,) = (span for span in spans if span.name == "write")
    assert (write.parent, write.kind) == (CALLER, "server")
    expected = {"driftlab.sequence": 2, "driftlab.token": "t2", "driftlab.outcome": "acknowledged"}
    assert expected.items() <= write.attributes.items()
    attempts = by_follower([span for span in spans if span.name == "replicate"])
    assert set(attempts) == {"f1", "f2"}
    stores = {span.resource["service.name"]: span for span in spans if span.name == "store"}
    assert set(stores) == {"f1", "f2"}
    for name, attempt in attempts.items():
        assert (attempt.parent, attempt.kind) == (write.span, "producer")
        assert (attempt.attributes["driftlab.attempt"], attempt.attributes["driftlab.sequence"]) == (1, 2)
        assert attempt.attributes["driftlab.outcome"] == "acknowledged"
        store = stores[name]
        assert (store.parent, store.kind, store.attributes["driftlab.sequence"]) == (attempt.span, "consumer", 2)
        assert write.begin_ns <= attempt.begin_ns <= store.begin_ns <= store.end_ns
        assert store.end_ns - store.begin_ns < attempt.end_ns - attempt.begin_ns + 5 * MS
    for span in spans:
        where = group[0] if span.name != "store" else group[int(str(span.resource["service.name"])[1:])]
        runtime = runtimes[group.index(where)]
        assert span.resource["service.name"] == where.settings["name"]
        assert (span.resource["service.instance.id"], span.resource["driftlab.runtime"]) == ("conformance", runtime)
    assert set(collector.requests) == {("/v1/traces", "application/x-protobuf")}


def test_each_attempt_has_a_span_and_names_it(runtime: str, workshop: Workshop, collector: Collector) -> None:
    policy = {"attempts": 2, "timeout_ns": 60 * MS}
    bench = workshop.leader(runtime, mode="async", traces=collector.address, policy=policy)
    bench.replica.client().write("t1", payload(1))
    first, second = bench.f1.mailbox.wait(is_update, 2)
    bench.f1.acknowledge(1)
    (write,) = collector.wait(1, named("write"))
    assert write.parent == "", "a write without a context is a root"
    attempts = collector.wait(2, named("replicate", follower="f1"))
    assert [span.attributes["driftlab.attempt"] for span in attempts] == [1, 2]
    assert [span.attributes["driftlab.outcome"] for span in attempts] == ["timed_out", "acknowledged"]
    assert {(span.parent, span.trace) for span in attempts} == {(write.span, write.trace)}
    assert [frame.traceparent for frame in (first, second)] == [f"00-{span.trace}-{span.span}-01" for span in attempts]
    assert attempts[0].end_ns - attempts[0].begin_ns >= 55 * MS
    repair_of_f2(bench, collector, write)


def repair_of_f2(bench: LeaderBench, collector: Collector, write: Span) -> None:
    """A repair is a child of the write that the leader still knows."""
    bench.replica.counted("exhausted", 1)
    bench.f2.digest(0, 0, 1)
    (frame,) = bench.f2.mailbox.wait(is_repair)
    bench.f2.digest(1, prefix_hash([payload(1)]), 1)
    (repair,) = collector.wait(1, named("replicate", follower="f2", attempt=0))
    assert (repair.parent, repair.attributes["driftlab.outcome"]) == (write.span, "acknowledged")
    assert frame.traceparent == f"00-{repair.trace}-{repair.span}-01"


def test_a_repair_after_a_restart_is_a_root(runtime: str, workshop: Workshop, collector: Collector) -> None:
    bench = workshop.leader(runtime, mode="async", traces=collector.address, policy=ONE_ATTEMPT)
    client = bench.replica.client()
    client.write("t1", payload(1), PARENT)
    client.acknowledged("t1")
    bench.replica.kill()
    bench.replica.start()
    bench.linked(2)
    bench.f1.digest(0, 0, 1)
    (frame,) = bench.f1.mailbox.wait(is_repair)
    bench.f1.acknowledge(1)
    (repair,) = collector.wait(1, named("replicate", attempt=0))
    assert repair.parent == "" and repair.trace != TRACE
    assert frame.traceparent == f"00-{repair.trace}-{repair.span}-01"


def test_outcomes_of_writes(runtime: str, workshop: Workshop, collector: Collector) -> None:
    bench = workshop.leader(runtime, mode="sync", traces=collector.address, queue={"limit": 1}, policy={"attempts": 1})
    client = bench.replica.client()
    client.write("waits", payload(1))
    bench.f1.mailbox.wait(is_update)
    client.write("rejected", payload(2))
    client.mailbox.wait(of_kind(wire.KIND_WRITE_REJECT))
    client.write("malformed", b"\x0a\xff")
    bench.replica.counted("malformed", 1)
    client.close()
    outcomes = {span.attributes["driftlab.token"]: span.attributes for span in collector.wait(3, named("write"))}
    assert {token: told["driftlab.outcome"] for token, told in outcomes.items()} == {
        "waits": "dropped",
        "rejected": "rejected",
        "malformed": "malformed",
    }


def test_what_the_caller_does_not_sample_is_not_recorded(
    runtime: str, workshop: Workshop, collector: Collector
) -> None:
    bench = workshop.leader(runtime, mode="async", traces=collector.address, policy=ONE_ATTEMPT)
    client = bench.replica.client()
    client.write("t1", payload(1), NOT_SAMPLED)
    client.acknowledged("t1")
    assert bench.f1.mailbox.wait(is_update)[0].traceparent.endswith("-00")
    client.write("t2", payload(2))
    client.acknowledged("t2")
    assert collector.wait(1, named("write"))[0].attributes["driftlab.token"] == "t2"
    assert TRACE not in {span.trace for span in collector.spans}


def test_nothing_is_recorded_by_default(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", policy=ONE_ATTEMPT)
    client = bench.replica.client()
    client.write("t1", payload(1), PARENT)
    client.acknowledged("t1")
    assert bench.f1.mailbox.wait(is_update)[0].traceparent == ""


def test_spans_leave_at_the_end_of_the_process(runtime: str, workshop: Workshop, collector: Collector) -> None:
    bench = workshop.follower(runtime, traces=collector.address)
    bench.leader.update(1, payload(1), traceparent=PARENT)
    bench.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK))
    code, seconds = bench.replica.terminate()
    assert (code, seconds < 2) == (0, True)
    (store,) = collector.spans
    assert (store.name, store.parent, store.trace) == ("store", CALLER, TRACE)


def test_a_collector_that_is_away_harms_nothing(runtime: str, workshop: Workshop) -> None:
    away = f"http://127.0.0.1:{workshop.port()}"
    bench = workshop.leader(runtime, mode="async", traces=away, policy=ONE_ATTEMPT, queue={"limit": 1000})
    client = bench.replica.client()
    for number in range(200):
        client.write(f"t{number}", payload(number))
    client.mailbox.wait(of_kind(wire.KIND_WRITE_ACK), 200)
    time.sleep(0.1)
    code, seconds = bench.replica.terminate()
    assert (code, seconds < 2) == (0, True)


@pytest.mark.parametrize("traceparent", ["nonsense", "00-0-0-01", f"00-{'0' * 32}-{CALLER}-01", "x" * 5000])
def test_a_context_that_is_none_is_ignored(
    traceparent: str, runtime: str, workshop: Workshop, collector: Collector
) -> None:
    bench = workshop.leader(runtime, mode="async", traces=collector.address, policy=ONE_ATTEMPT)
    client = bench.replica.client()
    client.write("t1", payload(1), traceparent)
    client.acknowledged("t1")
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", bench.f1.mailbox.wait(is_update)[0].traceparent)
    assert bench.replica.counters()["malformed"] == 0


def test_log_lines_within_a_span_name_the_trace(runtime: str, workshop: Workshop, collector: Collector) -> None:
    policy = {**ONE_ATTEMPT, "breaker_failures": 1}
    leader = workshop.leader(runtime, mode="async", traces=collector.address, policy=policy)
    leader.replica.client().write("t1", payload(1), PARENT)
    leader.replica.counted("breaker_opened", 2)
    leader.replica.terminate()
    lines = [json.loads(line) for line in leader.replica.log().splitlines()]
    assert [line["trace_id"] for line in lines if line["level"].lower() == "warn"] == [TRACE] * 2
    follower = workshop.follower(runtime, traces=collector.address, log_level="debug")
    follower.leader.update(1, payload(1), traceparent=PARENT)
    follower.leader.mailbox.wait(of_kind(wire.KIND_UPDATE_ACK))
    follower.replica.terminate()
    lines = [json.loads(line) for line in follower.replica.log().splitlines()]
    # What is logged at this level is not laid down; what is logged about the entry names its trace.
    its = [line for line in lines if line.get("correlation_id") == "op-1"]
    assert {line.get("trace_id") for line in its} <= {TRACE}
