"""A session: the owner of everything the container plane creates, with a reaper that outlives it."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.containers import labels, reaper
from lab.containers.engine import connect
from lab.containers.errors import PlaneError

REAPER_EXIT_S = 20.0
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Session:
    """The identity under which runs create things. Get one from `open_session`."""

    id: str
    owner: labels.Process
    seeded_bugs: Mapping[str, str] = field(default_factory=dict)  # replica -> defect it is given on purpose

    def labels(self) -> dict[str, str]:
        """Return the labels of everything this session creates."""
        return labels.session_labels(self.id, self.owner)


@contextmanager
def open_session(*, sweep: bool = True) -> Iterator[Session]:
    """Open a session: sweep what dead ones left, start the reaper, and at the end wait until it has removed everything.

    Raise PlaneError if no engine answers or something could not be removed.
    """
    client = connect()
    try:
        if sweep:
            reaper.sweep(client)
    finally:
        client.close()
    session = Session(secrets.token_hex(6), labels.this_process())
    command = [sys.executable, "-m", "lab.containers.reaper", session.id]
    # In a session of its own: signals to the runner's group do not reach it. Its end of the pipe is the only one it
    # has.
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=_ROOT,
    )
    try:
        yield session
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            code = process.wait(REAPER_EXIT_S)
        except subprocess.TimeoutExpired:
            code = -1
    if code != 0:
        raise PlaneError(f"session {session.id} left something behind; `lab clean` removes it")
