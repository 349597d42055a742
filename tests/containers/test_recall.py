"""Links that remember, as the message toxic is told of them: what the simulator does, in range, or refused."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lab.containers import toxiproxy as adapter
from lab.containers.links import Link, plan
from lab.containers.schedule import refusals
from lab.containers.toxiproxy import ProxySpec, Server, ToxiproxyError
from lab.core import stateful as s
from lab.model.extras import NOTHING
from tests.containers.conftest import make_experiment
from tests.containers.fake_server import ok, serve
from tests.containers.test_toxiproxy import Honest

GOLDEN = Path(__file__).parents[2] / "compose" / "golden"
AT = {"at": "1s", "for": "1s"}
CARRIED: dict[str, tuple[dict[str, Any], str]] = {
    "corrupt": ({"corrupt": {**AT, "share": "5%"}}, "damaged messages"),
    "loss_bursts": ({"loss_bursts": {**AT, "to_bad": "1%", "to_good": "10%"}}, "bursts of loss"),
    "delivered": ({"loss_correlated": {**AT, "share": "5%", "correlation": "20%"}}, "bursts of loss"),
    "written": ({"loss_correlated": {**AT, "share": "5%", "correlation": "20%", "as": "written"}}, "correlated loss"),
    "throttle": ({"throttle": {**AT, "bandwidth": "10KB/s"}}, "a bandwidth that the messages of a link share"),
    "kinds": ({"drop": {**AT, "share": "5%", "kinds": ["update"]}}, "messages of some kinds only"),
    "first": ({"delay": {**AT, "by": "20ms", "first": 4}}, "the first so many messages only"),
}


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_stateful", GOLDEN / "make_stateful.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def link_of(*faults: dict[str, Any], name: str = "leader->f1", **others: Any) -> Link:
    return next(link for link in plan(make_experiment(*faults, **others), 7).links if link.name == name)


def ruled() -> Link:
    return link_of(CARRIED["kinds"][0], CARRIED["first"][0], CARRIED["loss_bursts"][0], CARRIED["throttle"][0])


def test_the_golden_vectors_are_what_the_simulator_does() -> None:
    made = json.loads(json.dumps(maker().vectors()))
    stored = json.loads((GOLDEN / "stateful.json").read_text())
    assert made["attributes"] == stored["attributes"]
    assert made["messages"] == stored["messages"]


def test_other_luck_is_not_the_golden_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    module = maker()
    monkeypatch.setattr(module, "SEED", 12)
    assert module.vectors()["messages"] != json.loads((GOLDEN / "stateful.json").read_text())["messages"]


@pytest.mark.parametrize("what", CARRIED)
def test_framed_carries_what_oneshot_refuses_with_a_sentence(what: str) -> None:
    fault, lacking = CARRIED[what]
    assert refusals(make_experiment(fault), 7) == []
    network = {"links": {"default": {"delay": "2ms"}}}
    (sentence,) = refusals(make_experiment(fault, system={"wire": "oneshot"}, network=network), 7)
    assert f"a stock server has nothing for {lacking}; write system.wire: framed" in sentence


@pytest.mark.parametrize("own", ["corrupt: 5%", "bandwidth: 1MB/s", "loss_bursts"])
def test_links_themselves_may_remember_on_framed_alone(own: str) -> None:
    key, _, value = own.partition(": ")
    link = {"delay": "2ms", key: value or {"to_bad": "1%", "to_good": "10%"}}
    network = {"links": {"default": link}}
    assert refusals(make_experiment(network=network), 7) == []
    found = refusals(make_experiment(network=network, system={"wire": "oneshot"}), 7)
    assert len(found) == 4 and all("a stock server has nothing for" in sentence for sentence in found)


def test_links_without_a_memory_are_told_of_none() -> None:
    drop = {"drop": {**AT, "share": "5%"}}
    assert (link_of(drop).extras, link_of(drop).leaves, link_of(drop).memory_words) == ((), (), 0)
    corrupt = {"corrupt": {**AT, "share": "5%", "links": ["leader->f2"]}}
    assert link_of(corrupt).extras == () and link_of(corrupt, name="leader->f2").extras != ()


def test_a_chain_keeps_its_word_while_other_faults_come_and_go() -> None:
    bursts = {"loss_bursts": {"at": "1s", "for": "4s", "to_bad": "1%", "to_good": "10%"}}
    link = link_of(bursts, {"drop": {"at": "2s", "for": "1s", "share": "5%"}})
    slots = [link.extras[row][s.CHAIN_SLOT] for row in link.row_of_epoch]
    assert slots == [-1, 0, 0, 0, -1] and link.memory_words == 1
    again = link_of(bursts, {"loss_bursts": {"at": "5s", "for": "1s", "to_bad": "1%", "to_good": "10%"}})
    assert [again.extras[row][s.CHAIN_SLOT] for row in again.row_of_epoch] == [-1, 0, 1, -1], "each its own word"


def test_holds_and_kills_stay_with_those_who_do_them() -> None:
    hold = {"cut": {"at": "1s", "for": "1s", "kind": "hold"}}
    kill = {"cut": {"at": "3s", "for": "1s", "kind": "kill"}}
    assert link_of(hold, kill).extras == ()
    everywhere = {"links": {"default": {"corrupt": "5%"}}}
    link = link_of(hold, kill, network=everywhere)
    assert {extra[: s.BYTES_PER_S] for extra in link.extras} == {NOTHING[: s.BYTES_PER_S]}
    assert adapter.problems(link) == []


@pytest.mark.parametrize(("kind", "why"), [("hold", "decided when they leave"), ("kill", "is not counted")])
def test_what_would_be_asked_out_of_turn_is_refused(kind: str, why: str) -> None:
    cut = {"cut": {"at": "1s", "for": "1s", "kind": kind, "links": ["leader->f1"]}}
    first = {"drop": {"at": "2s", "for": "1s", "share": "100%", "first": 3}}
    later, elsewhere = {"drop": {**first["drop"], "at": "2001ms"}}, {"drop": {**first["drop"], "links": ["f1->leader"]}}
    (sentence,) = refusals(make_experiment(cut, first), 7)
    assert why in sentence and "must not overlap it" in sentence
    assert refusals(make_experiment(cut, later), 7) == refusals(make_experiment(cut, elsewhere), 7) == []
    assert refusals(make_experiment(cut, {"drop": {"at": "1s", "for": "1s", "share": "5%"}}), 7) == []


def test_frames_that_only_real_leaders_send_do_not_count() -> None:
    first = {"drop": {"at": "2s", "for": "1s", "share": "100%", "first": 3}}
    policy = {"progress_every": "100ms"}
    found = refusals(make_experiment(first, policy=policy), 7)
    assert found and all("name the kinds" in sentence for sentence in found)
    for other in ({"kinds": ["update"]}, {"links": ["f1->leader"]}):
        assert refusals(make_experiment({"drop": {**first["drop"], **other}}, policy=policy), 7) == []
    assert refusals(make_experiment(first), 7) == []


def test_rules_choose_among_behaviours_of_their_link() -> None:
    link = ruled()
    (extra,) = [extra for extra in link.extras if extra[s.RULES]]
    assert extra[s.RULES] == 2 and len(link.leaves) == 4 and adapter.problems(link) == []
    assert [row[1] for row, _ in link.leaves] == [0, 50_000, 0, 50_000]
    assert all(leaf[s.CHAIN_SLOT] >= 0 and leaf[s.BYTES_PER_S] == 10_000 for _, leaf in link.leaves)
    delays = [row[5:7] for row, _ in link.leaves]
    assert [law >= 0 for _, law in delays] == [False, False, True, True]
    assert all(link.tables[table] for row, _ in link.leaves for table in row[5:] if table >= 0)


def test_numbers_out_of_range_are_named() -> None:
    link = ruled()
    at = next(number for number, extra in enumerate(link.extras) if extra[s.RULES])

    def changed(column: int, value: int) -> Link:
        extra = list(link.extras[at])
        extra[column] = value
        return replace(link, extras=(*link.extras[:at], tuple(extra), *link.extras[at + 1 :]))

    (row, leaf), *leaves = link.leaves
    wrong = [
        replace(link, extras=link.extras[1:]),
        replace(link, extras=(NOTHING[:-1], *link.extras[1:])),
        replace(link, memory_words=0),
        replace(link, memory_words=70_000),
        replace(link, leaves=link.leaves[1:]),
        replace(link, leaves=(((2, *row[1:]), leaf), *leaves)),
        replace(link, leaves=((row, (*leaf[: s.RULES], 1, *leaf[s.RULES + 1 :])), *leaves)),
        changed(s.HOLD_UNTIL_NS, 1),
        changed(s.STREAM_SLOT, 0),
        changed(s.CORRUPT_PPM, 1_000_001),
        changed(s.CHAIN_SLOT, link.memory_words),
        changed(s.QUEUE_SLOT, -1),
        changed(s.RULES, 4),
        changed(s.LEAVES, 1),
        changed(s.RULE_0 + 4, -1),
    ]
    for one in wrong:
        assert adapter.problems(one), one
    assert adapter.problems(link) == []


def set_up(link: Link, lie: dict[str, Any]) -> Honest:
    fake = Honest(lie)
    with serve(fake) as port:
        Server("127.0.0.1", port).set_up([ProxySpec(link, "127.0.0.1:9001", "127.0.0.1:7000")])
    return fake


def test_extras_are_sent_and_read_back() -> None:
    link = ruled()
    sent = set_up(link, {}).toxics["leader->f1"]["attributes"]
    assert sent["extras"] == [list(extra) for extra in link.extras] and sent["memory_words"] == link.memory_words
    assert sent["leaves"] == [[*row, *extra] for row, extra in link.leaves]


@pytest.mark.parametrize("lie", [{"extras": []}, {"leaves": [[0] * 45]}, {"memory_words": 99}])
def test_extras_that_read_back_otherwise_are_refused(lie: dict[str, Any]) -> None:
    with pytest.raises(ToxiproxyError, match=f"reads back with {next(iter(lie))}"):
        set_up(ruled(), {"attributes": lie})


def test_only_links_that_remember_are_asked_to_forget() -> None:
    asked: list[tuple[str, bytes]] = []

    def answer(method: str, path: str, body: bytes) -> bytes:
        asked.append((method, body))
        return ok({"attributes": json.loads(body)["attributes"]})

    plain, link = link_of({"drop": {**AT, "share": "5%"}}), ruled()
    with serve(answer) as port:
        asyncio.run(Server("127.0.0.1", port).forget([plain]))
        asyncio.run(Server("127.0.0.1", port).forget([plain, link]))
    assert [method for method, _ in asked] == ["PATCH"]
    assert json.loads(asked[0][1]) == {"attributes": {"memory_words": link.memory_words}}
    with serve(lambda *_: ok({"attributes": {}})) as port, pytest.raises(ToxiproxyError, match="did not take"):
        asyncio.run(Server("127.0.0.1", port).forget([link]))
