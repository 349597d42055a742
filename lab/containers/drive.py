"""The open-loop client: every write leaves at its intended time, however the leader answers.

Runs in the event loop beside the fault schedule. A write that is not answered is repeated under the same token each
`client.timeout`; a frame that finds no connection is lost, as a message to a node that is down.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from lab.containers import wire_pb2 as wire
from lab.containers.frames import FrameError, Splitter, write_frame
from lab.containers.topology import LOOPBACK
from lab.core import draws
from lab.core.changelog_state import update_payload
from lab.history import ACKNOWLEDGED, NEVER, REJECTED, UNKNOWN, Column, Operations
from lab.model.workload import Client, Operation

VALUE_MIN_BYTES = 8
VALUE_MAX_BYTES = 64
IN_FLIGHT_MAX = 20_000
BUFFER_MAX_BYTES = 4 << 20
RECONNECT_S = 0.02
CONNECT_TIMEOUT_S = 1.0
BATCH_MAX = 256
LATENESS_MAX_NS = 50_000_000  # beyond this at the 99th percentile the load was not the one asked for


def key_name(key: int) -> str:
    """Return the text that stands for a key of the workload."""
    return f"k{key}"


def payload(operation: Operation, number: int, seed: int) -> bytes:
    """Return the serialised Update that an operation writes: a value of 8 to 64 bytes, the same for the same seed and
    number.
    """
    draw = draws.chain(seed, draws.RUN, number)
    length = VALUE_MIN_BYTES + draws.scale(draw, VALUE_MAX_BYTES - VALUE_MIN_BYTES + 1)
    value = hashlib.shake_128(draw.to_bytes(8, "big")).digest(length)
    return update_payload(key_name(operation.key), value, number)


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late first attempts left, against their intended times (ns)."""

    p50_ns: int
    p99_ns: int
    max_ns: int


class _Answers(asyncio.Protocol):
    """One connection to the leader."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.splitter = Splitter()
        self.lost = asyncio.Event()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        try:
            for envelope in self.splitter.push(data):
                self.driver.answered(envelope, now_ns)
        except FrameError:
            self.driver.malformed += 1
            if self.transport is not None:
                self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


class Driver:
    """Drives one run's operations. `connect` first, then `run`; the columns are complete when `run` has returned."""

    def __init__(self, planned: Sequence[Operation], client: Client, seed: int) -> None:
        self.planned = planned
        self.client = client
        self.payloads = [payload(operation, number, seed) for number, operation in enumerate(planned)]
        self.frames = [write_frame(number, data) for number, data in enumerate(self.payloads)]
        count = len(planned)
        self.sent_ns = [NEVER] * count
        self.acknowledged_ns = [NEVER] * count
        self.outcome = [UNKNOWN] * count
        self.attempts = [0] * count
        self.unsent = 0  # attempts that found no connection
        self.malformed = 0
        self.overloaded = 0  # operations that were not sent because too many were in flight
        self.t0_ns = 0
        self._answered = [False] * count
        self._open = count
        self._done = asyncio.Event()
        self._next = 0
        self._expired = 0
        self._in_flight = 0
        self._retries: list[tuple[int, int, int]] = []  # (due, token, attempts made)
        self._port: int | None = None
        self._port_known = asyncio.Event()
        self._answers: _Answers | None = None
        if not count:
            self._done.set()

    # Connection

    def lead_to(self, port: int | None) -> None:
        """Say on which loopback port the leader takes clients; None ends the connection until another port is given."""
        self._port = port
        if port is None:
            self._port_known.clear()
            if self._answers is not None and self._answers.transport is not None:
                self._answers.transport.abort()
        else:
            self._port_known.set()

    @property
    def connected(self) -> bool:
        """Whether a frame would be sent now."""
        return self._answers is not None and not self._answers.lost.is_set()

    async def stay_connected(self) -> None:
        """Connect, and again whenever the connection ends, until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._port_known.wait()
                with suppress(OSError, TimeoutError):
                    async with asyncio.timeout(CONNECT_TIMEOUT_S):
                        made = await loop.create_connection(lambda: _Answers(self), LOOPBACK, self._port or 0)
                    self._answers = made[1]
                    await self._answers.lost.wait()
                self._answers = None
                await asyncio.sleep(RECONNECT_S)
        finally:
            if self._answers is not None and self._answers.transport is not None:
                self._answers.transport.abort()

    # Load

    async def run(self, t0_ns: int) -> None:
        """Send every operation at `t0_ns` plus its time, repeat, and return when each is answered or past its
        deadline.
        """
        self.t0_ns = t0_ns
        while True:
            due_ns = self._next_due_ns()
            if due_ns is None:
                break
            wait_ns = due_ns - time.monotonic_ns()
            await asyncio.sleep(wait_ns / 1e9 if wait_ns > 0 else 0)
            self._send_due()
        if self.planned:
            end_ns = t0_ns + self.planned[-1].at_ns + self.client.deadline
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, (end_ns - time.monotonic_ns()) / 1e9)):
                    await self._done.wait()

    def _next_due_ns(self) -> int | None:
        while self._retries and self._answered[self._retries[0][1]]:
            heapq.heappop(self._retries)
        due = [self._retries[0][0]] if self._retries else []
        if self._next < len(self.planned):
            due.append(self.t0_ns + self.planned[self._next].at_ns)
        return min(due, default=None)

    def _send_due(self) -> None:
        """Send what is due: first attempts and repetitions, in one write."""
        now_ns, frames = time.monotonic_ns(), list[bytes]()
        while len(frames) < BATCH_MAX and self._retries and self._retries[0][0] <= now_ns:
            _, token, made = heapq.heappop(self._retries)
            if not self._answered[token]:
                self._attempt(token, made + 1, frames)
        self._expire(now_ns)
        while len(frames) < BATCH_MAX and self._next < len(self.planned):
            token = self._next
            if self.t0_ns + self.planned[token].at_ns > now_ns:
                break
            self._next += 1
            if self._in_flight >= IN_FLIGHT_MAX:
                self.overloaded += 1
                continue
            self._in_flight += 1
            self.sent_ns[token] = now_ns
            self._attempt(token, 1, frames)
        transport = self._answers.transport if self._answers is not None and self.connected else None
        if frames and transport is not None and transport.get_write_buffer_size() < BUFFER_MAX_BYTES:
            transport.write(b"".join(frames))
        else:
            self.unsent += len(frames)

    def _attempt(self, token: int, number: int, frames: list[bytes]) -> None:
        self.attempts[token] = number
        frames.append(self.frames[token])
        if number < self.client.attempts and number * self.client.timeout < self.client.deadline:
            due_ns = self.t0_ns + self.planned[token].at_ns + number * self.client.timeout
            heapq.heappush(self._retries, (due_ns, token, number))

    def _expire(self, now_ns: int) -> None:
        """Take operations past their deadline out of the number in flight."""
        while self._expired < self._next:
            token = self._expired
            if self.t0_ns + self.planned[token].at_ns + self.client.deadline > now_ns:
                break
            self._expired += 1
            if self.sent_ns[token] != NEVER and not self._answered[token]:
                self._in_flight -= 1

    def answered(self, envelope: wire.Envelope, now_ns: int) -> None:
        """Take the leader's answer; the first one to an operation counts. Raise FrameError for an answer to nothing."""
        text = envelope.idempotency_token
        if not text.isdecimal() or not 0 <= int(text) < len(self.planned):
            raise FrameError(f"an answer to the unknown token {text[:40]!r}")
        token = int(text)
        if self._answered[token] or envelope.kind not in (wire.KIND_WRITE_ACK, wire.KIND_WRITE_REJECT):
            return
        self._answered[token] = True
        if token >= self._expired:
            self._in_flight -= 1
        if envelope.kind == wire.KIND_WRITE_ACK:
            self.outcome[token] = ACKNOWLEDGED
            self.acknowledged_ns[token] = now_ns
        else:
            self.outcome[token] = REJECTED
        self._open -= 1
        if self._open == 0:
            self._done.set()

    # Results

    def operations(self) -> Operations:
        """Return the client's view, in times of the run."""
        acknowledged = _column(self.acknowledged_ns)
        return Operations(
            intended_ns=_column([operation.at_ns for operation in self.planned]),
            key=_column([operation.key for operation in self.planned]),
            outcome=_column(self.outcome),
            acknowledged_ns=np.where(acknowledged == NEVER, NEVER, acknowledged - self.t0_ns),
            attempts=_column(self.attempts),
        )

    def lateness(self) -> Lateness:
        """Return how late the load was."""
        intended = _column([operation.at_ns for operation in self.planned]) + self.t0_ns
        sent = _column(self.sent_ns)
        late = (sent - intended)[sent != NEVER]
        if not len(late):
            return Lateness(0, 0, 0)
        p50, p99 = np.quantile(late, [0.5, 0.99])
        return Lateness(int(p50), int(p99), int(late.max()))


def _column(values: Sequence[int]) -> Column:
    return np.array(values, dtype=np.int64)
