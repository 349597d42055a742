"""Sections 7 and 8 of the contract: events, the control interface, metrics, settings."""

from __future__ import annotations

import json
import re
import time

import pytest

from lab.containers.build import COMPOSE
from tests.conformance.benches import Workshop, payload
from tests.conformance.test_acceptance import write

pytestmark = pytest.mark.replicas
CONTRACT = (COMPOSE.parent / "docs" / "replica.md").read_text()
ROLES = ("leader", "follower")
BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, float("inf")]


def counters_of_the_contract() -> list[str]:
    """Return the counters' names as section 7 lists them."""
    listed = CONTRACT[CONTRACT.index("**Counters**") : CONTRACT.index("**Gauges and histograms**")]
    names = re.findall(r"`([a-z_]+)`", listed)
    return [name for name in dict.fromkeys(names) if name not in ("UPDATE", "REPAIR")]


def state_fields_of_the_contract() -> set[str]:
    (listed,) = re.findall(r"`GET /state` → `\{(.*?)\}`\n", CONTRACT)
    return set(re.findall(r'"(\w+)"', listed))


def gauges_of_the_contract() -> set[str]:
    listed = CONTRACT[CONTRACT.index("`GET /metrics`") : CONTRACT.index("**Counters**")]
    listed += CONTRACT[CONTRACT.index("**Gauges and histograms**") : CONTRACT.index("## 8.")]
    return set(re.findall(r"`(driftlab_\w+)[`{]", listed))


def samples(text: str) -> dict[str, float]:
    """Return the samples of a Prometheus text."""
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in lines}


@pytest.mark.parametrize("role", ROLES)
def test_health_tells_who_it_is(role: str, runtime: str, workshop: Workshop) -> None:
    replica = getattr(workshop, role)(runtime).replica
    status, body = replica.request("GET", "/healthz")
    told = json.loads(body)
    assert status == 200
    assert re.fullmatch(r"\d+\.\d+\.\d+", told.pop("version"))
    connected = told.pop("connected")
    assert told == {"name": replica.settings["name"], "role": role, "runtime": runtime}
    assert connected.keys() == replica.settings["peers"].keys()


@pytest.mark.parametrize("wire_name", ["framed", "oneshot"])
def test_health_and_metrics_tell_to_whom_there_is_a_connection(
    wire_name: str, runtime: str, workshop: Workshop
) -> None:
    bench = workshop.leader(runtime, mode="async", wire=wire_name)
    bench.linked(1)

    def told() -> dict[str, bool]:
        connected = dict(json.loads(bench.replica.request("GET", "/healthz")[1])["connected"])
        values = bench.replica.metrics(*(f'driftlab_connected{{peer="{peer}"}}' for peer in connected))
        return connected if values == [float(value) for value in connected.values()] else {}

    bench.replica.until(lambda _: told() == {"f1": True, "f2": True})
    bench.f1.hang_up()
    bench.replica.until(lambda _: told() == {"f1": False, "f2": True})


@pytest.mark.parametrize("role", ROLES)
def test_state_has_the_fields_of_the_contract(role: str, runtime: str, workshop: Workshop) -> None:
    replica = getattr(workshop, role)(runtime).replica
    before_ns = time.monotonic_ns()
    state = replica.state()
    assert set(state) == state_fields_of_the_contract()
    assert before_ns <= state["monotonic_ns"] <= time.monotonic_ns()
    assert (state["prefix"], state["prefix_hash"], state["keys"]) == (0, 0, 0)
    assert re.fullmatch("[0-9a-f]{64}", state["digest"])


@pytest.mark.parametrize("role", ROLES)
def test_counters_are_those_of_the_contract_and_start_at_0(role: str, runtime: str, workshop: Workshop) -> None:
    counters = getattr(workshop, role)(runtime).replica.counters()
    assert len(counters_of_the_contract()) >= 18
    assert sorted(counters) == sorted(counters_of_the_contract())
    assert set(counters.values()) == {0}


def test_metrics_are_the_counters_and_the_gauges(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async")
    client = bench.replica.client()
    write(client, 2)
    client.acknowledged("t2")
    bench.replica.client().send_bytes(b"\0\0\0\0")
    for follower in bench.followers:
        follower.acknowledge(1, 2)
    bench.replica.until(lambda state: state["outstanding"] == 0 and state["counters"]["malformed"] == 1)
    state = bench.replica.state()
    status, text = bench.replica.request("GET", "/metrics")
    assert status == 200
    found = samples(text)
    for name, value in state["counters"].items():
        assert found.pop(f"driftlab_{name}_total") == value, name
        assert f"# TYPE driftlab_{name}_total counter" in text
    histograms = {name for name in gauges_of_the_contract() if f"# TYPE {name} histogram" in text}
    assert histograms == {f"driftlab_{name}_seconds" for name in ("enqueue_delay", "processing", "commit")}
    plain = {name: value for name, value in found.items() if "{" not in name and not name.endswith(("_sum", "_count"))}
    assert plain == {
        "driftlab_last_sequence": 2,
        "driftlab_prefix": 2,
        "driftlab_waiting": 0,
        "driftlab_outstanding": 0,
        "driftlab_staleness_seconds": 0,
        "driftlab_commits_total": 2,
    }
    assert {re.sub("_(bucket|sum|count)$", "", name.partition("{")[0]) for name in found} == gauges_of_the_contract()
    assert found["driftlab_commit_seconds_count"] == 2
    assert found["driftlab_enqueue_delay_seconds_count"] == 4
    assert found["driftlab_processing_seconds_count"] == 0
    bounds = [re.findall(r'^driftlab_commit_seconds_bucket{le="(.+)"}$', name) for name in found]
    assert [float(bound) for (bound,) in filter(None, bounds)] == BUCKETS
    assert found['driftlab_lag{follower="f1"}'] == found['driftlab_queue_depth{peer="f2"}'] == 0


@pytest.mark.parametrize(
    "body", ['{"mode": "eventual"}', '{"mode": 3}', "{}", "no json", '{"mode": "async", "x": 1}', '{"mode": "async"']
)
def test_a_mode_that_is_none_is_refused(body: str, runtime: str, workshop: Workshop) -> None:
    replica = workshop.leader(runtime).replica
    status, answer = replica.request("POST", "/mode", body)
    assert status == 400
    assert json.loads(answer)["error"]
    assert replica.state()["mode"] == "quorum"
    assert replica.events("mode") == []


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("mode", ["async", "quorum", "sync", "bounded"])
def test_every_mode_can_be_switched_to(mode: str, role: str, runtime: str, workshop: Workshop) -> None:
    replica = getattr(workshop, role)(runtime).replica
    replica.set_mode(mode)
    assert replica.state()["mode"] == mode
    assert [event["mode"] for event in replica.events("mode")] == [mode]


def test_other_paths_and_methods_are_refused(runtime: str, workshop: Workshop) -> None:
    replica = workshop.leader(runtime).replica
    assert replica.request("GET", "/nothing")[0] == 404
    assert replica.request("POST", "/state")[0] == 405
    assert replica.request("GET", "/mode")[0] == 405


def test_events_are_json_lines_in_the_order_of_time(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async")
    before_ns = time.monotonic_ns()
    client = bench.replica.client()
    client.write('a "token"\n\u2028\\', payload(1))
    client.acknowledged('a "token"\n\u2028\\')
    events = bench.replica.events()
    assert [event["e"] for event in events] == ["start", "accepted", "applied", "released"]
    assert [event["t"] for event in events] == sorted(event["t"] for event in events)
    assert before_ns < events[1]["t"] < time.monotonic_ns()
    assert set(events[0]) == {"t", "e", "incarnation", "prefix"}
    assert all(event["token"] == 'a "token"\n\u2028\\' and event["seq"] == 1 for event in events[1:])


def test_an_event_is_there_before_its_consequence(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async")
    client = bench.replica.client()
    for number in range(30):
        client.write(f"t{number}", payload(number))
        client.acknowledged(f"t{number}")
        assert bench.replica.events("released")[-1]["token"] == f"t{number}"


def test_no_events_when_they_are_switched_off(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async", events=False)
    client = bench.replica.client()
    write(client, 1)
    client.acknowledged("t1")
    assert (bench.replica.folder / "events").read_bytes() == b""


def test_a_healthy_run_logs_nothing_at_warn(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async")
    client = bench.replica.client()
    write(client, 5)
    client.acknowledged("t5")
    bench.replica.terminate()
    assert bench.replica.log() == ""


@pytest.mark.parametrize("name", ["leader", "f1", "f2"])
def test_the_example_settings_are_taken(name: str, runtime: str, workshop: Workshop) -> None:
    example = json.loads((COMPOSE / "settings" / f"{name}.json").read_text())
    replica = workshop.leader(runtime, start=False).replica
    here = {key: replica.settings[key] for key in ("data_dir", "listen")}
    replica.settings = {**example, **here, "peers": dict.fromkeys(example["peers"], "127.0.0.1:9")}
    told = json.loads(replica.start().request("GET", "/healthz")[1])
    assert told["name"] == name
