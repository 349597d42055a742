"""`lab capacity` finds a limit that is known exactly, and says when there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from lab.cli import cli
from tests.lab.conftest import write

# Eight attempts may be outstanding for a follower, each for exactly 100 ms: the ninth write within 100 ms is refused.
LIMITED: dict[str, Any] = {
    "network": {"links": {"default": {"delay": "50ms"}}},
    "workload": {"arrivals": "constant(20/s)", "duration": "2s", "keys": 20},
    "policy": {"timeout": "1s", "queue": {"limit": 8, "overflow": "reject"}},
    "faults": [],
    "measure": {"claims": ["availability == 100%"]},
    "seeds": 1,
}


def capacity(file: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["capacity", str(file), "--quiet", "--executor", "reference", *options])


def test_the_limit_of_a_queue_is_found(tmp_path: Path) -> None:
    done = capacity(write(tmp_path / "limited.yaml", **LIMITED), "--from", "20/s", "--to", "500/s", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["holds"] <= 80 < found["fails"] * 1.001
    assert found["fails"] <= 1.06 * found["holds"]
    assert found["monotone"] is True


def test_a_longer_queue_holds_more(tmp_path: Path) -> None:
    longer = {**LIMITED, "policy": {"timeout": "1s", "queue": {"limit": 16, "overflow": "reject"}}}
    done = capacity(write(tmp_path / "longer.yaml", **longer), "--from", "20/s", "--to", "500/s", "--json")
    assert json.loads(done.stdout)["holds"] > 150


def test_no_limit_and_no_capacity_are_said(tmp_path: Path) -> None:
    file = write(tmp_path / "limited.yaml", **LIMITED)
    within = capacity(file, "--from", "20/s", "--to", "40/s")
    assert within.exit_code == 0
    assert "at least 40/s" in within.output
    beyond = capacity(file, "--from", "200/s", "--to", "400/s")
    assert beyond.exit_code == 1
    assert "not even 200/s holds" in beyond.output


def test_a_spike_that_is_not_there_and_a_wrong_rate_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "limited.yaml", **LIMITED)
    assert "0 spikes; there is no number 1" in capacity(file, "--spike", "1").output + str(
        capacity(file, "--spike", "1").stderr
    )
    wrong = capacity(file, "--from", "20")
    assert wrong.exit_code == 2
    assert "write 20/s" in wrong.output + wrong.stderr
