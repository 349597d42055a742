"""Named networks and faults: each is valid, each can be overridden, and each says where its numbers come from."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from lab.faults import FAULTS
from lab.model import link, presets
from lab.model.fault_presets import PRESETS, written
from lab.model.link import Network
from lab.spec.document import resolved
from lab.spec.errors import SpecErrors
from lab.spec.load import load_text
from lab.spec.schema import Experiment

TEXT = """
title: t
system: { replicas: [ { name: leader }, { name: f1 }, { name: f2 } ] }
network: { %s }
workload: { arrivals: poisson(20/s), duration: 5s }
faults: [ %s ]
drain: 3s
"""


def load(network: str = "preset: wan", fault: str = "preset: { name: gc_pause, at: 1s, node: f1 }") -> Experiment:
    return load_text(TEXT % (network, fault), "t.yaml", Path())


def message(**given: str) -> str:
    with pytest.raises(SpecErrors) as caught:
        load(**given)
    return caught.value.render()


def test_the_table_and_the_types_name_the_same() -> None:
    assert set(get_args(link.Preset)) == set(presets.NETWORKS) and get_args(link.Region) == presets.REGIONS


@pytest.mark.parametrize("name", presets.NETWORKS)
def test_networks_are_read_back_as_they_are(name: str) -> None:
    network = Network.model_validate({"preset": name})
    assert Network.model_validate(network.model_dump(mode="json")) == network
    assert len(presets.NETWORKS[name][1]) > 30


def test_keys_of_the_file_win_over_the_preset() -> None:
    network = Network.model_validate({"preset": "mobile_3g", "links": {"default": {"loss": "7%"}, "a->b": {}}})
    assert network.link("a", "b").loss == 70_000
    assert network.link("a", "b").delay.arguments == (250_000_000,)
    assert network.link("a", "b").bandwidth == 93_750


def test_regions_give_each_pair_its_own_delay() -> None:
    one = load("preset: three_continents, regions: { leader: europe, f1: japan, f2: europe }, "
               "links: { default: { loss: 1% }, f1->f2: { delay: 1ms } }")  # fmt: skip
    assert one.network.link("leader", "f1").delay.text().startswith("pareto(minimum=247ms")
    assert one.network.link("leader", "f2").delay.text().startswith("pareto(minimum=6ms")
    assert one.network.link("f1", "f2").delay.arguments == (1_000_000,)
    assert one.network.link("leader", "f1").loss == 10_000
    again = Experiment.model_validate(resolved(one))
    assert again.network.link("leader", "f1") == one.network.link("leader", "f1")


@pytest.mark.parametrize("source", presets.REGIONS)
def test_the_mean_of_a_region_delay_is_the_matrix(source: str) -> None:
    for target, mean_ms in zip(presets.REGIONS, presets.MEANS_MS[presets.REGIONS.index(source)], strict=True):
        table = presets.region_delay(source, target).table()
        mean_ns = sum(table[:4096]) / 4096  # without the finer knots of the tail
        assert mean_ns == pytest.approx(mean_ms * 1e6, rel=0.05)


@pytest.mark.parametrize("name", PRESETS)
def test_fault_presets_are_faults(name: str) -> None:
    node = {"node": "leader"} if PRESETS[name][0] in ("pause", "disk_stall", "slow_node", "clock_offset") else {}
    kind, parameters = written({"name": name, "at": "1s", **node})
    fault = FAULTS[kind].model_validate(parameters)
    assert fault.problems(("leader", "f1")) == [] and fault.stop_ns > 1_000_000_000
    assert FAULTS[kind].model_validate(fault.model_dump(mode="json")) == fault


def test_a_preset_is_its_fault_with_the_files_keys() -> None:
    one = load(fault="preset: { name: gc_pause, at: 1s, for: 2s, node: f1 }")
    assert one.faults[0].kind == "pause" and one.faults[0].stop_ns == 3_000_000_000
    assert Experiment.model_validate(resolved(one)) == one


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"fault": "preset: { name: gc_puase, at: 1s }"}, "did you mean gc_pause?"),
        ({"fault": "preset: { at: 1s }"}, "name is missing"),
        ({"network": "preset: wna"}, "wan"),
        ({"network": "preset: three_continents"}, "add regions"),
        ({"network": "preset: lan, regions: { leader: europe }"}, "is in no region"),
        ({"network": "preset: lan, regions: { leader: mars, f1: europe, f2: europe }"}, "europe"),
        ({"network": "preset: lan, regions: { ledaer: europe }"}, "did you mean leader?"),
        ({"fault": "partition: { at: 1s, for: 1s }"}, "shape: halves"),
        ({"fault": "partition: { at: 1s, for: 1s, shape: minority_third }"}, "needs 4 replicas"),
        ({"fault": "partition: { at: 1s, for: 1s, shape: halves, groups: [[f1], [f2]] }"}, "remove groups"),
        ({"fault": "partition: { at: 1s, for: 1s, shape: halves, order: [f1] }"}, "every replica once"),
        ({"fault": "partition: { at: 1s, for: 1s, shape: random, size: 3 }"}, "nobody on the other side"),
        ({"fault": "swarm: { at: 1s, for: 1s, faults: [drop, dorp] }"}, "drop"),
        ({"fault": "swarm: { at: 1s, for: 1s, faults: [drop], count: 4..1 }"}, "lower end first"),
        ({"fault": "swarm: { at: 1s, for: 1s, faults: [drop], heal_by: 1s }"}, "heal no earlier"),
        ({"fault": "swarm: { at: 1s, for: 1s, faults: [clock_offset] }"}, "stamps nothing"),
        ({"fault": "flapping: { at: 1s, for: 1s, period: 100ms, duty: 100% }"}, "it is a cut"),
        ({"fault": "clock_offset: { at: 1s, for: 1s, node: f1, offset: 1s }"}, "only the leader"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(given: dict[str, str], sentence: str) -> None:
    assert sentence in message(**given)
