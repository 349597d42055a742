"""Frames over loopback: a connection to a replica, and a stand-in for a replica that others connect to."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from lab.containers import wire_pb2 as wire
from lab.containers.frames import SCHEMA_VERSION, FrameError, Splitter, encode

LOOPBACK = "127.0.0.1"
PATIENCE_S = 8.0
# Room for a replica to note that its connection stands; it has no way to say so.
LINK_SETTLES_S = 0.03
Where = Callable[[wire.Envelope], bool]


def of_kind(kind: int, **fields: object) -> Where:
    """Return the condition that an envelope has this kind and these fields."""
    return lambda envelope: (
        envelope.kind == kind and all(getattr(envelope, name) == value for name, value in fields.items())
    )


def is_update(envelope: wire.Envelope) -> bool:
    """Whether this is an attempt to replicate, not a repair."""
    return envelope.kind == wire.KIND_UPDATE


def is_repair(envelope: wire.Envelope) -> bool:
    """Whether a digest asked for this."""
    return envelope.kind == wire.KIND_REPAIR


class Mailbox:
    """Envelopes with the time of their arrival (CLOCK_MONOTONIC, ns), in that order."""

    def __init__(self) -> None:
        self.arrived: list[tuple[int, wire.Envelope]] = []
        self._changed = threading.Condition()

    def put(self, envelope: wire.Envelope) -> None:
        with self._changed:
            self.arrived.append((time.monotonic_ns(), envelope))
            self._changed.notify_all()

    def all(self, where: Where) -> list[wire.Envelope]:
        """Return what has arrived so far."""
        return [envelope for _, envelope in self.timed(where)]

    def timed(self, where: Where) -> list[tuple[int, wire.Envelope]]:
        """Return what has arrived so far, with times."""
        with self._changed:
            return [(time_ns, envelope) for time_ns, envelope in self.arrived if where(envelope)]

    def wait(self, where: Where, count: int = 1, within_s: float = PATIENCE_S) -> list[wire.Envelope]:
        """Return the first `count` that match. Raise AssertionError when they do not come in time."""
        deadline = time.monotonic() + within_s
        with self._changed:
            while True:
                found = [envelope for _, envelope in self.arrived if where(envelope)]
                if len(found) >= count:
                    return found[:count]
                left_s = deadline - time.monotonic()
                assert left_s > 0, f"{len(found)} of {count} frames came within {within_s} s"
                self._changed.wait(left_s)


class Connection:
    """A connection to a replica. What comes back on it is in `mailbox`."""

    def __init__(self, port: int) -> None:
        self.mailbox = Mailbox()
        self.ended = threading.Event()
        self._socket = socket.create_connection((LOOPBACK, port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(None)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, *envelopes: wire.Envelope) -> None:
        self.send_bytes(b"".join(encode(envelope) for envelope in envelopes))

    def send_bytes(self, data: bytes) -> None:
        self._socket.sendall(data)

    def write(self, token: str, payload: bytes, traceparent: str = "") -> None:
        """Ask for one write."""
        self.send(
            wire.Envelope(
                schema_version=SCHEMA_VERSION,
                kind=wire.KIND_WRITE,
                correlation_id=f"op-{token}",
                idempotency_token=token,
                payload=payload,
                traceparent=traceparent,
            )
        )

    def acknowledged(self, token: str, within_s: float = PATIENCE_S) -> wire.Envelope:
        """Return the first acknowledgement of a token, once it is there."""
        return self.mailbox.wait(of_kind(wire.KIND_WRITE_ACK, idempotency_token=token), within_s=within_s)[0]

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join(PATIENCE_S)
        self._socket.close()

    def _read(self) -> None:
        splitter = Splitter()
        with suppress(OSError, FrameError):
            while data := self._socket.recv(1 << 16):
                for envelope in splitter.push(data):
                    self.mailbox.put(envelope)
        self.ended.set()


class StandIn:
    """Stands for the replica `name` on `port`: hears what is sent to it, and speaks to `replica_port` for it."""

    def __init__(self, name: str, port: int, replica_port: int, *, reads: bool = True) -> None:
        self.name, self.port, self.replica_port = name, port, replica_port
        self.mailbox = Mailbox()
        self.connections = 0
        # How many frames each connection carried that has ended.
        self.carried: list[int] = []
        self._reads = reads
        self._changed = threading.Condition()
        self._accepted: list[socket.socket] = []
        self._outgoing: Connection | None = None
        self._listener: socket.socket | None = None
        self.listen()

    # The link from the replica

    def listen(self) -> None:
        """Take connections, also again after `hang_up`."""
        listener = socket.create_server((LOOPBACK, self.port))
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def hang_up(self) -> None:
        """Close the listener and every connection to it."""
        if self._listener is not None:
            # Without the shutdown a thread that waits in accept would keep the port open.
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.drop_connections()

    def linked(self, connections: int = 1, within_s: float = PATIENCE_S) -> None:
        """Wait until the replica has connected this many times."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.connections >= connections, within_s), "no link came"
        time.sleep(LINK_SETTLES_S)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with self._changed:
                    self._accepted.append(connection)
                    self.connections += 1
                    self._changed.notify_all()
                if self._reads:
                    threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        splitter, frames = Splitter(), 0
        with suppress(OSError, FrameError):
            while data := connection.recv(1 << 16):
                for envelope in splitter.push(data):
                    frames += 1
                    self.mailbox.put(envelope)
        self.carried.append(frames)

    def drop_connections(self) -> None:
        """Close every connection that stands, and go on listening."""
        with self._changed:
            accepted, self._accepted = self._accepted, []
        for connection in accepted:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    # The link to the replica

    @property
    def outgoing(self) -> Connection:
        """The connection to the replica, opened when it is first needed."""
        if self._outgoing is None or self._outgoing.ended.is_set():
            self._outgoing = Connection(self.replica_port)
        return self._outgoing

    def outgoing_ended(self, within_s: float) -> bool:
        """Wait for the replica to close the connection that stands."""
        return self._outgoing is not None and self._outgoing.ended.wait(within_s)

    def say(self, kind: wire.Kind, **fields: object) -> None:
        """Send one frame to the replica."""
        self.outgoing.send(
            wire.Envelope(schema_version=SCHEMA_VERSION, kind=kind, source=self.name, **fields)  # type: ignore[arg-type]
        )

    def acknowledge(self, *sequences: int) -> None:
        for sequence in sequences:
            self.say(wire.KIND_UPDATE_ACK, sequence=sequence)

    def digest(self, prefix: int, prefix_hash: int, incarnation: int) -> None:
        self.say(wire.KIND_DIGEST, sequence=prefix, prefix_hash=prefix_hash, incarnation=incarnation)

    def update(self, sequence: int, payload: bytes, *, kind: wire.Kind = wire.KIND_UPDATE, **fields: object) -> None:
        """Send one entry of the changelog, as a leader does; `fields` are others of the envelope."""
        usual = {
            "origin": self.name,
            "timestamp_ns": time.monotonic_ns(),
            "correlation_id": f"op-{sequence}",
            "idempotency_token": f"t{sequence}",
            "attempt": 1,
        }
        self.say(kind, sequence=sequence, payload=payload, **{**usual, **fields})

    def close(self) -> None:
        self.hang_up()
        if self._outgoing is not None:
            self._outgoing.close()
