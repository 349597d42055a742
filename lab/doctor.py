"""`lab doctor`: what the planes need, what is there, and how to mend what is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

OK, WARN, FAIL = "ok", "warn", "fail"
MARKS = {OK: "✓", WARN: "!", FAIL: "✗"}
DEADLINE_S = 10
PYTHON_MIN = (3, 11)
DISK_MIN_GIB = 2


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `fix` is the command or sentence that mends it, "" when nothing needs mending."""

    name: str
    status: str
    detail: str
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the check as a JSON object."""
        return asdict(self)

    def line(self) -> str:
        """Return the check as a line for a terminal."""
        return f"{MARKS[self.status]} {self.name:<12} {self.detail}" + (f" — {self.fix}" if self.fix else "")


def examine() -> list[Check]:
    """Return all checks. The simulator needs only the first group; a missing container tool is a warning, not a
    failure.
    """
    return [*(_guarded(check) for check in (_python, _packages, _cores, _disk, _engine, _go, _rust)), *_leftovers()]


def _guarded(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # a check that breaks must not hide the others
        return Check(check.__name__.lstrip("_"), WARN, f"could not be checked: {error}")


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < PYTHON_MIN:
        return Check("python", FAIL, version, "install Python 3.11 or newer")
    return Check("python", OK, version)


def _packages() -> Check:
    missing = []
    requirements = metadata.requires("driftlab") or []
    for requirement in requirements:
        if "extra ==" in requirement:
            continue
        name = requirement.split(";")[0].split(">")[0].split("<")[0].split("=")[0].strip()
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", FAIL, f"missing: {', '.join(missing)}", "make setup")
    return Check("packages", OK, f"{len(requirements)} declared, none missing")


def _cores() -> Check:
    cores = os.cpu_count() or 1
    return Check("cores", OK if cores > 1 else WARN, str(cores), "" if cores > 1 else "real-time runs want two cores")


def _disk() -> Check:
    free_gib = shutil.disk_usage(".").free / 2**30
    status = OK if free_gib >= DISK_MIN_GIB else WARN
    return Check(
        "disk",
        status,
        f"{free_gib:.1f} GiB free here",
        "" if status == OK else "free some space for results and images",
    )


def _engine() -> Check:
    from lab.containers.execute import available

    reason = available()
    if reason:
        return Check("docker", WARN, reason, "only `--plane containers` needs it")
    import docker

    client = docker.from_env(timeout=DEADLINE_S)
    try:
        version = client.version()["Version"]
    finally:
        client.close()
    return Check("docker", OK, f"engine {version}")


def _tool(name: str, command: list[str], purpose: str) -> Check:
    if shutil.which(command[0]) is None:
        return Check(
            name, WARN, f"{command[0]} not found", f"install it to build {purpose}; only `--plane containers` needs it"
        )
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    return Check(
        name, OK if done.returncode == 0 else WARN, done.stdout.strip().splitlines()[0] if done.stdout else "no answer"
    )


def _go() -> Check:
    return _tool("go", ["go", "version"], "the Go replica and the Toxiproxy server")


def _rust() -> Check:
    return _tool("rust", ["cargo", "--version"], "the Rust replica")


def _leftovers() -> list[Check]:
    from lab.containers.execute import available
    from lab.containers.reaper import clean

    if available():
        return []
    left = clean(dry_run=True)
    if left:
        return [Check("leftovers", WARN, f"{len(left)} from sessions that are over", "lab clean")]
    return [Check("leftovers", OK, "none")]
