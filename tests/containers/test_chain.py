"""Effects as stock toxics: exactly, or refused with what could be written instead."""

from __future__ import annotations

from typing import Any

import pytest

from lab.containers import chain, links
from lab.containers.schedule import refusals, timetable
from lab.core.laws import parse_law
from lab.faults import FAULTS
from lab.spec.schema import Experiment
from tests.containers.conftest import make_experiment


def experiment(*faults: dict[str, Any], delay: str = "10ms", **others: Any) -> Experiment:
    link = {"delay": delay, **others.pop("link", {})}
    system = {"wire": others.pop("wire", "oneshot"), **others.pop("system", {})}
    return make_experiment(*faults, network={"links": {"default": link}}, system=system, **others)


def toxics(one: Experiment, link: str = "leader->f1") -> dict[str, tuple[str, dict[str, int], int]]:
    found = next(each for each in links.plan(one, 7).links if each.name == link)
    return {toxic.name: (toxic.type, dict(toxic.attributes), toxic.share_ppm) for toxic in found.toxics}


@pytest.mark.parametrize(
    ("law", "middle", "jitter"),
    [("20ms", 20, 0), ("uniform(low=10ms, high=30ms)", 20, 10), ("uniform(low=0s, high=20ms)", 10, 10)],
)
def test_laws_that_a_stock_server_draws(law: str, middle: int, jitter: int) -> None:
    """latency L, jitter J is U{L-J .. L+J-1} in whole milliseconds."""
    (toxic,), sentence = chain.of_law("x", 0, parse_law(law))
    assert (toxic.type, dict(toxic.attributes), sentence) == ("latency", {"latency": middle, "jitter": jitter}, "")


def test_no_delay_needs_no_toxic() -> None:
    assert chain.of_law("x", 0, parse_law("0s")) == ([], "")


@pytest.mark.parametrize(
    ("law", "instead"),
    [
        ("1500us", "write 2ms"),
        ("uniform(low=10ms, high=25ms)", "high=26ms"),
        ("uniform(low=500us, high=4ms)", "uniform(low=0ns, high=4ms)"),
        ("lognormal(median=20ms, p99=60ms)", "uniform(low=10ms, high=30ms)"),
        ("2m", "over 60s"),
    ],
)
def test_other_laws_are_refused_with_what_could_be_written(law: str, instead: str) -> None:
    made, sentence = chain.of_law("x", 0, parse_law(law))
    assert made == [] and instead in sentence
    (refused, *_) = refusals(experiment(delay=law), 7)
    assert refused.startswith("the link leader->f1: ") and instead in refused
    assert refusals(experiment(delay=law, wire="framed"), 7) == [], "the other wire carries it"


def test_what_swallows_comes_before_what_delays() -> None:
    drop = {"drop": {"at": "1s", "for": "1s", "share": "5%"}}
    cut = {"partition": {"at": "1s", "for": "1s", "groups": [["leader"], ["f1", "f2"]]}}
    hold = {"cut": {"at": "1s", "for": "1s", "links": "all", "kind": "hold"}}
    found = toxics(experiment(drop, cut, hold, link={"loss": "1%"}))
    assert list(found) == ["f2.hold", "base.loss", "f0.loss", "f1.cut", "base.delay"]
    assert found["f0.loss"] == ("timeout", {"timeout": 0}, 50_000)
    assert found["f1.cut"] == ("timeout", {"timeout": 0}, 1_000_000)
    assert found["f2.hold"] == ("bandwidth", {"rate": 0}, 1_000_000)


def test_only_the_shares_change_with_the_rows() -> None:
    cut = {"cut": {"at": "1s", "for": "1s", "links": ["leader->f1"]}}
    link, other = links.plan(experiment(cut), 7).links[:2]
    assert [link.shares(row) for row in link.row_of_epoch] == [
        {"f0.cut": 0, "base.delay": 1_000_000},
        {"f0.cut": 1_000_000, "base.delay": 1_000_000},
        {"f0.cut": 0, "base.delay": 1_000_000},
    ]
    assert all(other.shares(row) == {"base.delay": 1_000_000} for row in other.row_of_epoch)


def test_what_would_let_many_messages_go_too_early_is_refused() -> None:
    """A stock server releases what waits when a delay ends: exact enough for a tenth of the messages, no more."""
    short, long = ({"delay": {"at": "0s", "for": lasts, "by": "100ms"}} for lasts in ("900ms", "1s"))
    (sentence,) = refusals(experiment(short), 7)
    assert "ten times its delay (1s)" in sentence
    assert refusals(experiment(long), 7) == []


def test_reordering_is_refused_and_jitter_named() -> None:
    (sentence,) = refusals(experiment({"reorder": {"at": "0s", "for": "1s", "share": "5%", "by": "5ms"}}), 7)
    assert "jitter reorders on this wire" in sentence


def test_faults_that_no_stock_toxic_carries_are_refused() -> None:
    known = {"delay", "jitter", "drop", "duplicate", "partition", "cut", "toxic"}
    samples = {
        "corrupt": {"share": "5%"},
        "throttle": {"rate": "10KB/s"},
        "loss_bursts": {"to_bad": "1%", "to_good": "10%"},
        "loss_correlated": {"share": "5%", "correlation": "20%"},
    }
    tried = [kind for kind in samples if kind in FAULTS and kind not in known]
    for kind in tried:
        try:
            one = experiment({kind: {"at": "0s", "for": "1s", **samples[kind]}})
        except ValueError:
            continue  # its parameters are another's to test
        assert refusals(one, 7), kind


def test_a_killed_link_is_closed_and_an_added_toxic_has_a_shield() -> None:
    kill = {"cut": {"at": "1s", "for": "1s", "links": ["leader->f1"], "kind": "kill"}}
    reset = {"toxic": {"at": "1s", "for": "1s", "links": ["leader->f2"], "type": "reset_peer", "timeout": "0s"}}
    table = timetable(experiment(kill, reset), 7)
    link = table.links.links[0]
    assert [link.is_open(row) for row in link.row_of_epoch] == [True, False, True]
    assert list(toxics(experiment(kill, reset), "leader->f2")) == ["base.delay", "shield", "f1.reset_peer"]


@pytest.mark.parametrize("wire", ["framed", "oneshot"])
def test_a_share_of_connections_needs_a_connection_a_message(wire: str) -> None:
    toxic = {"toxic": {"at": "0s", "for": "1s", "type": "timeout", "timeout": "0s", "share": "50%"}}
    found = refusals(experiment(toxic, wire=wire), 7)
    assert found == [] if wire == "oneshot" else "one connection" in found[0]


def test_two_disturbances_of_one_kind_in_one_replica_are_refused() -> None:
    one, two = ({"slow_node": {"at": at, "for": "1s", "node": "f1", "service": "1ms"}} for at in ("0s", "500ms"))
    other = {"disk_stall": {"at": "0s", "for": "1s", "node": "f1", "by": "1ms"}}
    assert refusals(experiment(one, other), 7) == []
    (sentence,) = refusals(experiment(one, two), 7)
    assert "another fault of the same kind holds f1 at 500ms" in sentence
