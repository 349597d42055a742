"""The notebook runs from start to end on real results and shows both figures."""

from __future__ import annotations

from pathlib import Path

import jupytext
import pytest
from nbclient import NotebookClient

from lab import store

ROOT = Path(__file__).parents[2]


def test_explore_results_executes(three: store.Stored, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DRIFTLAB_RESULTS", str(three.folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    notebook = jupytext.read(ROOT / "notebooks" / "explore_results.py")
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    drawn = [output.data["image/svg+xml"] for output in outputs if "image/svg+xml" in output.get("data", {})]
    assert len(drawn) == 2 and 'id="fault-0"' in drawn[0]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "A follower is cut off" in printed and "A claim was violated." in printed
