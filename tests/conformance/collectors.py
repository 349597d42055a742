"""A collector of OpenTelemetry spans over OTLP/HTTP, with a reader of just the fields that the tests look at."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.conformance.wires import LOOPBACK, PATIENCE_S

Value = str | int | bool
KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}


@dataclass(frozen=True)
class Span:
    """One span and the resource it belongs to."""

    name: str
    kind: str
    trace: str
    span: str
    parent: str
    begin_ns: int
    end_ns: int
    attributes: dict[str, Value]
    resource: dict[str, Value]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of every field of a protobuf message: bytes or a whole number."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        length, at = _varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
        piece, at = data[at : at + length], at + length
        assert len(piece) == length, "the message is cut short"
        yield tag >> 3, piece if wire == 2 else int.from_bytes(piece, "little")


def _all(data: bytes, number: int) -> list[Any]:
    return [value for found, value in fields(data) if found == number]


def _attributes(data: bytes, number: int) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for pair in _all(data, number):
        ((kind, value),) = fields(_all(pair, 2)[0])
        found[_all(pair, 1)[0].decode()] = {1: bytes.decode, 2: bool, 3: int}[kind](value)  # type: ignore[operator]
    return found


def _span(data: bytes, resource: dict[str, Value]) -> Span:
    single = {number: value for number, value in fields(data) if number != 9}
    return Span(
        name=single[5].decode(),
        kind=KINDS[single[6]],
        trace=single[1].hex(),
        span=single[2].hex(),
        parent=single.get(4, b"").hex(),
        begin_ns=single[7],
        end_ns=single[8],
        attributes=_attributes(data, 9),
        resource=resource,
    )


def spans_of(request: bytes) -> list[Span]:
    """Return the spans of an ExportTraceServiceRequest."""
    found = []
    for group in _all(request, 1):
        resource = {key: value for part in _all(group, 1) for key, value in _attributes(part, 1).items()}
        found += [_span(span, resource) for scope in _all(group, 2) for span in _all(scope, 2)]
    return found


class Collector:
    """Takes spans at `address`."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.requests: list[tuple[str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.requests.append((self.path, self.headers["Content-Type"]))
                collector.spans += spans_of(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://{LOOPBACK}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def wait(self, count: int, where: Callable[[Span], bool] = lambda _: True) -> list[Span]:
        """Return what matches once there are so many."""
        deadline = time.monotonic() + PATIENCE_S
        while len(found := [span for span in self.spans if where(span)]) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} spans; all: {self.spans}"
            time.sleep(0.01)
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
