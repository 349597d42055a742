"""An interrupt ends the command line with its own code, wherever it was met."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
from lab import cli

def interrupted(**_):
    {met}

cli.cli.main = interrupted
cli.main()
"""


@pytest.mark.parametrize("met", ["raise KeyboardInterrupt", "exec('raise KeyboardInterrupt', {})"])
def test_an_interrupt_ends_with_130(met: str, tmp_path: Path) -> None:
    (tmp_path / "interrupted_cli.py").write_text(MODULE.replace("{met}", met))
    ended = subprocess.run(
        [sys.executable, "-m", "interrupted_cli"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (130, "lab: interrupted\n")
