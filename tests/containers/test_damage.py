"""What breaks is named, what was made is removed, and nothing else is touched."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from lab.containers import labels, reaper, stack
from lab.containers.build import COMPONENTS
from lab.containers.conduct import Replicas
from lab.containers.errors import PlaneError
from lab.containers.execute import run_once
from lab.containers.images import Images
from lab.containers.session import Session
from lab.containers.stack import Stack
from lab.containers.topology import LOOPBACK
from tests.containers.conftest import make_experiment

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]
ROOT = Path(__file__).parents[2]
GONE_S = 15.0


@pytest.fixture
def small(client: docker.DockerClient, session: Session, images: Images) -> Iterator[Stack]:
    made = Stack(session, images, make_experiment(followers=("go",)), 7)
    try:
        yield made
    finally:
        made.tear_down()


def test_containers_have_no_privilege_and_publish_on_loopback(small: Stack, client: docker.DockerClient) -> None:
    small.create()
    small.start_replicas()
    items = reaper.find(client, small.session.id)
    assert [item.kind for item in items] == ["container"] * 3 + ["network"] * 2 + ["volume"] * 4
    assert all(labels.owned(item.labels, small.session.id) for item in items)
    networks = {
        item.name.rpartition("-")[2]: client.networks.get(item.id).attrs for item in items if item.kind == "network"
    }
    assert networks["mesh"]["Internal"] is True
    for item in items:
        if item.kind != "container":
            continue
        attributes: Any = client.api.inspect_container(item.id)
        host = attributes["HostConfig"]
        assert (host["Privileged"], host["ReadonlyRootfs"], host["CapDrop"]) == (False, True, ["ALL"])
        assert "no-new-privileges" in host["SecurityOpt"] and attributes["Config"]["User"] == "65534:65534"
        assert 0 < host["Memory"] == host["MemorySwap"] and host["PidsLimit"] > 0 and host["NanoCpus"] > 0
        assert host["RestartPolicy"]["Name"] == "no" and not host["Binds"]
        published = [one for bound in attributes["NetworkSettings"]["Ports"].values() for one in bound or []]
        assert published and all(one["HostIp"] == LOOPBACK for one in published)
        assert len(attributes["NetworkSettings"]["Networks"]) == 2


def test_a_replica_that_dies_is_named_with_its_last_words(small: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = stack.replica_settings
    monkeypatch.setattr(stack, "replica_settings", lambda *a, **k: {**honest(*a, **k), "colour": "\x1b[31mred"})
    small.create()
    small.start_replicas()
    with pytest.raises(PlaneError, match="exit code 2") as death:
        asyncio.run(Replicas(small).wait_ready("f1"))
    assert "colour" in str(death.value) and "\x1b" not in str(death.value)


def disturb(
    client: docker.DockerClient, session: Session, role: str, act: Callable[[Any], None], after_s: float
) -> threading.Thread:
    """Do something to a container of the session once the run has gone on for a while."""

    def later() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            rows = client.containers.list(
                filters={"label": [f"{labels.SESSION}={session.id}", f"{labels.ROLE}={role}"]}
            )
            if rows:
                time.sleep(after_s)
                act(rows[0])
                return
            time.sleep(0.05)

    thread = threading.Thread(target=later)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("role", "act", "said"),
    [
        ("toxiproxy", lambda container: container.kill(), "Toxiproxy ended with exit code 137"),
        ("toxiproxy", lambda container: container.pause(), "Toxiproxy did not answer within 2 s"),
        ("f1", lambda container: container.kill(), "f1 ended with exit code 137"),
    ],
)
def test_what_dies_in_the_middle_makes_the_run_invalid(
    role: str, act: Callable[[Any], None], said: str, client: docker.DockerClient, session: Session, images: Images
) -> None:
    thread = disturb(client, session, role, act, 3.0)
    history = run_once(make_experiment(duration="20s"), 7, session=session, images=images)
    thread.join()
    assert said in history.invalid
    assert reaper.find(client, session.id) == []


RUNNER = """
import sys
from lab.containers.execute import open_session
from tests.containers.conftest import make_experiment

experiment = make_experiment(duration="60s")
with open_session(experiment) as plane:
    print(plane.session.id, flush=True)
    plane.say = lambda text: print(text, flush=True)
    plane.run_once(experiment, 7)
"""


@pytest.fixture
def plain_image(client: docker.DockerClient, images: Images) -> Iterator[str]:
    """An image without labels: a container inherits those of its image."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(COMPONENTS["toxiproxy"].dist / "toxiproxy", "toxiproxy")
        info = tarfile.TarInfo("Dockerfile")
        text = b'FROM scratch\nCOPY toxiproxy /toxiproxy\nENTRYPOINT ["/toxiproxy"]\n'
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    buffer.seek(0)
    image, _ = client.images.build(fileobj=buffer, custom_context=True, rm=True, forcerm=True, network_mode="none")
    yield str(image.id)
    client.images.remove(str(image.id))


@pytest.fixture
def decoys(client: docker.DockerClient, plain_image: str) -> Iterator[Callable[[dict[str, str]], list[Any]]]:
    """Containers, networks and volumes with one or two of a session's three labels, and names like its own."""
    made: list[Any] = []

    def make(its_labels: dict[str, str]) -> list[Any]:
        for missing in its_labels:
            two = {name: value for name, value in its_labels.items() if name != missing}
            for number, some in enumerate((two, {missing: its_labels[missing]})):
                name = f"lab-{its_labels[labels.SESSION]}-decoy-{missing[4:]}-{number}"
                common: Any = {"name": name, "labels": some}
                made.append(client.containers.run(plain_image, detach=True, network_mode="none", **common))
                made.append(client.networks.create(internal=True, **common))
                made.append(client.volumes.create(**common))
        return made

    yield make
    for item in made:
        if isinstance(item, Container):
            item.remove(force=True)
        else:
            item.remove()


def test_a_killed_runner_leaves_nothing_and_decoys_survive(
    client: docker.DockerClient, images: Images, decoys: Callable[[dict[str, str]], list[Any]]
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert runner.stdout is not None
        session_id = runner.stdout.readline().strip()
        assert len(session_id) == 12
        survivors = decoys({labels.SESSION: session_id, labels.OWNER: "driftlab", labels.SCHEMA: "1"})
        while "running" not in runner.stdout.readline():
            assert runner.poll() is None
        assert len(reaper.find(client, session_id)) == 4 + 2 + 6
    finally:
        runner.send_signal(signal.SIGKILL)
        runner.communicate()
    killed = time.monotonic()
    while reaper.find(client, session_id):
        assert time.monotonic() - killed < GONE_S, reaper.find(client, session_id)
        time.sleep(0.2)
    time.sleep(2.0)  # the reaper looks once more before it ends
    assert reaper.find(client, session_id) == []
    for decoy in survivors:
        decoy.reload()
        assert getattr(decoy, "status", "running") == "running"


def test_a_sweep_removes_what_a_dead_session_left(client: docker.DockerClient) -> None:
    dead = labels.session_labels("5eed5eed5eed", labels.this_process()) | {labels.STARTED: "1"}
    alive = labels.session_labels("a11vea11vea1", labels.this_process())
    for its_labels in (dead, alive):
        client.networks.create(f"lab-{its_labels[labels.SESSION]}-x", labels=its_labels, internal=True)
    try:
        found = reaper.clean(dry_run=True)
        assert [line for line in found if "5eed5eed5eed" in line] and not [line for line in found if "a11ve" in line]
        assert reaper.find(client, "5eed5eed5eed"), "a dry run removes nothing"
        assert reaper.clean(dry_run=False) == found
        assert not reaper.find(client, "5eed5eed5eed") and reaper.find(client, "a11vea11vea1")
    finally:
        for session_id in ("5eed5eed5eed", "a11vea11vea1"):
            reaper.remove_all(client, session_id, deadline_s=10)
