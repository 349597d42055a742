"""The page's protocol is what it says: it runs on both executors, and fits 40 lines."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "writing-a-protocol.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def execute(folder: Path, protocol: str, script: str) -> subprocess.CompletedProcess[str]:
    (folder / "tally.py").write_text(protocol, encoding="utf-8")
    (folder / "script.py").write_text(script, encoding="utf-8")
    path = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(folder)!r}]; import runpy; runpy.run_path('script.py')"
    return subprocess.run([sys.executable, "-c", path], cwd=folder, capture_output=True, text=True, check=False)


def test_the_blocks_run(tmp_path: Path) -> None:
    protocol, script, *_ = blocks()
    done = execute(tmp_path, protocol, script)
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_experiment_file_can_name_it(tmp_path: Path) -> None:
    protocol, _, settings, script = blocks()
    done = execute(tmp_path, f"{protocol}\n\n{settings}", script)
    assert done.returncode == 0, done.stderr[-2000:]
    # The control: without its settings a file cannot name it.
    done = execute(tmp_path, protocol, script)
    assert "Settings" in done.stderr


def test_the_assertions_bite(tmp_path: Path) -> None:
    """The control: if the last number heard wins, not the larger one, the nodes do not agree."""
    protocol, script, *_ = blocks()
    assert "elif b > self.known[a]:" in protocol
    done = execute(tmp_path, protocol.replace("elif b > self.known[a]:", "else:"), script)
    assert "AssertionError" in done.stderr


def test_what_cannot_be_compiled_is_told_with_its_line(tmp_path: Path) -> None:
    protocol, *_ = blocks()
    line = next(number for number, text in enumerate(protocol.splitlines(), 1) if "ctx.timer(ctx.p.period_ns" in text)
    wrong = protocol.replace("ctx.timer(ctx.p.period_ns, GOSSIP)", "ctx.timer(ctx.p.period_ns * 1.5, GOSSIP)")
    script = "from tally import Tally\nfrom lab.engines import compiled\ncompiled.load(Tally)"
    done = execute(tmp_path, wrong, script)
    assert f"tally.py:{line}: floating-point literal 1.5" in done.stderr


def test_it_fits_40_lines() -> None:
    code = blocks()[0].split("@protocol")[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 40
