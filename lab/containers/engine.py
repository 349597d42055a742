"""The Docker engine: how it is reached, with which deadlines, and why it is not there."""

from __future__ import annotations

import docker
import requests
from docker.errors import DockerException

from lab.containers.errors import PlaneError, printable

API_TIMEOUT_S = 10
ANSWER_TIMEOUT_S = 5
MISSING_HINT = "start Docker, or run the experiment on the simulator (--plane sim)"


def connect(timeout_s: int = API_TIMEOUT_S) -> docker.DockerClient:
    """Return a client of the engine named by the environment. Raise PlaneError with the cause if none answers."""
    try:
        return docker.from_env(timeout=timeout_s)  # asks the engine for its version
    except (DockerException, requests.RequestException) as error:
        raise PlaneError(f"no Docker engine answers: {_cause(error)}; {MISSING_HINT}") from error


def _cause(error: Exception) -> str:
    text = printable(str(error), 300).replace("\n", " ")
    if "FileNotFoundError" in text or "ConnectionRefused" in text or "Connection refused" in text:
        return "nothing listens on its socket"
    if "PermissionError" in text or "Permission denied" in text:
        return "this user may not use its socket (add the user to the group docker)"
    if "timed out" in text.lower() or "timeout" in text.lower():
        return f"its socket accepts but nothing comes back within {ANSWER_TIMEOUT_S} s"
    return text


def available() -> str:
    """Return "" when a Docker engine answers within 5 s, else the sentence that says why not."""
    try:
        connect(ANSWER_TIMEOUT_S).close()
    except PlaneError as error:
        return str(error)
    return ""
