"""The reconciler as a process on loopback."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.conformance.replicas import MS, Replica, die_with_parent, free_port
from tests.conformance.wires import LOOPBACK, PATIENCE_S

Line = dict[str, Any]


class Reconciler:
    """One reconciler of a leader and its followers."""

    def __init__(self, binary: Path, folder: Path, group: Sequence[Replica], **changes: Any) -> None:
        self.binary, self.folder = binary, folder
        leader, *followers = group
        self.port = free_port()
        self.settings: dict[str, Any] = {
            "schema": 1,
            "run_id": "conformance",
            "leader": f"http://{LOOPBACK}:{leader.control_port}",
            "followers": {
                replica.settings["name"]: f"http://{LOOPBACK}:{replica.control_port}" for replica in followers
            },
            "every_ns": 50 * MS,
            "snapshot_every_ns": 0,
            "repairs_per_s": 1000,
            "nodes_per_s": 100_000,
            "data_dir": str(folder / "data"),
            "listen": f"{LOOPBACK}:{self.port}",
            "log_level": "warn",
            **changes,
        }
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process and return at once."""
        path = self.folder / "settings.json"
        path.write_text(json.dumps(self.settings))
        with (self.folder / "lines").open("ab") as lines, (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.binary), "--settings", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=lines,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        return self.process

    def end(self, number: signal.Signals) -> tuple[int, float]:
        """Send a signal; return exit status and how many seconds it took."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S), time.monotonic() - begun

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)

    def lines(self, event: str = "round", **fields: object) -> list[Line]:
        """Return what it has said so far, in all its lives."""
        # A line that is being written has no end yet.
        told = map(json.loads, (self.folder / "lines").read_text().split("\n")[:-1])
        return [
            line for line in told if line["e"] == event and all(line[name] == value for name, value in fields.items())
        ]

    def wait(self, holds: Callable[[list[Line]], object], event: str = "round", **fields: object) -> list[Line]:
        """Return the lines once something holds for them."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds(lines := self.lines(event, **fields)):
            assert time.monotonic() < deadline, f"in vain; the last lines are {lines[-3:]}; {self.log()}"
            time.sleep(0.01)
        return lines

    def more(self, count: int, **fields: object) -> list[Line]:
        """Return the next so many lines of rounds."""
        have = len(self.lines("round", **fields))
        return self.wait(lambda lines: len(lines) >= have + count, "round", **fields)[have:]

    def get(self, path: str) -> str:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200
            return answer.read().decode()
        finally:
            connection.close()

    def log(self) -> str:
        return (self.folder / "log").read_text()
