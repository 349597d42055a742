"""Pipelined HTTP: many requests in one write, answers in any packaging."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from lab.containers.exchange import Channel, ExchangeError, Request
from tests.containers.fake_server import ok, serve


def chunked(body: bytes) -> bytes:
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(body[at : at + 3]), body[at : at + 3]) for at in range(0, len(body), 3))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"


def channel(port: int, timeout_s: float = 1.0) -> Channel:
    return Channel("127.0.0.1", port, name="the fake", timeout_s=timeout_s)


def test_answers_come_back_in_order_with_the_skew() -> None:
    numbers = count()
    answers = [ok, lambda value: chunked(b'{"n": %d}' % value["n"])]

    def answer(*_: object) -> bytes:
        number = next(numbers)
        return answers[number % 2]({"n": number})

    with serve(answer) as port:
        batch = asyncio.run(channel(port).exchange([Request("GET", f"/{n}") for n in range(20)]))
    assert [reply.json()["n"] for reply in batch.replies] == list(range(20))
    assert 0 < batch.finished_ns - batch.started_ns < 1_000_000_000


def test_a_broken_connection_is_opened_anew() -> None:
    answers = [None, ok({"fine": 1})]

    async def talk(port: int) -> dict[str, object]:
        one = channel(port, 0.2)
        with pytest.raises(ExchangeError, match=r"did not answer within 0\.2 s"):
            await one.ask("GET", "/")
        return await one.ask("GET", "/")

    with serve(lambda *_: answers.pop(0)) as port:
        assert asyncio.run(talk(port)) == {"fine": 1}


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000,
        b"\0\0\0\0\r\n\r\n",
    ],
)
def test_answers_without_bounds_or_form_are_refused(reply: bytes) -> None:
    with serve(lambda *_: reply) as port, pytest.raises(ExchangeError):
        asyncio.run(channel(port).ask("GET", "/"))
