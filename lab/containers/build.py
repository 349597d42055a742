"""Static binaries, built on the host from `compose/` into `compose/dist/`, again only when their sources have
changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.containers.errors import PlaneError, printable

COMPOSE = Path(__file__).resolve().parents[2] / "compose"
BUILD_DEADLINE_S = 600.0  # a cold build downloads and compiles every dependency
TAIL_LINES = 20
Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Component:
    """One binary: where its sources are, how it is built (`{host}` is the host's target triple), and what comes out."""

    name: str
    sources: tuple[str, ...]
    tool: str
    hint: str
    command: tuple[str, ...]
    product: str
    binary: str
    image: str
    environment: Mapping[str, str] = field(default_factory=dict)
    data_folder: bool = True
    package: str = "."

    @property
    def dockerfile(self) -> str:
        """The path of the Dockerfile below `compose`."""
        return (Path(self.sources[0]) / self.package / "Dockerfile").as_posix()

    @property
    def dist(self) -> Path:
        """The folder the image is made from."""
        return COMPOSE / "dist" / self.name


_GO = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
_GO_HINT = "install Go 1.26 or newer (https://go.dev/dl)"
_TOXIPROXY_VERSION = "-X github.com/Shopify/toxiproxy/v2.Version=2.12.0"

COMPONENTS = {
    component.name: component
    for component in (
        Component(
            name="go",
            sources=("go",),
            tool="go",
            hint=_GO_HINT,
            command=("go", "build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", "{out}", "."),
            product="",
            binary="replica",
            image="driftlab/go-replica",
            environment=_GO,
        ),
        Component(
            name="rust",
            sources=("rust", "proto"),
            tool="cargo",
            hint="install Rust 1.95 or newer (https://rustup.rs)",
            command=("cargo", "build", "--release", "--locked", "--quiet", "--target", "{host}"),
            product="target/{host}/release/replica",
            binary="replica",
            image="driftlab/rust-replica",
            environment={"RUSTFLAGS": "-C target-feature=+crt-static"},
        ),
        Component(
            name="reconciler",
            sources=("go",),
            tool="go",
            hint=_GO_HINT,
            command=("go", "build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", "{out}", "./reconciler"),
            product="",
            binary="reconciler",
            image="driftlab/reconciler",
            environment=_GO,
            package="reconciler",
        ),
        Component(
            name="toxiproxy",
            sources=("toxiproxy",),
            tool="go",
            hint=_GO_HINT,
            command=(
                "go",
                "build",
                "-trimpath",
                "-ldflags",
                f"-s -w -buildid= {_TOXIPROXY_VERSION}",
                "-o",
                "{out}",
                ".",
            ),
            product="",
            binary="toxiproxy",
            image="driftlab/toxiproxy",
            environment=_GO,
            data_folder=False,
        ),
        Component(
            name="stock",
            sources=("stock",),
            tool="go",
            hint=_GO_HINT,
            command=(
                "go",
                "build",
                "-trimpath",
                "-ldflags",
                f"-s -w -buildid= {_TOXIPROXY_VERSION}",
                "-o",
                "{out}",
                "github.com/Shopify/toxiproxy/v2/cmd/server",
            ),
            product="",
            binary="toxiproxy",
            image="driftlab/toxiproxy-stock",
            environment=_GO,
            data_folder=False,
        ),
    )
}
_NOT_SOURCES = {"target", "measure", ".git"}


def source_hash(component: Component) -> str:
    """Return the SHA-256 of a component's sources and of how it is built."""
    hasher = hashlib.sha256(json.dumps([component.command, dict(component.environment)]).encode())
    for folder in component.sources:
        root = COMPOSE / folder
        for path in sorted(root.rglob("*")):
            parts = path.relative_to(root).parts
            if path.is_file() and not _NOT_SOURCES.intersection(parts):
                hasher.update(f"{folder}/{'/'.join(parts)}\0".encode())
                hasher.update(hashlib.sha256(path.read_bytes()).digest())
    return hasher.hexdigest()


@contextmanager
def locked(path: Path, deadline_s: float = BUILD_DEADLINE_S) -> Iterator[None]:
    """Hold a lock file, so that two runners do not build at once. Raise PlaneError past the deadline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + deadline_s
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise PlaneError(f"another build has held {path.name} for {deadline_s:.0f} s") from error
                time.sleep(0.2)
        yield


def build(component: Component, log: Log) -> Path:
    """Return the component's binary, built if its sources have changed. Raise PlaneError with the end of the build's
    output.
    """
    if not (COMPOSE / component.sources[0]).is_dir():
        raise PlaneError(f"the sources of {component.image} are not here; the container plane runs from a checkout")
    with locked(COMPOSE / "dist" / f".{component.name}.lock"):
        stamp, binary = component.dist / ".stamp", component.dist / component.binary
        wanted = source_hash(component)
        if binary.is_file() and stamp.is_file() and stamp.read_text() == wanted:
            return binary
        if shutil.which(component.tool) is None:
            raise PlaneError(f"{component.tool} is needed to build {component.image}: {component.hint}")
        log(f"building {component.image} …")
        component.dist.mkdir(parents=True, exist_ok=True)
        if component.data_folder:
            (component.dist / "data").mkdir(exist_ok=True)
        host = _host_triple(component) if any("{host}" in word for word in component.command) else ""
        fresh = component.dist / f".{component.binary}.new"
        words = [word.replace("{host}", host).replace("{out}", str(fresh)) for word in component.command]
        _run(component, words)
        if component.product:
            made = COMPOSE / component.sources[0] / component.product.replace("{host}", host)
            shutil.copyfile(made, fresh)
        fresh.chmod(0o755)
        fresh.replace(binary)
        stamp.write_text(wanted)
        return binary


def _host_triple(component: Component) -> str:
    try:
        answer = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise PlaneError(f"rustc does not say its host: {component.hint}") from error
    return next(line.split()[1] for line in answer.splitlines() if line.startswith("host:"))


def _run(component: Component, words: list[str], deadline_s: float = BUILD_DEADLINE_S) -> None:
    """Run a build; past the deadline end it and everything it started."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            words,
            cwd=COMPOSE / component.sources[0],
            env={**os.environ, **component.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(deadline_s)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise PlaneError(f"building {component.image} took over {deadline_s:.0f} s; it was ended") from error
            raise
        output.seek(0)
        lines = printable(output.read().decode(errors="replace"), 20_000).splitlines()
    if code != 0:
        tail = "\n".join(lines[-TAIL_LINES:])
        raise PlaneError(f"building {component.image} failed (exit {code}); its last lines:\n{tail}")


if __name__ == "__main__":
    for each in COMPONENTS.values():
        print(build(each, print))
