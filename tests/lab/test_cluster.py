"""A sweep and a search on a Dask cluster: the same to the bit, also where a worker dies; and who may be reached."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.pool import Cluster, ClusterError, check_cluster, in_order, open_pool
from lab.run import run_simulated
from lab.spec.schema import Experiment
from tests.lab.conftest import SMALL, write
from tests.lab.test_cli import LAB, lab


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two worker processes and their scheduler on loopback, without a dashboard."""
    dask = pytest.importorskip("distributed")
    with dask.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None,
        worker_dashboard_address=None, silence_logs=50,
    ) as found:  # fmt: skip
        yield found


def digest(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["digest"])


def blocks(results: Path) -> list[Path]:
    return list(results.glob("*/.sweep-*/*.parquet"))


def test_a_worker_killed_in_the_middle_changes_nothing(tmp_path: Path, cluster: Any) -> None:
    file = write(tmp_path / "small.yaml")
    command = ("sweep", file, "--vary", "policy.timeout=100ms,200ms,400ms", "--seeds", 2000, "--json", "--quiet")
    here = lab(*command, "--results", tmp_path / "here")
    there = subprocess.Popen(
        [*LAB, *map(str, command), "--results", str(tmp_path / "there"), "--cluster", cluster.scheduler_address],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not blocks(tmp_path / "there"):
        assert time.monotonic() < deadline and there.poll() is None, there.communicate()
        time.sleep(0.005)
    victim = next(iter(cluster.workers.values())).pid
    finished = len(blocks(tmp_path / "there"))
    os.kill(victim, signal.SIGKILL)
    out, err = there.communicate(timeout=120)
    assert there.returncode == 0, err
    assert finished < 12, "it was still running when the worker died"
    assert not psutil.pid_exists(victim) or psutil.Process(victim).status() == psutil.STATUS_ZOMBIE
    assert json.loads(out)["digest"] == digest(here)


def test_a_suite_has_the_same_digest_there(cluster: Any) -> None:
    experiment, seeds = Experiment.model_validate(SMALL), range(1, 41)
    with open_pool("processes", 1, Cluster(cluster.scheduler_address)) as pool:
        there = run_simulated(experiment, seeds, pool=pool)
    assert there.seeds == list(seeds)
    assert there.digest() == run_simulated(experiment, seeds, workers=1).digest()


def test_nothing_listens_beyond_loopback(cluster: Any) -> None:
    processes = [psutil.Process(), *(psutil.Process(worker.pid) for worker in cluster.workers.values())]
    listening = [
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3, "the scheduler and two workers"
    assert set(listening) <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("tcp://192.0.2.7:8786", "plain TCP to another machine"),
        ("tcp://localhost.example.org:8786", "plain TCP to another machine"),
        ("tcp://0.0.0.0:8786", "plain TCP to another machine"),
        ("tls://192.0.2.7:8786", "needs --tls CA CERT KEY"),
        ("127.0.0.1:8786", "is not a scheduler"),
        ("tcp://127.0.0.1", "is not a scheduler"),
        ("tcp://127.0.0.1:99999", "is not a scheduler"),
        ("http://127.0.0.1:8786", "is not a scheduler"),
    ],
)
def test_addresses_that_must_not_be_used_are_refused(address: str, part: str) -> None:
    with pytest.raises(ClusterError, match=part) as caught:
        check_cluster(Cluster(address))
    assert caught.value.exit_code == 2


def test_missing_certificates_are_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"ca\.pem is not a file"):
        check_cluster(Cluster("tls://192.0.2.7:8786", tmp_path / "ca.pem", tmp_path / "c.pem", tmp_path / "k.pem"))


def test_the_command_refuses_before_it_reads_or_runs(tmp_path: Path) -> None:
    for verb in ("sweep", "tune"):
        done = lab(verb, tmp_path / "absent.yaml", "--cluster", "tcp://192.0.2.7:8786")
        assert done.returncode == 2
        assert "plain TCP to another machine" in done.stderr


def test_a_scheduler_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("lab.pool.CONNECT_S", 0.5)
    with (
        pytest.raises(ClusterError, match="no scheduler answers") as caught,
        open_pool("threads", 1, Cluster("tcp://127.0.0.1:9")),
    ):
        pass
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_results_come_in_the_order_of_the_tasks(kind: str) -> None:
    with open_pool(kind, 2) as pool:
        assert list(in_order(pool, divmod, ((n, 7) for n in range(50)))) == [divmod(n, 7) for n in range(50)]
        with pytest.raises(ZeroDivisionError):
            list(in_order(pool, divmod, [(1, 0)]))
