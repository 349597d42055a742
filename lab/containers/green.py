"""A green replica: started beside the one in place, loaded with the leader's snapshot, verified, and stopped, so that
its store can come in the place of the other's. Blocks; a thread runs it.

While it is loaded it is on the control network alone and has nobody to send to. Its store stays in its volume; the
container that is to take the place is made on that volume ahead of the switch.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import requests
from docker.errors import DockerException

from lab.containers.errors import PlaneError, printable
from lab.containers.settings import CONTROL_PORT
from lab.containers.stack import STOP_S, Blueprint, Stack
from lab.containers.topology import LOOPBACK
from lab.model.disturbance import Replacement

ANSWER_TIMEOUT_S = 2.0
READY_POLL_S = 0.02
BLOCK_ENTRIES = 1000  # docs/replica.md §14
BLOCK_CHARACTERS = 1 << 20  # of entries as text; a request may have 4 MiB
NOWHERE = f"{LOOPBACK}:1"  # inside the container, where nothing listens
_PROBLEMS = (DockerException, requests.RequestException)


class NotReady(RuntimeError):
    """A green replica cannot take the place. The message says why."""


def parse_snapshot(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the header and the entries of a replica's `/snapshot`. Raise ValueError if it is not one."""
    rows = [json.loads(line) for line in text.splitlines()]
    if not rows or not all(isinstance(row, dict) for row in rows) or "prefix_hash" not in rows[0]:
        raise ValueError("the answer is no snapshot")
    return rows[0], rows[1:]


def blocks(entries: Sequence[Mapping[str, Any]], window: int) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the entries in blocks for `POST /repair`; a replica keeps at most `window` entries above its prefix."""
    most = min(BLOCK_ENTRIES, window)
    block: list[Mapping[str, Any]] = []
    characters = 0
    for entry in entries:
        size = len(entry["payload"])
        if block and (len(block) == most or characters + size > BLOCK_CHARACTERS):
            yield block
            block, characters = [], 0
        block.append(entry)
        characters += size
    if block:
        yield block


def difference(header: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """Return a sentence where a loaded replica's state is not that of the snapshot's header; "" where it is."""
    for name in ("prefix", "prefix_hash", "digest"):
        if str(state.get(name)) != str(header.get(name)):
            return f"its {name} is {state.get(name)}, the snapshot's {header.get(name)}"
    return ""


class Green:
    """One green replica of one fault. `warm` prepares it, then `ready` is true and `take_place` may be called."""

    def __init__(self, stack: Stack, replacement: Replacement, fault: int) -> None:
        self.stack = stack
        self.replacement = replacement
        self.node = replacement.node
        self.runtime, self.version = stack.successor(replacement)
        self.stem = f"green{fault}.{self.node}"
        self.step = "waiting for its turn"
        self.problem = ""
        self.ready = False
        self.entries = 0
        self.steps_ns: dict[str, int] = {}  # how long each step took
        self._abandoned = threading.Event()
        self._side, self._place, self._former = "", "", ""

    def why_not(self) -> str:
        """Return why it cannot take the place now; "" if it can."""
        if self.ready:
            return ""
        return f"green {self.node}: {self.problem or f'not ready in time, it was {self.step}'}"

    def abandon(self) -> None:
        """Tell `warm` to end at its next step."""
        self._abandoned.set()

    def warm(self) -> None:
        """Make, start, load, verify and stop it, and make the container for the place. What fails is told by
        `why_not`.
        """
        try:
            self._begin("being started")
            port = self._start()
            self._begin("being loaded")
            header = self._load(port)
            self._begin("being verified")
            problem = difference(header, self._ask("GET", port, "/state"))
            if problem:
                raise NotReady(f"it is not what the leader's snapshot says: {problem}")
            self._begin("being stopped")
            self._stop()
            self._begin("being put in line")
            self._put_in_line()
            self._begin("ready")
            self.ready = True
        except NotReady as error:
            self.problem = self.problem or str(error)
        except (PlaneError, *_PROBLEMS, ValueError, KeyError, TypeError) as error:
            self.problem = f"{self.step} failed: {printable(str(error), 300) or type(error).__name__}"

    def _begin(self, step: str) -> None:
        now_ns = time.monotonic_ns()
        if self.steps_ns:
            self.steps_ns[self.step] = now_ns - self.steps_ns[self.step]
        if self._abandoned.is_set():
            raise NotReady(f"not ready in time, it was {self.step}")
        self.step = step
        self.steps_ns[step] = now_ns

    def _go_on(self) -> None:
        if self._abandoned.is_set():
            raise NotReady(f"not ready in time, it was {self.step}")

    def _start(self) -> int:
        """Start it on its own volumes; return the port of its control interface when it answers."""
        stack, image = self.stack, self.stack.images.ids[self.runtime]
        address = stack.topology.green_address(self.node)
        plan = Blueprint(self.node, f".{self.stem}", f"green.{self.node}", self.stem, image, address)
        self._side = stack.make(plan, volumes=True)
        settings = stack.settings_of(self.node, self.version)
        settings |= {"peers": dict.fromkeys(settings["peers"], NOWHERE), "reconcile_every_ns": 0, "wire": "framed"}
        stack.put_settings(self._side, settings)
        stack.api.start(self._side)
        bindings = stack.api.inspect_container(self._side)["NetworkSettings"]["Ports"].get(f"{CONTROL_PORT}/tcp")
        if not bindings:
            raise NotReady("it ended at once")
        port = int(bindings[0]["HostPort"])
        while True:
            try:
                found = self._ask("GET", port, "/healthz").get("runtime")
                break
            except requests.RequestException:
                self._go_on()
                if not stack.api.inspect_container(self._side)["State"]["Running"]:
                    raise NotReady("it ended while it started") from None
            time.sleep(READY_POLL_S)
        if found != self.runtime:
            raise NotReady(f"it should be {self.runtime} and says it is {found}")
        return port

    def _load(self, port: int) -> dict[str, Any]:
        """Give it the entries of the leader's snapshot; return the snapshot's header."""
        leader = self.stack.port(self.stack.names[0], CONTROL_PORT)
        answer = requests.get(f"http://{LOOPBACK}:{leader}/snapshot", timeout=ANSWER_TIMEOUT_S)
        answer.raise_for_status()
        header, entries = parse_snapshot(answer.text)
        for block in blocks(entries, self.stack.experiment.policy.queue.limit):
            self._go_on()
            stored = self._ask("POST", port, "/repair", {"entries": block})["stored"]
            self.entries += int(stored)
            if stored != len(block):
                raise NotReady(f"it stored {stored} of {len(block)} entries from {block[0]['sequence']} on")
        return header

    def _ask(self, method: str, port: int, path: str, body: Any = None) -> dict[str, Any]:
        answer = requests.request(method, f"http://{LOOPBACK}:{port}{path}", json=body, timeout=ANSWER_TIMEOUT_S)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def _stop(self) -> None:
        api = self.stack.api
        api.stop(self._side, timeout=STOP_S)
        code = api.inspect_container(self._side)["State"]["ExitCode"]
        if code:
            raise NotReady(f"it ended with exit code {code} instead of 0")

    def _put_in_line(self) -> None:
        """Make the container that is to take the place: the store that was loaded, the place's addresses and peers."""
        stack = self.stack
        stack.api.remove_container(self._side, v=False)
        plan = Blueprint(self.node, f".next-{self.stem}", self.node, self.stem, stack.images.ids[self.runtime])
        self._place = stack.make(plan, volumes=False)
        stack.join_mesh(self._place, self.node)
        stack.put_settings(self._place, stack.settings_of(self.node, self.version))

    def take_place(self) -> None:
        """Start it in the place of the replica, which does not run. Raise PlaneError with the cause."""
        self._former = self.stack.promote(self.replacement, self._place, self.stem)
        self.stack.start(self.node)

    def retire_former(self) -> None:
        """Put away the container that was in the place."""
        self.stack.retire(self.node, self._former)

    def discard(self) -> None:
        """Remove its containers, which are not needed; what stays is removed with the run."""
        for identity in filter(None, (self._side, self._place)):
            try:
                self.stack.api.remove_container(identity, v=False, force=True)
            except _PROBLEMS:
                continue

    def told(self) -> str:
        """Return what its preparation was, for a note."""
        steps = ", ".join(
            f"{step} {duration_ns / 1e6:.0f} ms" for step, duration_ns in self.steps_ns.items() if step != "ready"
        )
        what = f"{self.runtime} schema {self.version}, {self.entries} entries loaded and verified"
        return f"green {self.node}: {what} ({steps})"
