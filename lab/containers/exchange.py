"""HTTP/1.1 as the run itself needs it: many requests in one write on one connection, answers in order, a deadline on
all.

Asynchronous, so that a switch of links never holds up the load; small, so that every bound is visible.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.containers.errors import printable

HEAD_MAX_BYTES = 16 << 10
BODY_MAX_BYTES = 16 << 20
_BREAKAGES = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError)


class ExchangeError(RuntimeError):
    """No usable answer came back. The message says from whom and why."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `body` is sent as JSON unless it is None."""

    method: str
    path: str
    body: Any = None

    def encode(self, host: str) -> bytes:
        """Return the bytes of the request."""
        data = b"" if self.body is None else json.dumps(self.body, separators=(",", ":")).encode()
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: driftlab\r\n"
        if data:
            head += "Content-Type: application/json\r\n"
        return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object. Raise ExchangeError if it is none."""
        try:
            value = json.loads(self.body)
        except ValueError as error:
            raise ExchangeError(f"the answer is not JSON: {self.excerpt()!r}") from error
        if not isinstance(value, dict):
            raise ExchangeError(f"the answer is not a JSON object: {self.excerpt()!r}")
        return value

    def excerpt(self) -> str:
        """Return the start of the body as a person may see it."""
        return printable(self.body[:200].decode(errors="replace"))


@dataclass(frozen=True, slots=True)
class Batch:
    """The answers to requests that were sent at once; times are CLOCK_MONOTONIC, just before the first byte left and
    just after
    the last answer came."""

    replies: list[Reply]
    started_ns: int
    finished_ns: int


class Channel:
    """A keep-alive connection to one server, opened when needed and anew after a failure. One exchange at a time."""

    def __init__(self, host: str, port: int, *, name: str, timeout_s: float) -> None:
        self.host = host
        self.port = port
        self.name = name
        self.timeout_s = timeout_s
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._lock = asyncio.Lock()

    async def ready(self) -> None:
        """Open the connection if there is none. Raise ExchangeError if that fails."""
        if self._reader is not None and not self._reader.at_eof() and self._writer is not None:
            return
        self.close()
        try:
            async with asyncio.timeout(self.timeout_s):
                opened = await asyncio.open_connection(self.host, self.port, limit=HEAD_MAX_BYTES)
                self._reader, self._writer = opened
        except (OSError, TimeoutError) as error:
            raise ExchangeError(
                f"{self.name} cannot be reached: {printable(str(error)) or 'no answer in time'}"
            ) from error

    async def exchange(self, requests: Sequence[Request]) -> Batch:
        """Send all requests in one write and return the answers. Raise ExchangeError past the deadline or on a broken
        answer.
        """
        async with self._lock:
            await self.ready()
            assert self._reader is not None and self._writer is not None
            data = b"".join(request.encode(self.host) for request in requests)
            started_ns = time.monotonic_ns()
            try:
                async with asyncio.timeout(self.timeout_s):
                    self._writer.write(data)
                    replies = [await _read_reply(self._reader) for _ in requests]
            except TimeoutError as error:
                self.close()
                raise ExchangeError(f"{self.name} did not answer within {self.timeout_s:g} s") from error
            except _BREAKAGES as error:
                self.close()
                raise ExchangeError(f"{self.name} gave a broken answer: {printable(str(error), 200)}") from error
            except BaseException:
                self.close()  # cancelled between request and answer: the connection is out of step
                raise
            return Batch(replies, started_ns, time.monotonic_ns())

    async def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send one request and return its JSON object. Raise ExchangeError also for a status other than 2xx."""
        reply = (await self.exchange([Request(method, path, body)])).replies[0]
        if not 200 <= reply.status < 300:
            raise ExchangeError(f"{self.name} answered {method} {path} with {reply.status}: {reply.excerpt()!r}")
        return reply.json()

    def close(self) -> None:
        """Close the connection; the next exchange opens another."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None


async def _read_reply(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    version, _, rest = head[0].partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
        raise ValueError(f"{head[0][:60]!r} is not a status line")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if fields.get("transfer-encoding") == "chunked":
        return Reply(int(rest[:3]), await _read_chunks(reader))
    length = fields.get("content-length", "0" if rest[:3] == "204" else "")
    if not length.isdecimal() or int(length) > BODY_MAX_BYTES:
        raise ValueError(f"a body of {length[:20] or 'unknown'} bytes")
    return Reply(int(rest[:3]), await reader.readexactly(int(length)))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if size < 0 or len(body) + size > BODY_MAX_BYTES:
            raise ValueError(f"a body over {BODY_MAX_BYTES} bytes")
        body += (await reader.readexactly(size + 2))[:size]
        if size == 0:
            return bytes(body)
