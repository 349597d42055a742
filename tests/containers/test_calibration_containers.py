"""A small calibration and a tiny confirmation on real replicas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import docker
import pytest

from lab.calibration.calibrate import Effort, calibrate, containers
from lab.calibration.worlds import Base, leg_probes
from lab.history import History
from lab.plane import container_runner
from lab.run import simulate
from lab.spec.schema import Experiment
from lab.tuning.contain import UNCERTAIN, contain
from tests.containers.conftest import make_experiment
from tests.tuning.test_tuning import experiment, recommend

pytestmark = [pytest.mark.containers, pytest.mark.timeout(180)]


def run_many(experiment: Experiment, seeds: Sequence[int]) -> Iterator[History]:
    for seed in seeds:
        yield simulate(experiment, seed)


def test_a_small_calibration(client: docker.DockerClient) -> None:
    base = Base(replicas=(("leader", "go"), ("f1", "rust")), arrivals="poisson(100/s)")
    effort = Effort(probe_s=2, probes=1, runs=1, episodes=2, simulated=2)
    with containers([leg_probes(base, 1_000_000_000)[0].experiment], lambda _: None) as stack:
        model, document = calibrate(
            base, stack, effort, first_seed=1, kinds=("partition",), command="lab calibrate", folder="data",
            progress=lambda *_: None, simulate=run_many,
        )  # fmt: skip
    assert document["invalid"] == [] and document["images"].keys() == {"toxiproxy", "go", "rust"}
    for leg in ("request", "forward", "back", "answer"):
        assert document["legs"][leg]["n"] > 100 and model.samples[leg][0] > 0, leg
    assert document["service_ns"]["f1"] > 0 and document["retry_late"]["n"] > 10
    assert document["switch_late"]["n"] == 16
    (row,) = document["rows"]
    assert row["invalid"] == [] and row["runs"] == 1 and 0 <= row["begun_late_ns"] < 20_000_000
    assert row["convergence"]["n_containers"] == row["convergence"]["n_simulator"] / 2 == 2
    assert row["acknowledgement"]["n_containers"] > 100 and row["verdict"] in ("inside", "outside")


def test_a_tiny_confirmation(client: docker.DockerClient) -> None:
    found = recommend(experiment(), "valley")
    plan = found.tune
    small = make_experiment(duration="500ms", drain="1s", rate="50/s")
    small = small.model_copy(update={"tune": plan})
    for candidate in (found.current, found.proposed):
        policy = candidate.experiment.policy
        candidate.experiment = small.model_copy(update={"policy": policy})
    with container_runner(small, lambda *_: None) as runner:
        after = contain(
            found, lambda one, seeds: runner("confirm", one, seeds), pairs=2, first_seed=1, progress=lambda *_: None
        )
    real = after.contained
    assert real is not None and real.status == UNCERTAIN  # two pairs never tell
    assert real.dropped == [] and real.pairs == 2
    assert after.confirmation.status == "gain"
