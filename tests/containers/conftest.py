"""What the container tests share: the engine or the reason why there is none, images, a session, small experiments."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest

from lab.containers.engine import available, connect
from lab.containers.images import EVERYTHING, Images, build_images
from lab.containers.session import Session, open_session
from lab.spec.schema import Experiment

MakeExperiment = Callable[..., Experiment]


def make_experiment(
    *faults: dict[str, Any],
    leader: str = "go",
    followers: tuple[str, ...] = ("go", "rust"),
    rate: str = "100/s",
    duration: str = "2.5s",
    mode: str = "quorum",
    system: dict[str, Any] | None = None,
    **others: Any,
) -> Experiment:
    names = [{"name": "leader", "runtime": leader}]
    names += [{"name": f"f{number}", "runtime": runtime} for number, runtime in enumerate(followers, 1)]
    return Experiment.model_validate(
        {
            "title": "a test",
            "system": {"mode": mode, "replicas": names, **(system or {})},
            "network": {"links": {"default": {"delay": "uniform(low=1ms, high=3ms)"}}},
            "workload": {"arrivals": f"poisson({rate})", "duration": duration, "keys": 50},
            "policy": {"reconcile_every": "250ms"},
            "faults": list(faults),
            **others,
        }
    )


@pytest.fixture(scope="session")
def client() -> Iterator[docker.DockerClient]:
    reason = available()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    made = connect()
    yield made
    made.close()


@pytest.fixture(scope="session")
def images(client: docker.DockerClient) -> Images:
    return build_images(print, (*EVERYTHING, "reconciler"))


@pytest.fixture(scope="module")
def session(client: docker.DockerClient) -> Iterator[Session]:
    with open_session() as opened:
        yield opened
