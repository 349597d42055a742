"""Faults that only real replicas have: their ranges, their translation, and the simulator's refusal."""

from __future__ import annotations

from typing import Any

import pytest

from lab.engines.refusals import NotSimulated, notes
from lab.engines.scenario import prepare
from lab.faults import FAULTS
from lab.model.effects import Keep
from tests.containers.conftest import make_experiment

NAMES = ("leader", "f1", "f2")
TIMED = {"at": "1s", "for": "1s"}


def problems(kind: str, **parameters: Any) -> list[str]:
    lasting = TIMED if kind != "replace" else {"at": "1s"}
    fault = FAULTS[kind].model_validate({**lasting, **parameters})
    return [sentence for _, sentence in fault.problems(NAMES)]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"type": "latency", "latency": "50ms", "jitter": "10ms"}, {"latency": 50, "jitter": 10}),
        ({"type": "bandwidth", "rate": "64KB/s"}, {"rate": 64}),
        ({"type": "slow_close", "delay": "1s"}, {"delay": 1000}),
        ({"type": "timeout", "timeout": "0s"}, {"timeout": 0}),
        ({"type": "reset_peer", "timeout": "5ms"}, {"timeout": 5}),
        (
            {"type": "slicer", "average_size": "64B", "size_variation": "8B", "delay": "10us"},
            {"average_size": 64, "size_variation": 8, "delay": 10},
        ),
        ({"type": "limit_data", "bytes": "1KiB"}, {"bytes": 1024}),
    ],
)
def test_attributes_get_the_servers_names_and_units(parameters: dict[str, Any], expected: dict[str, int]) -> None:
    assert problems("toxic", **parameters) == []
    fault = FAULTS["toxic"].model_validate({**TIMED, **parameters, "links": ["leader->f1"]})
    toxic = fault.toxic("leader", "f1")
    assert toxic is not None and (toxic.type, dict(toxic.attributes)) == (parameters["type"], expected)
    assert fault.toxic("leader", "f2") is None and fault.link_effect("leader", "f1") is None


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"type": "latency", "latency": "1500us"}, "not in whole milliseconds"),
        ({"type": "latency", "latency": "2m"}, "over 60s"),
        ({"type": "latency", "latency": "5ms", "jitter": "10ms"}, "jitter is above latency"),
        ({"type": "latency", "jitter": "10ms"}, "latency needs latency"),
        ({"type": "bandwidth", "rate": "0B/s"}, "must be above 0"),
        ({"type": "bandwidth", "rate": "1500B/s"}, "not in whole KB/s"),
        ({"type": "timeout", "timeout": "0s", "rate": "1KB/s"}, "rate is no attribute of timeout"),
        ({"type": "slicer", "average_size": "8B", "size_variation": "8B"}, "must be below average_size"),
        ({"type": "limit_data", "bytes": "0B"}, "must be above 0"),
        ({"type": "timeout", "timeout": "0s", "share": "0%"}, "never acts"),
    ],
)
def test_values_that_harm_the_server_are_refused(parameters: dict[str, Any], sentence: str) -> None:
    assert any(sentence in found for found in problems("toxic", **parameters))


def test_disturbances_inside_replicas() -> None:
    slow = FAULTS["slow_node"].model_validate({**TIMED, "node": "f1", "service": "5ms"}).inside()[0]
    stall = FAULTS["disk_stall"].model_validate({**TIMED, "node": "f1", "by": "20ms"}).inside()[0]
    clock = FAULTS["clock_offset"].model_validate({**TIMED, "node": "leader", "offset": "-1s", "drift_ppm": -50})
    assert (slow.values, slow.evidence) == ((("service_ns", 5_000_000),), "slowed")
    assert (stall.values, stall.evidence) == ((("fsync_ns", 20_000_000),), "stalled")
    assert dict(clock.inside()[0].values) == {"clock_offset_ns": -(10**9), "clock_drift_ppm": -50}
    assert clock.label() == "clock of leader off by -1s, -50 ppm"
    again = type(clock).model_validate(clock.model_dump(mode="json"))
    assert again == clock


def test_disturbances_have_ranges() -> None:
    assert "at most 10s" in problems("slow_node", node="f1", service="11s")[0]
    assert "at most 10s" in problems("disk_stall", node="f1", by="11s")[0]
    assert "more than 1h" in problems("clock_offset", node="leader", offset="-2h")[0]
    assert "nothing would be wrong" in problems("clock_offset", node="leader")[0]
    assert "not a replica" in problems("slow_node", node="f9", service="1s")[0]


def test_a_replacement_keeps_the_store_with_the_runtime_alone() -> None:
    other = FAULTS["replace"].model_validate({"at": "1s", "node": "f1", "runtime": "rust"})
    newer = FAULTS["replace"].model_validate({"at": "1s", "node": "leader", "schema_version": 2})
    assert (other.outages()[0].keep, newer.outages()[0].keep) == (Keep.NOTHING, Keep.DURABLE)
    assert other.stop_ns == 1_500_000_000 and newer.replacements()[0].schema_version == 2
    assert "changelog would be lost" in problems("replace", node="leader", runtime="rust")[0]
    assert "nothing would be replaced" in problems("replace", node="f1")[0]


@pytest.mark.parametrize(
    "fault",
    [
        {"toxic": {**TIMED, "type": "timeout", "timeout": "0s"}},
    ],
)
def test_the_simulator_refuses_what_it_does_not_model(fault: dict[str, Any]) -> None:
    with pytest.raises(NotSimulated, match="--plane containers") as refused:
        prepare(make_experiment(fault))
    assert refused.value.exit_code == 2


def test_the_simulator_takes_a_replacement_as_a_crash_and_refuses_channels() -> None:
    replaced = prepare(make_experiment({"replace": {"at": "1s", "node": "f1", "runtime": "rust"}}))
    assert [(outage.node, outage.keep) for outage in replaced.outages] == [("f1", Keep.NOTHING)]
    with pytest.raises(NotSimulated, match=r"policy\.channel"):
        prepare(make_experiment(policy={"channel": {"bandwidth": "10KB/s"}}))


def test_what_cannot_matter_in_the_simulator_is_a_note() -> None:
    one = make_experiment(system={"wire": "oneshot", "reconciler": {"every": "1s"}})
    assert prepare(one).experiment is one
    assert [note.split(":")[0] for note in notes(one)] == ["reconciler", "wire oneshot"]
    assert notes(make_experiment()) == ()
