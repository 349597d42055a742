"""Labels: the only proof of ownership. What does not carry all three is never touched."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SESSION = "lab.session"
OWNER = "lab.owner"
SCHEMA = "lab.schema"
RUN = "lab.run"
ROLE = "lab.role"
OWNER_VALUE = "driftlab"
SCHEMA_VALUE = "1"

# Who owns a session: enough to tell a dead owner from a living one, on this machine alone.
HOST = "lab.host"
PID = "lab.pid"
PID_NAMESPACE = "lab.pid-namespace"
STARTED = "lab.started"
BOOT = "lab.boot"


@dataclass(frozen=True, slots=True)
class Process:
    """A process: its number, when it started, and in which boot of which machine. Unknown parts are ""."""

    host: str
    boot: str
    pid_namespace: str
    pid: int
    started: str

    def labels(self) -> dict[str, str]:
        """Return the labels that name this process as owner."""
        return {
            HOST: self.host,
            BOOT: self.boot,
            PID_NAMESPACE: self.pid_namespace,
            PID: str(self.pid),
            STARTED: self.started,
        }


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return the process's start in clock ticks since boot; "" where the kernel does not tell or there is no such
    process.
    """
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def this_process() -> Process:
    """Return the calling process."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    pid = os.getpid()
    return Process(platform.node(), _read("/proc/sys/kernel/random/boot_id"), namespace, pid, _started(pid))


def owner_is_dead(labels: Mapping[str, str]) -> bool:
    """Return whether the process that these labels name is certainly gone; False when that cannot be told from here."""
    here = this_process()
    if labels.get(HOST) != here.host or not labels.get(PID, "").isdecimal():
        return False
    if labels.get(BOOT) != here.boot:
        return True
    if labels.get(PID_NAMESPACE) != here.pid_namespace:
        return False
    pid = int(labels[PID])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return _started(pid) != labels.get(STARTED)


def session_labels(session_id: str, owner: Process) -> dict[str, str]:
    """Return the labels that everything a session creates carries."""
    return {SESSION: session_id, OWNER: OWNER_VALUE, SCHEMA: SCHEMA_VALUE, **owner.labels()}


def filters(session_id: str | None = None) -> list[str]:
    """Return the engine's label filters: all three labels, with this session or with any."""
    wanted = SESSION if session_id is None else f"{SESSION}={session_id}"
    return [wanted, f"{OWNER}={OWNER_VALUE}", f"{SCHEMA}={SCHEMA_VALUE}"]


def owned(labels: Mapping[str, str] | None, session_id: str) -> bool:
    """Return whether these labels are all three of that session."""
    wanted = {SESSION: session_id, OWNER: OWNER_VALUE, SCHEMA: SCHEMA_VALUE}
    return labels is not None and all(labels.get(name) == value for name, value in wanted.items())
