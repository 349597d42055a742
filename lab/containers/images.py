"""Images FROM scratch, each one static binary, made by the engine from the Dockerfiles' `prebuilt` stage: no registry
needed.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import docker
import requests
from docker.errors import APIError, BuildError, ImageNotFound

from lab.containers import labels
from lab.containers.build import COMPONENTS, COMPOSE, TAIL_LINES, Component, Log, build
from lab.containers.engine import connect
from lab.containers.errors import PlaneError, printable

CONTENT = "lab.content"
IMAGE_TIMEOUT_S = 120
SERVERS = {"framed": "toxiproxy", "oneshot": "stock"}  # component of the Toxiproxy server by wire
EVERYTHING = ("toxiproxy", "stock", "go", "rust")


@dataclass(frozen=True, slots=True)
class Images:
    """Image ids by component: the servers (`toxiproxy`, `stock`), runtimes (`go`, `rust`) and helpers that were asked
    for.
    """

    ids: dict[str, str]

    def server(self, wire: str) -> str:
        """Return the id of the image of the Toxiproxy server that carries a wire."""
        return self.ids[SERVERS[wire]]

    def runtime(self, runtime: str) -> str:
        """Return the id of a replica's image."""
        return self.ids[runtime]


def build_images(log: Log, names: Iterable[str] = EVERYTHING) -> Images:
    """Build what is out of date and return the images. Raise PlaneError with the end of the output of what failed."""
    wanted = [COMPONENTS[name] for name in sorted(set(names))]
    for component in wanted:
        build(component, log)
    client = connect(IMAGE_TIMEOUT_S)
    try:
        return Images({component.name: _image(client, component, log) for component in wanted})
    finally:
        client.close()


def are_present(images: Images) -> bool:
    """Return whether the engine still has every image: a runner of another version drops those that it replaces."""
    client = connect(IMAGE_TIMEOUT_S)
    try:
        for identity in images.ids.values():
            client.images.get(identity)
    except ImageNotFound:
        return False
    except (APIError, requests.RequestException) as error:
        raise PlaneError(f"the engine does not tell its images: {printable(str(error), 300)}") from error
    finally:
        client.close()
    return True


def context(component: Component) -> bytes:
    """Return the build context: the Dockerfile and what its `prebuilt` stage copies, the same bytes for the same
    content.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        _add_file(archive, component.dockerfile, 0o644)
        _add_file(archive, f"dist/{component.name}/{component.binary}", 0o755)
        if component.data_folder:
            folder = tarfile.TarInfo(f"dist/{component.name}/data")
            folder.type, folder.mode = tarfile.DIRTYPE, 0o700
            archive.addfile(folder)
    return buffer.getvalue()


def _add_file(archive: tarfile.TarFile, name: str, mode: int) -> None:
    data = (COMPOSE / name).read_bytes()
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    archive.addfile(info, io.BytesIO(data))


def _image(client: docker.DockerClient, component: Component, log: Log) -> str:
    data = context(component)
    content = hashlib.sha256(data).hexdigest()
    try:
        present: Any = client.images.get(component.image)
        if present.labels.get(CONTENT) == content and present.labels.get(labels.OWNER) == labels.OWNER_VALUE:
            return str(present.id)
    except ImageNotFound:
        present = None
    log(f"making the image {component.image} …")
    try:
        made, _ = client.images.build(
            fileobj=io.BytesIO(data),
            custom_context=True,
            dockerfile=component.dockerfile,
            target="prebuilt",
            tag=component.image,
            # Not the schema: containers inherit their image's labels, and all three must not come from it.
            labels={labels.OWNER: labels.OWNER_VALUE, CONTENT: content},
            network_mode="none",
            rm=True,
            forcerm=True,
        )
    except BuildError as error:
        lines = [
            str(entry.get("stream") or entry.get("error") or "") for entry in error.build_log if isinstance(entry, dict)
        ]
        tail = "\n".join(printable("".join(lines)).splitlines()[-TAIL_LINES:])
        raise PlaneError(f"making the image {component.image} failed: {printable(error.msg, 300)}\n{tail}") from error
    except (APIError, requests.RequestException) as error:
        raise PlaneError(f"making the image {component.image} failed: {printable(str(error), 300)}") from error
    _drop_former(client, present, str(made.id))
    return str(made.id)


def _drop_former(client: docker.DockerClient, former: Any, current: str) -> None:
    """Remove the image that the tag named before, if it is ours, has no other tag and is not in use."""
    if former is None or former.id == current or former.labels.get(labels.OWNER) != labels.OWNER_VALUE:
        return
    try:
        now = client.images.get(former.id)
        if not now.tags:
            client.api.remove_image(former.id, force=False)
    except (APIError, requests.RequestException):
        return  # in use by another runner, or gone
