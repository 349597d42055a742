"""The open-loop client against a leader that answers, refuses, is silent, or is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest

from lab.containers import drive
from lab.containers import wire_pb2 as wire
from lab.containers.drive import Driver, payload
from lab.containers.frames import Splitter, encode
from lab.core.changelog_state import payload_key
from lab.history import ACKNOWLEDGED, REJECTED, UNKNOWN, Operations
from lab.model.workload import Client, Operation

MS = 1_000_000
Reply = Callable[[str, int], "int | None"]  # (token, how often seen) -> kind of the answer


def client(**texts: str | int) -> Client:
    return Client.model_validate({"deadline": "300ms", "timeout": "60ms", **texts})


class Leader:
    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.seen: dict[str, list[int]] = {}
        self.payloads: dict[str, bytes] = {}

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        splitter = Splitter()
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                for envelope in splitter.push(data):
                    token = envelope.idempotency_token
                    self.payloads[token] = envelope.payload
                    times = self.seen.setdefault(token, [])
                    times.append(time.monotonic_ns())
                    kind = self.reply(token, len(times))
                    if kind == -1:
                        writer.transport.abort()
                        return
                    if kind is not None:
                        writer.write(encode(wire.Envelope(kind=wire.Kind.ValueType(kind), idempotency_token=token)))
        writer.close()


def run(driver: Driver, leader: Leader, *, away_ms: int = 0) -> Operations:
    async def whole() -> None:
        server = await asyncio.start_server(leader.talk, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connection = asyncio.create_task(driver.stay_connected())
        if not away_ms:
            driver.lead_to(port)
            while not driver.connected:
                await asyncio.sleep(0.001)
        else:
            asyncio.get_running_loop().call_later(away_ms / 1000, driver.lead_to, port)
        await driver.run(time.monotonic_ns() + 20 * MS)
        connection.cancel()
        await asyncio.gather(connection, return_exceptions=True)
        server.close()

    asyncio.run(whole())
    return driver.operations()


def planned(count: int, gap_ms: int = 5) -> list[Operation]:
    return [Operation(number * gap_ms * MS, number % 3) for number in range(count)]


def test_answers_are_recorded_once_with_their_times() -> None:
    leader = Leader(lambda token, _: wire.KIND_WRITE_REJECT if token == "3" else wire.KIND_WRITE_ACK)
    driver = Driver(planned(20), client(), 7)
    operations = run(driver, leader)
    assert operations.outcome.tolist() == [REJECTED if n == 3 else ACKNOWLEDGED for n in range(20)]
    assert operations.attempts.tolist() == [1] * 20
    assert operations.acknowledged_ns[3] == -1
    late = np.delete(operations.acknowledged_ns - operations.intended_ns, 3)
    assert (late > 0).all() and (late < 200 * MS).all()
    assert 0 <= driver.lateness().p50_ns <= driver.lateness().p99_ns <= driver.lateness().max_ns
    assert leader.payloads["7"] == payload(Operation(0, 1), 7, 7) and payload_key(leader.payloads["7"]) == "k1"


def test_an_unanswered_write_is_repeated_under_the_same_token() -> None:
    leader = Leader(lambda _, times: wire.KIND_WRITE_ACK if times == 3 else None)
    operations = run(Driver(planned(4), client(), 7), leader)
    assert operations.outcome.tolist() == [ACKNOWLEDGED] * 4 and operations.attempts.tolist() == [3] * 4
    gaps = np.diff(leader.seen["0"]) / MS
    assert (gaps > 40).all() and (gaps < 150).all()


def test_attempts_and_deadline_bound_the_repeating() -> None:
    silent = Leader(lambda *_: None)
    assert run(Driver(planned(2), client(attempts=3), 7), silent).attempts.tolist() == [3, 3]
    operations = run(Driver(planned(2), client(deadline="100ms", attempts=50), 7), silent)
    assert operations.attempts.tolist() == [2, 2] and operations.outcome.tolist() == [UNKNOWN] * 2


def test_a_leader_that_is_away_is_met_again() -> None:
    driver = Driver(planned(10), client(), 7)
    operations = run(driver, Leader(lambda *_: wire.KIND_WRITE_ACK), away_ms=90)
    assert operations.outcome.tolist() == [ACKNOWLEDGED] * 10
    assert driver.unsent > 0 and operations.attempts.max() > 1


def test_a_lost_connection_is_opened_anew() -> None:
    leader = Leader(lambda token, times: -1 if (token, times) == ("4", 1) else wire.KIND_WRITE_ACK)
    operations = run(Driver(planned(10), client(), 7), leader)
    assert operations.outcome.tolist() == [ACKNOWLEDGED] * 10 and operations.attempts[4] > 1


def test_answers_to_nothing_close_the_connection() -> None:
    driver = Driver(planned(1), client(), 7)

    class Liar(Leader):
        async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(encode(wire.Envelope(kind=wire.KIND_WRITE_ACK, idempotency_token="99")))
            await reader.read()
            writer.close()

    assert run(driver, Liar(lambda *_: None)).outcome.tolist() == [UNKNOWN]
    assert driver.malformed >= 1


def test_too_many_in_flight_are_counted_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive, "IN_FLIGHT_MAX", 3)
    driver = Driver(planned(10, gap_ms=1), client(attempts=1), 7)
    operations = run(driver, Leader(lambda *_: None))
    assert driver.overloaded == 7 and operations.attempts.tolist() == [1] * 3 + [0] * 7


def test_no_operations_end_at_once() -> None:
    assert len(run(Driver([], client(), 7), Leader(lambda *_: None))) == 0


def test_payloads_depend_on_seed_and_number_alone() -> None:
    operation = Operation(5, 1)
    assert payload(operation, 3, 7) == payload(operation, 3, 7)
    assert len({payload(operation, n, s) for n in range(20) for s in range(5)}) == 100
