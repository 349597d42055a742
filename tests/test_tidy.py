"""The shape of the code is a test: file and function lengths, no addresses, no paths of a machine, tables match
files.
"""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GENERATED = re.compile(r"_pb2\.pyi?$|\.pb\.go$")


def tracked(*endings: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [
        ROOT / name for name in listed.stdout.splitlines() if name.endswith(endings) and not GENERATED.search(name)
    ]
    return [file for file in files if file.is_file()]


def test_files_stay_under_500_lines_and_functions_fit_a_screen() -> None:
    files = tracked(".py", ".go", ".rs")
    assert len(files) > 100
    long_files = [str(file) for file in files if len(file.read_text().splitlines()) > 500]
    assert not long_files
    long_functions = [
        f"{file}:{node.lineno} {node.name}"
        for file in tracked(".py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 70
    ]
    assert not long_functions


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a path of a machine", r"(?<![\w.])/(work|root|home|farm)/"),
        (
            "a registry or index address",
            r"--index-url|--extra-index-url|https?://[^ )\"']*(pypi|proxy\.golang|crates\.io/api)",
        ),
        ("unfinished work", r"\b(TODO|FIXME|XXX)\b"),
    ],
)
def test_no_committed_file_holds(what: str, pattern: str) -> None:
    found = []
    for file in tracked(
        ".py", ".go", ".rs", ".md", ".yaml", ".toml", ".txt", ".lock", ".mod", "Makefile", "run", "Dockerfile"
    ):
        if file == Path(__file__):
            continue
        found += [
            f"{file}:{number}"
            for number, line in enumerate(file.read_text().splitlines(), 1)
            if re.search(pattern, line)
        ]
    assert not found, what


def test_every_file_of_a_table_is_in_it() -> None:
    from lab.checkers import CHECKERS
    from lab.faults import FAULTS
    from lab.metrics import METRICS

    assert {fault.__module__.rpartition(".")[2] for fault in FAULTS.values()} == {
        file.stem for file in (ROOT / "lab" / "faults").glob("*.py") if file.stem not in ("__init__", "base")
    }
    for table, folder in ((METRICS, "metrics"), (CHECKERS, "checkers")):
        for name in table:
            assert (ROOT / "lab" / folder / f"{name}.py").is_file(), name


def test_every_experiment_is_valid_and_listed() -> None:
    from lab.checkers import checker_names
    from lab.run import units_of
    from lab.spec.load import load_experiment

    files = sorted((ROOT / "experiments").glob("*.yaml"))
    assert len(files) >= 3
    listed = (ROOT / "experiments" / "README.md").read_text()
    for file in files:
        assert load_experiment(file, units_of, checker_names).title
        assert f"`{file.name}`" in listed
