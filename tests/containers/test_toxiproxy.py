"""The Toxiproxy adapter against servers that answer anything."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import pytest
import toxiproxy.api

from lab.containers import toxiproxy as adapter
from lab.containers.links import Link, plan
from lab.containers.toxiproxy import ProxySpec, Server, ToxiproxyError
from lab.core.quantiles import LARGEST_NS
from tests.containers.conftest import make_experiment
from tests.containers.fake_server import http, ok, serve

CUT = {"partition": {"at": "1s", "for": "1s", "groups": [["leader"], ["f1"]]}}


@pytest.fixture
def links() -> tuple[Link, ...]:
    return plan(make_experiment(CUT, followers=("go",)), 7).links


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "CALL_TIMEOUT_S", 0.3)


def specs(links: tuple[Link, ...]) -> list[ProxySpec]:
    return [ProxySpec(link, f"127.0.0.1:{9001 + at}", "127.0.0.1:7000") for at, link in enumerate(links)]


ODD_ANSWERS = {
    "500": http(500, b'{"error":"boom"}'),
    "HTML": http(200, b"<html>\x1b[31mhello</html>", "text/html"),
    "half a JSON": http(200, b'{"name": "x"'),
    "a list": http(200, b"[]"),
    "an empty object": http(200, b"{}"),
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "a body without end": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
    "nothing": None,
}


@pytest.mark.parametrize("what", ODD_ANSWERS)
def test_odd_answers_are_errors_within_the_deadline(what: str, links: tuple[Link, ...]) -> None:
    started = time.monotonic()
    with serve(lambda *_: ODD_ANSWERS[what]) as port:
        server = Server("127.0.0.1", port)
        with pytest.raises(ToxiproxyError) as set_up:
            server.set_up(specs(links))
        with pytest.raises(ToxiproxyError) as switch:
            asyncio.run(Server("127.0.0.1", port).switch([(links[0], 1)]))
        with pytest.raises(ToxiproxyError):
            asyncio.run(Server("127.0.0.1", port).states(links))
    assert time.monotonic() - started < 10, "three requests, each with a deadline of its own"
    assert "\x1b" not in str(set_up.value) + str(switch.value)


def test_a_server_that_is_not_there_is_named(links: tuple[Link, ...]) -> None:
    with serve(lambda *_: None) as port:
        pass
    with pytest.raises(ToxiproxyError, match="cannot be reached"):
        asyncio.run(Server("127.0.0.1", port).switch([(links[0], 1)]))


class Honest:
    """A fake that keeps what it is told, and may lie when it is read back."""

    def __init__(self, lie: dict[str, Any]) -> None:
        self.proxies: dict[str, dict[str, Any]] = {}
        self.toxics: dict[str, dict[str, Any]] = {}
        self.lie = lie

    def __call__(self, method: str, path: str, body: bytes) -> bytes:
        parts = path.replace("%3E", ">").strip("/").split("/")
        if parts == ["proxies"]:
            if method == "POST":
                proxy = json.loads(body)
                self.proxies[proxy["name"]] = proxy
                return ok(proxy)
            return ok({name: {**proxy, **self.lie.get("proxy", {})} for name, proxy in self.proxies.items()})
        if method == "POST":
            toxic = json.loads(body)
            toxic["attributes"]["table_count"] = len(toxic["attributes"].pop("tables"))
            self.toxics[parts[1]] = toxic
            return ok(toxic)
        shown = json.loads(json.dumps(self.toxics[parts[1]]))
        shown["attributes"] |= self.lie.get("attributes", {})
        shown |= self.lie.get("toxic", {})
        return ok([shown])


def test_what_reads_back_as_it_was_set_is_accepted(links: tuple[Link, ...]) -> None:
    fake = Honest({})
    with serve(fake) as port:
        Server("127.0.0.1", port).set_up(specs(links))
    assert set(fake.proxies) == {"leader->f1", "f1->leader"}
    assert all(proxy["enabled"] is False for proxy in fake.proxies.values())
    assert {toxic["stream"] for toxic in fake.toxics.values()} == {"upstream"}


@pytest.mark.parametrize(
    "lie",
    [
        {"proxy": {"listen": "[::]:9001"}},
        {"proxy": {"enabled": True}},
        {"attributes": {"key": 1}},
        {"attributes": {"row": 1}},
        {"attributes": {"rows": [[0] * 9]}},
        {"attributes": {"table_count": 0}},
        {"toxic": {"stream": "downstream"}},
        {"toxic": {"toxicity": 0.5}},
    ],
)
def test_what_reads_back_otherwise_is_refused(lie: dict[str, Any], links: tuple[Link, ...]) -> None:
    with serve(Honest(lie)) as port, pytest.raises(ToxiproxyError, match="reads back"):
        Server("127.0.0.1", port).set_up(specs(links))


def test_the_library_is_left_as_it_was(links: tuple[Link, ...]) -> None:
    consumer = toxiproxy.api.APIConsumer
    before = (consumer.host, consumer.port, toxiproxy.api.requests)
    with serve(lambda *_: http(409, b"taken")) as port, pytest.raises(ToxiproxyError):
        Server("127.0.0.1", port).set_up(specs(links))
    assert (consumer.host, consumer.port, toxiproxy.api.requests) == before


def test_a_row_that_is_not_taken_is_an_error(links: tuple[Link, ...]) -> None:
    with (
        serve(lambda *_: ok({"attributes": {"row": 0}})) as port,
        pytest.raises(ToxiproxyError, match="did not take row 1"),
    ):
        asyncio.run(Server("127.0.0.1", port).switch([(links[0], 1)]))


@pytest.mark.parametrize("ours", [True, False])
def test_a_switch_ends_when_the_server_says_if_its_clock_is_ours(ours: bool, links: tuple[Link, ...]) -> None:
    told: list[int] = []

    def switched(*_: Any) -> bytes:
        told.append(time.monotonic_ns() if ours else 5)
        time.sleep(0.02)  # the answer is late
        return ok({"attributes": {"row": 1, "switched_ns": told[-1]}})

    with serve(switched) as port:
        done = asyncio.run(Server("127.0.0.1", port).switch([(link, 1) for link in links[:2]]))
    assert ([done.started_ns, done.finished_ns] == told) == ours
    assert done.skew_ns >= (20_000_000 if ours else 40_000_000), "the second link changed after the first answer"


def test_planned_links_are_read_at_their_time_and_not_told_again(links: tuple[Link, ...]) -> None:
    at_ns = time.monotonic_ns() + 30_000_000
    asked: list[tuple[str, Any]] = []

    def answer(method: str, _: str, body: bytes) -> bytes:
        asked.append((method, json.loads(body) if body else None))
        is_due = time.monotonic_ns() >= at_ns
        told = {"row": 1, "switched_ns": at_ns, "planned": []} if is_due else {"row": 0, "planned": [[1, at_ns]]}
        return ok({"attributes": told})

    async def both(server: Server) -> Any:
        await server.plan([(link, 1) for link in links[:2]], at_ns)
        await asyncio.sleep(0.05)
        return await server.switch([(link, 1) for link in links[:2]])

    with serve(answer) as port:
        done = asyncio.run(both(Server("127.0.0.1", port)))
    assert asked == [("PATCH", {"attributes": {"row": 1, "at_ns": at_ns}})] * 2 + [("GET", None)] * 2
    assert (done.started_ns, done.skew_ns) == (at_ns, 0)


def test_a_plan_that_is_not_taken_is_an_error(links: tuple[Link, ...]) -> None:
    with (
        serve(lambda *_: ok({"attributes": {"row": 0, "planned": []}})) as port,
        pytest.raises(ToxiproxyError, match="did not take row 1 for later"),
    ):
        asyncio.run(Server("127.0.0.1", port).plan([(links[0], 1)], 5))


def test_numbers_out_of_range_never_reach_the_server(links: tuple[Link, ...]) -> None:
    link, row = links[0], links[0].rows[0]
    wrong = [
        replace(link, key=1 << 63),
        replace(link, key=-1),
        replace(link, rows=()),
        replace(link, rows=((2, *row[1:]),)),
        replace(link, rows=((0, 1_000_001, *row[2:]),)),
        replace(link, rows=((*row[:4], LARGEST_NS + 1, *row[5:]),)),
        replace(link, rows=((*row[:5], len(link.tables), *row[6:]),)),
        replace(link, rows=(row[:8],)),
        replace(link, tables=((0,) * 10,)),
        replace(link, tables=((5_000_000_000_000_000_000,) * 4145,)),
    ]
    for one in wrong:
        assert adapter.problems(one), one
    asked: list[str] = []
    with serve(lambda method, path, body: asked.append(path) or ok({})) as port, pytest.raises(ToxiproxyError):
        Server("127.0.0.1", port).set_up([ProxySpec(wrong[0], "127.0.0.1:1", "127.0.0.1:2")])
    assert asked == []
    assert not adapter.problems(link)
