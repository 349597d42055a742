"""Replica processes on loopback: settings, start, control interface, events, and the end of all of them."""

from __future__ import annotations

import ctypes
import fcntl
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import IO, Any

from tests.conformance.wires import LOOPBACK, PATIENCE_S, Connection

State = dict[str, Any]
PR_SET_PDEATHSIG = 1
MS = 1_000_000
# Below the range from which the kernel takes ports for outgoing connections.
_FIRST_PORT, _BLOCKS, _BLOCK_PORTS = 10_000, 18, 500
_held: list[IO[str]] = []
_libc = ctypes.CDLL(None)

TIMEOUT_NS = 100 * MS
BASE_NS = 20 * MS
SETTINGS: dict[str, Any] = {
    "schema": 1,
    "run_id": "conformance",
    "seed": 7,
    "mode": "quorum",
    "bound": 2,
    "ordering": "sequence",
    "policy": {
        "timeout_ns": TIMEOUT_NS,
        "attempts": 4,
        "backoff": "fixed",
        "base_ns": BASE_NS,
        "cap_ns": 400 * MS,
        "jitter": "none",
        "budget_ppm": -1,
    },
    "queue": {"limit": 64, "overflow": "reject"},
    "reconcile_every_ns": 0,
    "reconcile_batch": 8,
    "events": True,
    "log_level": "warn",
}


@cache
def _ports() -> Iterator[int]:
    """Return the ports of a block that no other test process has, round and round."""
    for block in range(_BLOCKS):
        # The file stays open, and the block ours, until this process ends.
        file = (Path(tempfile.gettempdir()) / f"driftlab-ports-{os.getuid()}-{block}").open("a")
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _held.append(file)
            first = _FIRST_PORT + block * _BLOCK_PORTS
            return itertools.cycle(range(first, first + _BLOCK_PORTS))
        file.close()
    raise AssertionError("too many test processes at once")


def free_port() -> int:
    """Return a port of loopback on which nothing listens."""
    while True:
        port = next(_ports())
        with socket.socket() as probe:
            # As servers do: a connection that ended lately is no reason not to listen.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


def merged(first: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `first` with `changes`; dictionaries are merged, not replaced."""
    result = deepcopy(first)
    for key, value in changes.items():
        result[key] = merged(result[key], value) if isinstance(value, dict) and key in result else value
    return result


def die_with_parent() -> None:
    """End the child when the tests end, however they end."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Replica:
    """One replica: its binary, its folder, its ports, and the process once `start` was called."""

    def __init__(self, binary: Path, folder: Path, settings: dict[str, Any], ports: tuple[int, int, int]) -> None:
        self.binary, self.folder = binary, folder
        self.peer_port, self.client_port, self.control_port = ports
        addresses = [f"{LOOPBACK}:{port}" for port in ports]
        self.settings = merged(
            settings,
            {
                "data_dir": str(folder / "data"),
                "listen": dict(zip(("peer", "client", "control"), addresses, strict=True)),
            },
        )
        self.arguments: Sequence[str] = ()
        self.process: subprocess.Popen[bytes] | None = None
        self._connections: list[Connection] = []
        folder.mkdir(parents=True, exist_ok=True)

    # Process

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process and return at once."""
        path = self.folder / "settings.json"
        path.write_text(json.dumps(self.settings))
        with (self.folder / "events").open("ab") as events, (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.binary), "--settings", str(path), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=events,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        return self.process

    def start(self) -> Replica:
        """Start the process and wait until it is up."""
        process = self.launch()
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            assert process.poll() is None, f"exit {process.returncode}: {self.log()}"
            try:
                if self.request("GET", "/healthz")[0] == 200:
                    return self
            except OSError:
                time.sleep(0.005)
        raise AssertionError(f"not up within {PATIENCE_S} s: {self.log()}")

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can tell. An event that it was writing is none."""
        self._end(signal.SIGKILL)
        events = self.folder / "events"
        whole = events.read_bytes().rpartition(b"\n")
        if whole[2]:
            events.write_bytes(whole[0] + whole[1])

    def terminate(self) -> tuple[int, float]:
        """Tell it to stop; return its exit status and how many seconds it took."""
        begun = time.monotonic()
        code = self._end(signal.SIGTERM)
        return code, time.monotonic() - begun

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        for connection in self._connections:
            connection.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)

    # What it says

    def request(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        """Return status and body of a control request."""
        connection = http.client.HTTPConnection(LOOPBACK, self.control_port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def state(self) -> State:
        return dict(self.get("/state"))

    def get(self, path: str) -> Any:
        """Return the answer to a control request that has to be answered."""
        status, body = self.request("GET", path)
        assert status == 200, body
        return json.loads(body)

    def post(self, path: str, body: Any) -> Any:
        """Return the answer to a control request that has to be answered."""
        status, answer = self.request("POST", path, json.dumps(body))
        assert status == 200, answer
        return json.loads(answer)

    def metrics(self, *names: str) -> list[float]:
        """Return samples of the metrics, all of one moment."""
        _, text = self.request("GET", "/metrics")
        found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return [float(found[name]) for name in names]

    def metric(self, name: str) -> float:
        """Return one sample of the metrics."""
        return self.metrics(name)[0]

    def counters(self) -> dict[str, int]:
        return dict(self.state()["counters"])

    def until(self, holds: Callable[[State], object], within_s: float = PATIENCE_S) -> State:
        """Return the first state for which something holds."""
        deadline = time.monotonic() + within_s
        while True:
            state = self.state()
            if holds(state):
                return state
            assert time.monotonic() < deadline, f"in vain; the last state is {state}"
            time.sleep(0.005)

    def counted(self, name: str, value: int, within_s: float = PATIENCE_S) -> State:
        """Return the state once a counter has reached a value."""
        return self.until(lambda state: state["counters"][name] >= value, within_s)

    def set_mode(self, mode: str) -> None:
        status, body = self.request("POST", "/mode", json.dumps({"mode": mode}))
        assert status == 200, body

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the events of all its lives, or those of one name."""
        # Not splitlines: other characters that end lines may stand in a token as they are.
        lines = (self.folder / "events").read_text().split("\n")[:-1]
        return [event for event in map(json.loads, lines) if name in (None, event["e"])]

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def client(self) -> Connection:
        """Return a new client's connection."""
        self._connections.append(Connection(self.client_port))
        return self._connections[-1]
