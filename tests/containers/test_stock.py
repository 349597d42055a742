"""An unmodified server: what it is told, what must read back, and what its counts show."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from lab.containers import evidence, sidecar, stock
from lab.containers import toxiproxy as adapter
from lab.containers.conduct import Snapshot
from lab.containers.links import Link, plan
from lab.containers.stock import Traffic
from lab.containers.toxiproxy import ProxySpec, Server, ToxiproxyError
from tests.containers.conftest import make_experiment
from tests.containers.fake_server import http, ok, serve

FAULTS = (
    {"cut": {"at": "1s", "for": "1s", "links": ["leader->f1"]}},
    {"toxic": {"at": "3s", "for": "1s", "links": ["leader->f1"], "type": "reset_peer", "timeout": "0s"}},
    {"cut": {"at": "5s", "for": "1s", "links": ["leader->f1"], "kind": "kill"}},
)
METRICS = """# TYPE toxiproxy_proxy_received_bytes_total counter
toxiproxy_proxy_received_bytes_total{direction="downstream",listener="1.2.3.4:1",proxy="a->b",upstream="5:7"} 9
toxiproxy_proxy_received_bytes_total{direction="upstream",listener="1.2.3.4:1",proxy="a->b",upstream="5:7"} 1.5e+06
toxiproxy_proxy_sent_bytes_total{direction="upstream",listener="1.2.3.4:1",proxy="a->b",upstream="5:7"} 1400000
"""


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Link:
    monkeypatch.setattr(adapter, "CALL_TIMEOUT_S", 0.5)
    network = {"links": {"default": {"delay": "10ms"}}}
    one = make_experiment(*FAULTS, followers=("go",), duration="7s", network=network, system={"wire": "oneshot"})
    return plan(one, 7).links[0]


class Stock:
    """A fake that keeps proxies and toxics as the real one does, and may forget what it was told."""

    def __init__(self, deaf: str = "") -> None:
        self.proxies: dict[str, dict[str, Any]] = {}
        self.deaf = deaf
        self.asked: list[str] = []

    def __call__(self, method: str, path: str, body: bytes) -> bytes:
        parts = path.replace("%3E", ">").strip("/").split("/")
        self.asked.append(f"{method} {'/'.join(parts)}")
        told = json.loads(body) if body else {}
        if parts == ["proxies"]:
            if method == "POST":
                self.proxies[told["name"]] = {**told, "toxics": []}
            return ok(self.proxies[told["name"]] if told else self.proxies)
        proxy = self.proxies[parts[1]]
        if len(parts) == 2:
            return ok(proxy | told if self.deaf == "proxy" else self._change(proxy, told))
        if len(parts) == 3:
            if method == "POST":
                proxy["toxics"].append(told)
            return ok(told or proxy["toxics"])
        toxic = next(each for each in proxy["toxics"] if each["name"] == parts[3])
        if method == "DELETE":
            if self.deaf != "delete":
                proxy["toxics"].remove(toxic)
            return http(204, b"")
        return ok({**toxic, **told} if self.deaf == "patch" else self._change(toxic, told))

    @staticmethod
    def _change(one: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
        one.update(told)
        return one


async def through(server: Server, link: Link) -> None:
    """Set every row of a link in turn, and read each back."""
    for row in link.row_of_epoch[1:]:
        await server.switch([(link, row)])
        await server.confirm([link])


def test_a_link_goes_through_its_rows_and_ends_as_it_began(link: Link) -> None:
    fake = Stock()
    with serve(fake) as port:
        server = Server("127.0.0.1", port)
        server.set_up([ProxySpec(link, "127.0.0.1:9001", "127.0.0.1:7000")])
        before = json.dumps(fake.proxies["leader->f1"]["toxics"])
        fake.proxies["leader->f1"]["enabled"] = True
        asyncio.run(through(server, link))
    assert json.dumps(fake.proxies["leader->f1"]["toxics"]) == before.replace('"toxicity": 0.0', '"toxicity": 0.0')
    assert fake.proxies["leader->f1"]["enabled"] is True
    changes = [asked.removeprefix("PATCH ") for asked in fake.asked if asked.startswith("PATCH")]
    assert changes == ["proxies/leader->f1/toxics/f0.cut"] * 2 + ["proxies/leader->f1"] * 2
    assert [asked.split()[0] for asked in fake.asked if asked.endswith("f1.reset_peer")] == ["DELETE"]
    assert not [asked for asked in fake.asked if "reset" in asked and "toxics" not in asked], (
        "POST /reset is never used"
    )


@pytest.mark.parametrize("deaf", ["patch", "delete"])
def test_what_was_answered_and_not_done_is_noticed(deaf: str, link: Link) -> None:
    with serve(Stock(deaf)) as port:
        server = Server("127.0.0.1", port)
        server.set_up([ProxySpec(link, "127.0.0.1:9001", "127.0.0.1:7000")])
        with pytest.raises(ToxiproxyError, match="reads back otherwise than it was switched"):
            asyncio.run(through(server, link))


def test_links_into_a_replica_that_is_down_stay_closed(link: Link) -> None:
    fake = Stock()
    with serve(fake) as port:
        server = Server("127.0.0.1", port)
        server.set_up([ProxySpec(link, "127.0.0.1:9001", "127.0.0.1:7000")])
        killed = next(row for row in link.row_of_epoch if not link.is_open(row))
        server.in_force[link.name] = killed
        asyncio.run(server.switch([(link, link.row_of_epoch[0])], shut={"f1"}))
    assert fake.proxies["leader->f1"]["enabled"] is False


def test_bytes_are_read_from_the_metrics() -> None:
    assert stock.parse_metrics(METRICS) == {"a->b": Traffic(1_500_000, 1_400_000)}
    assert stock.parse_metrics("nothing 1\n") == {}


@pytest.mark.parametrize("odd", [{}, {"type": "timeout"}, {"type": 1, "stream": 2, "toxicity": "x", "attributes": []}])
def test_odd_toxics_compare_with_nothing(odd: dict[str, Any], link: Link) -> None:
    assert stock.reading(odd) not in stock.readings(link, 0).values()


def snapshot(received: int, sent: int, **counters: int) -> Snapshot:
    both = {"leader": Counter(counters), "f1": Counter(counters)}
    return Snapshot({"leader->f1": Traffic(received, sent)}, {"leader->f1": 1}, both)


def test_bytes_show_whether_a_fault_acted(link: Link) -> None:
    quiet = snapshot(1000, 1000)
    assert evidence.of_link(0, "cut", link, [], [(quiet, snapshot(3000, 1100))]) == 1900
    assert evidence.of_link(0, "cut", link, [], [(quiet, snapshot(3000, 2900))]) == 0, "no more than was on its way"
    assert evidence.of_link(0, "cut", link, [], []) == 0, "what was not looked at has not bitten"
    assert evidence.of_link(2, "cut", link, [], [(quiet, snapshot(1000, 1000, unsent=7))]) == 7
    assert evidence.of_link(2, "cut", link, [], [(quiet, quiet)]) == 0


def test_the_reconcilers_reports_become_notes() -> None:
    lines = [
        {"t": 1, "e": "round", "replica": "f1", "nodes": 5, "rows": 2, "lag": 0, "corrected": 1, "left": 0,
         "drift": [{"key": "6b31", "why": "missing", "leader_sequence": "3", "replica_sequence": "0"}],
         "unreachable": False},
        {"t": 2, "e": "round", "replica": "f2", "nodes": 1, "rows": 0, "lag": 0, "corrected": 0, "left": 0, "drift": [],
         "unreachable": True},
        {"t": 3, "e": "snapshot", "prefix": "9", "valid": False, "reason": "digest"},
    ]  # fmt: skip
    data = b"\n".join(json.dumps(line).encode() for line in lines) + b"\nhalf a li"
    notes, figures = sidecar.summary(data)
    assert "2 rounds" in notes[0] and "1 missing" in notes[0] and "(1 not valid)" in notes[0]
    assert notes[1] == "reconciler: f1 6b31: missing" and "1 report lines" in notes[2]
    assert figures["reconciler.drift"] == "1" and figures["reconciler.unreachable"] == "1"
