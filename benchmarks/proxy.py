"""A Toxiproxy container between a sender and a receiver on the host, for measurements of the proxies alone.

Messages go host -> container -> host over a bridge of their own, as those of replicas do, and carry no protocol: a
frame of 128 bytes with its number. Times are CLOCK_MONOTONIC, taken as the frame leaves and as it is read.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import queue
import selectors
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool

from lab.containers import labels
from lab.containers.engine import connect
from lab.containers.images import Images
from lab.containers.links import Link
from lab.containers.session import Session
from lab.containers.stack import ONESHOT_SYSCTLS, host_config
from lab.containers.topology import TOXIPROXY_API_PORT, TOXIPROXY_LIMITS, USER, free_networks, routed_networks
from lab.containers.toxiproxy import ProxySpec, Server, ToxiproxyError

FRAME_BYTES = 128
PROXY_PORT = 9001
POOL = 8
DIALLERS = 4
DRAIN_S = 0.5
WARM_S = 0.3
START_S = 10.0


@dataclass(slots=True)
class Sent:
    """What a sender did and a receiver saw: times in ns by message number; -1 where a message never left."""

    sent_ns: list[int]
    received: list[tuple[int, int]] = field(default_factory=list)  # (message, time), in the order of arrival
    unsent: int = 0


def receive(port_pipe: Any, host: str) -> None:
    """Run a receiver in its own process: frames on any number of connections, and echoes on a second port."""
    listeners = [socket.create_server((host, 0), backlog=512) for _ in range(2)]
    port_pipe.send([one.getsockname()[1] for one in listeners])
    waiting = selectors.DefaultSelector()
    waiting.register(port_pipe, selectors.EVENT_READ, "pipe")
    for kind, listener in zip(("frames", "echo"), listeners, strict=True):
        waiting.register(listener, selectors.EVENT_READ, (kind, None))
    rest: dict[socket.socket, bytearray] = {}
    received: list[tuple[int, int]] = []
    while True:
        for key, _ in waiting.select():
            if key.data == "pipe":
                if port_pipe.recv() == "stop":
                    return
                port_pipe.send(received)
                received = []
                continue
            kind, _ = key.data
            source: Any = key.fileobj
            if source in listeners:
                peer, _ = source.accept()
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting.register(peer, selectors.EVENT_READ, (kind, None))
                rest[peer] = bytearray()
                continue
            _read(source, kind, rest, received, waiting)


def _read(source: Any, kind: str, rest: dict[Any, bytearray], received: list[Any], waiting: Any) -> None:
    try:
        data = source.recv(65536)
    except OSError:
        data = b""
    now_ns = time.monotonic_ns()
    if not data:
        waiting.unregister(source)
        source.close()
        del rest[source]
        return
    if kind == "echo":
        source.sendall(data)
        return
    buffer = rest[source]
    buffer += data
    while len(buffer) >= FRAME_BYTES:
        received.append((int.from_bytes(buffer[4:12], "big"), now_ns))
        del buffer[:FRAME_BYTES]


def frame(number: int) -> bytes:
    """Return the frame of a message."""
    return (FRAME_BYTES - 4).to_bytes(4, "big") + number.to_bytes(8, "big") + bytes(FRAME_BYTES - 12)


def dial(address: tuple[str, int]) -> socket.socket:
    """Return a connection without delays of its own."""
    made = socket.create_connection(address, timeout=5)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


class Pool:
    """Connections dialled ahead, as the replicas have them on the oneshot wire."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.ready: queue.Queue[socket.socket] = queue.Queue()
        self.wanted: queue.Queue[bool] = queue.Queue()
        for _ in range(DIALLERS):
            threading.Thread(target=self._dial, daemon=True).start()
        for _ in range(POOL):
            self.wanted.put(True)

    def _dial(self) -> None:
        while self.wanted.get():
            try:
                self.ready.put(dial(self.address))
            except OSError:
                time.sleep(0.02)
                self.wanted.put(True)

    def send(self, data: bytes) -> bool:
        """Send a message on a connection of its own; return whether there was one."""
        try:
            connection = self.ready.get_nowait()
        except queue.Empty:
            return False
        self.wanted.put(True)
        try:
            connection.sendall(data)
            return True
        except OSError:
            return False
        finally:
            connection.close()

    def close(self) -> None:
        """Close everything."""
        for _ in range(DIALLERS):
            self.wanted.put(False)
        with suppress(queue.Empty):
            while True:
                self.ready.get_nowait().close()


class Bench:
    """One Toxiproxy container with a receiver behind it."""

    def __init__(self, wire: str, address: str, gateway: str) -> None:
        self.wire = wire
        self.address = (address, PROXY_PORT)
        self.gateway = gateway
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=receive, args=(theirs, gateway), daemon=True)
        self.process.start()
        self.frames_port, self.echo_port = self.pipe.recv()

    @property
    def api(self) -> Server:
        """Return a new adapter to the server."""
        return Server(self.address[0], TOXIPROXY_API_PORT)

    async def prepare(self, link: Link, port: int) -> Server:
        """Put a link in place of whatever was there, open."""
        server = self.api
        with suppress(ToxiproxyError):
            await server.remove(link.name)
        spec = ProxySpec(link, f"{self.address[0]}:{PROXY_PORT}", f"{self.gateway}:{port}")
        await asyncio.to_thread(server.set_up, [spec])
        await server.enable([link], True)
        return server

    def send(self, rate: float, count: int, during: Callable[[int], None] = lambda _: None) -> Sent:
        """Send `count` messages at a constant rate, wait until nothing more can come, and return both sides.

        `during` is called in a thread of its own with the time of the first message.
        """
        result = Sent([-1] * count)
        pool = Pool(self.address) if self.wire == "oneshot" else None
        lane = dial(self.address) if pool is None else None
        time.sleep(WARM_S)
        start_ns = time.monotonic_ns() + 20_000_000
        beside = threading.Thread(target=during, args=(start_ns,))
        beside.start()
        for number in range(count):
            wait_s = (start_ns + number * 1e9 / rate - time.monotonic_ns()) / 1e9
            if wait_s > 0:
                time.sleep(wait_s)
            data = frame(number)
            now_ns = time.monotonic_ns()
            if pool is not None:
                done = pool.send(data)
            else:
                lane, done = self._on_lane(lane, data)
            if done:
                result.sent_ns[number] = now_ns
            else:
                result.unsent += 1
        beside.join()
        time.sleep(DRAIN_S)
        self.pipe.send("give")
        result.received = self.pipe.recv()
        for one in (pool, lane):
            if one is not None:
                one.close()
        return result

    def _on_lane(self, lane: socket.socket | None, data: bytes) -> tuple[socket.socket | None, bool]:
        """Send on the one connection, opened again where it was closed."""
        try:
            if lane is None or _ended(lane):
                lane = dial(self.address)
            lane.sendall(data)
            return lane, True
        except OSError:
            return None, False

    def close(self) -> None:
        """End the receiver."""
        self.pipe.send("stop")
        self.process.join(2)


def _ended(lane: socket.socket) -> bool:
    lane.setblocking(False)
    try:
        return lane.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        with suppress(OSError):
            lane.settimeout(5)


@contextmanager
def bench(session: Session, images: Images, wire: str) -> Iterator[Bench]:
    """Lend a bench with the server of a wire; the session removes what it is made of."""
    client = connect()
    api: Any = client.api
    mine = {**session.labels(), labels.RUN: "bench", labels.ROLE: "bench"}
    with open("/proc/net/route") as table:
        candidates = free_networks(routed_networks(table.read()), Random())
    for subnet in candidates:
        pool = IPAMPool(subnet=str(subnet), gateway=str(subnet[1]))
        try:
            network = api.create_network(
                f"lab-{session.id}-bench-{wire}", driver="bridge", ipam=IPAMConfig(pool_configs=[pool]), labels=mine,
                internal=True,
            )  # fmt: skip
            break
        except APIError as error:
            if "overlap" not in str(error).lower():
                raise
    address, gateway = str(subnet[2]), str(subnet[1])
    own = ["-log-level=error"] if wire == "framed" else []
    endpoint = api.create_endpoint_config(ipv4_address=address)
    made = api.create_container(
        images.server(wire),
        command=[f"-host={address}", f"-port={TOXIPROXY_API_PORT}", *own],
        name=f"lab-{session.id}-bench.{wire}",
        user=USER,
        host_config=host_config(api, [], TOXIPROXY_LIMITS, [], ONESHOT_SYSCTLS),
        networking_config=api.create_networking_config({network["Id"]: endpoint}),
        labels=mine,
    )
    api.start(made["Id"])
    opened = Bench(wire, address, gateway)
    try:
        asyncio.run(_answering(opened.api))
        yield opened
    finally:
        opened.close()
        client.close()


async def _answering(server: Server) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            await server.version()
            return
        except ToxiproxyError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.02)


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run an asynchronous piece of a measurement."""

    async def whole() -> Any:
        return await work()

    return asyncio.run(whole())


def delays_ms(result: Sent) -> list[float]:
    """Return each arrival's time under way, in milliseconds."""
    return [(at_ns - result.sent_ns[number]) / 1e6 for number, at_ns in result.received if result.sent_ns[number] >= 0]


def reordered_share(numbers: Sequence[int]) -> float:
    """Return the share of arrivals that came after one sent later."""
    highest, late = -1, 0
    for number in numbers:
        late += number < highest
        highest = max(highest, number)
    return late / len(numbers) if numbers else 0.0
