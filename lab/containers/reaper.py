"""Removal by label: the reaper process, the sweep of dead sessions, and `lab clean`.

`python -m lab.containers.reaper SESSION` waits at its standard input, a pipe from the runner. The pipe ends when the
runner does, however it ends, and then everything that carries the session's three labels is removed.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import docker
import requests
from docker.errors import APIError, NotFound

from lab.containers import labels
from lab.containers.engine import connect
from lab.containers.errors import PlaneError

REAP_DEADLINE_S = 15.0
CALL_TIMEOUT_S = 5
SETTLE_S = 1.0  # a request that was under way when the runner died may still create something
RETRY_S = 0.2
KINDS = ("container", "network", "volume")
_PROBLEMS = (APIError, requests.RequestException)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing in the engine that belongs to a session."""

    kind: str
    id: str
    name: str
    session: str
    labels: Mapping[str, str]


def find(client: docker.DockerClient, session_id: str | None = None, run_id: str | None = None) -> list[Item]:
    """Return everything with all three labels of a session (of any, if None), containers first, then networks,
    volumes.
    """
    wanted = labels.filters(session_id) + ([f"{labels.RUN}={run_id}"] if run_id else [])
    api: Any = client.api
    found: list[Item] = []
    for row in api.containers(all=True, filters={"label": wanted}):
        found.append(_item("container", row["Id"], row["Names"][0].lstrip("/") if row["Names"] else "", row["Labels"]))
    for row in api.networks(filters={"label": wanted}):
        found.append(_item("network", row["Id"], row["Name"], row["Labels"]))
    for row in api.volumes(filters={"label": wanted})["Volumes"] or []:
        found.append(_item("volume", row["Name"], row["Name"], row["Labels"]))
    # Checked here as well: engine 20.10 takes several label filters on volumes as alternatives.
    return [
        item
        for item in found
        if labels.owned(item.labels, session_id or item.session)
        and (run_id is None or item.labels.get(labels.RUN) == run_id)
    ]


def _item(kind: str, identity: str, name: str, its_labels: Mapping[str, str] | None) -> Item:
    its_labels = its_labels or {}
    return Item(kind, identity, name, its_labels.get(labels.SESSION, ""), its_labels)


def _labels_now(api: Any, item: Item) -> Mapping[str, str] | None:
    if item.kind == "container":
        return dict(api.inspect_container(item.id)["Config"]["Labels"] or {})
    if item.kind == "network":
        return dict(api.inspect_network(item.id)["Labels"] or {})
    return dict(api.inspect_volume(item.id)["Labels"] or {})


def remove(client: docker.DockerClient, item: Item) -> bool:
    """Remove one item if its labels still say that it is ours. Return whether it is gone."""
    api: Any = client.api
    removers: dict[str, Callable[[], None]] = {
        "container": lambda: api.remove_container(item.id, force=True, v=True),
        "network": lambda: api.remove_network(item.id),
        "volume": lambda: api.remove_volume(item.id, force=True),
    }
    try:
        if not labels.owned(_labels_now(api, item), item.session):
            return True
        removers[item.kind]()
    except NotFound:
        return True
    except _PROBLEMS:
        return False
    return True


def remove_all(
    client: docker.DockerClient, session_id: str, *, run_id: str | None = None, deadline_s: float
) -> list[Item]:
    """Remove everything of a session (or of one run of it), with retries until the deadline; return what is left."""
    deadline = time.monotonic() + deadline_s
    while True:
        with contextlib.suppress(*_PROBLEMS):
            left = find(client, session_id, run_id)
            for kind in KINDS:
                some = [item for item in left if item.kind == kind]
                if some:
                    with ThreadPoolExecutor(8) as pool:
                        list(pool.map(lambda item: remove(client, item), some))
            left = find(client, session_id, run_id)
            if not left or time.monotonic() > deadline:
                return left
        if time.monotonic() > deadline:
            return []
        time.sleep(RETRY_S)


def dead_sessions(client: docker.DockerClient) -> list[Item]:
    """Return everything that belongs to sessions whose owner is certainly gone."""
    return [item for item in find(client) if labels.owner_is_dead(item.labels)]


def sweep(client: docker.DockerClient, *, deadline_s: float = 30.0) -> list[Item]:
    """Remove what dead sessions left behind; return what was removed."""
    found = dead_sessions(client)
    left: set[tuple[str, str]] = set()
    for session_id in {item.session for item in found}:
        left |= {(item.kind, item.id) for item in remove_all(client, session_id, deadline_s=deadline_s)}
    return [item for item in found if (item.kind, item.id) not in left]


def clean(dry_run: bool) -> list[str]:
    """Remove what dead sessions left behind (or only find it); return a line for each item. Living sessions are left
    alone.

    Raise PlaneError if no engine answers.
    """
    client = connect()
    try:
        found = dead_sessions(client) if dry_run else sweep(client)
    finally:
        client.close()
    return [f"{item.kind} {item.name} (session {item.session})" for item in found]


def _engine_clients(deadline: float) -> Iterator[docker.DockerClient]:
    """Yield new clients until the deadline, so that an engine that is away for a moment is met again."""
    while time.monotonic() < deadline:
        with contextlib.suppress(PlaneError):
            yield connect(CALL_TIMEOUT_S)
        time.sleep(RETRY_S)


def reap(session_id: str, deadline_s: float = REAP_DEADLINE_S) -> bool:
    """Remove a session, then look once more after a moment; return whether nothing is left."""
    deadline = time.monotonic() + deadline_s
    for client in _engine_clients(deadline):
        left = remove_all(client, session_id, deadline_s=max(0.1, deadline - time.monotonic() - SETTLE_S))
        time.sleep(SETTLE_S)
        with contextlib.suppress(*_PROBLEMS):
            if not left and not find(client, session_id):
                return True
    return False


def main(arguments: list[str]) -> int:
    """Wait for the end of standard input, then reap the session named by the one argument."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # only the runner's end ends the wait
    while sys.stdin.buffer.read(4096):
        pass
    return 0 if reap(arguments[0]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
