"""Every comparison agrees at its small size, every control is caught; what that means is tested by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from validation import runner
from validation.case import Case, Estimate, compare, exact, mean, quantile, ratio, share
from validation.figures import PICTURES, Picture
from validation.page import NOT_COVERED, page

ROOT = Path(__file__).parents[2]
NAMES = [family.__name__.rpartition(".")[2] for family in runner.FAMILIES]


def simple(value: float, error: float = 0.0, **more: Any) -> Case:
    return Case("a case", "queues", "a model", "a source", lambda key, n: Estimate(value, error), 10.0, 5, 2, **more)


@pytest.mark.parametrize("family", runner.FAMILIES, ids=NAMES)
def test_every_comparison_agrees(family: SimpleNamespace) -> None:
    outcomes = [compare(case, case.small) for case in family.CASES]
    wrong = [
        f"{o.case.name}: {o.value:.6g}, not {o.case.target:.6g} +- {o.tolerance:.2g}" for o in outcomes if not o.ok
    ]
    assert not wrong


@pytest.mark.parametrize("family", runner.FAMILIES, ids=NAMES)
def test_every_control_is_caught(family: SimpleNamespace) -> None:
    assert family.CONTROLS
    for case in family.CONTROLS:
        assert case.flaw
        assert not compare(case, case.small).ok, case.name


def test_names_are_unique_and_every_family_has_cases() -> None:
    names = [case.name for case in runner.cases() + runner.controls()]
    assert len(set(names)) == len(names)
    assert all(family.CASES for family in runner.FAMILIES)
    assert not any(case.flaw for case in runner.cases())


def test_a_key_decides_everything() -> None:
    case = next(case for case in runner.cases() if case.name.startswith("Raft split vote n=5 s=3"))
    values = [compare(case, 500, key).value for key in (1, 1, 2, 3)]
    assert values[0] == values[1]
    assert len(set(values)) > 1


def test_the_tolerance_is_four_errors_and_the_slack() -> None:
    assert compare(simple(10.39, 0.1), 2).ok
    assert not compare(simple(10.41, 0.1), 2).ok
    assert compare(simple(10.41, 0.1, slack=0.02), 2).ok
    assert compare(simple(10.49, 0.1, target_error=0.1), 2).ok
    assert not compare(simple(10.001), 2).ok
    assert not compare(simple(10.001, limit="a reason"), 2).ok
    assert compare(simple(10.0), 2).z == 0
    assert compare(simple(9.9, 0.1), 2).z == pytest.approx(-1)


def test_estimates() -> None:
    assert exact(3) == Estimate(3.0, 0.0)
    assert mean([1, 2, 3]).value == 2
    assert mean([1, 2, 3]).error == pytest.approx(1 / 3**0.5)
    assert share(30, 100, 0.25) == Estimate(0.3, pytest.approx((0.25 * 0.75 / 100) ** 0.5))
    found = ratio([10, 20, 30], [5, 10, 15])
    assert (found.value, found.error) == (2.0, pytest.approx(0))
    values = np.arange(10_000) / 10_000
    found = quantile(values, 0.99)
    assert found.value == pytest.approx(0.99, abs=1e-3)
    assert found.error == pytest.approx((0.99 * 0.01 / 10_000) ** 0.5, rel=0.1)


def test_the_runner_reports_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = simple(10.0), replace(simple(11.0), name="another case")
    control = replace(bad, name="control: one", flaw="off by one")
    file = tmp_path / "out" / "rows.json"
    for cases, code in (([good], 0), ([good, bad], 1)):
        monkeypatch.setattr(runner, "FAMILIES", (SimpleNamespace(CASES=cases, CONTROLS=[control]),))
        assert runner.main(["--json", str(file)]) == code
        rows = json.loads(file.read_text())
        assert [row["ok"] for row in rows] == [case is good for case in cases]
        assert set(rows[0]) >= {"name", "n", "target", "tolerance", "value", "z", "ok"}
    assert "DISAGREES" in capsys.readouterr().out
    limited = replace(bad, limit="tables end")
    monkeypatch.setattr(runner, "FAMILIES", (SimpleNamespace(CASES=[good, limited], CONTROLS=[control]),))
    assert runner.main([]) == 0  # shown, not failed
    printed = capsys.readouterr().out
    assert "1 of 2 agree" in printed
    assert "a known limit: another case: tables end" in printed
    missed = replace(good, name="control: two", flaw="nothing")
    monkeypatch.setattr(runner, "FAMILIES", (SimpleNamespace(CASES=[good], CONTROLS=[missed]),))
    assert runner.main([]) == 1


def test_a_full_run_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = replace(simple(11.0), name="another case")
    monkeypatch.setattr(runner, "FAMILIES", (SimpleNamespace(CASES=[simple(10.0), bad], CONTROLS=[]),))
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    drawn = Picture("queues", "line", "A line", lambda figure: figure.subplots().plot([0, 1]))
    monkeypatch.setattr(runner, "PICTURES", (drawn,))
    assert runner.main(["--full"]) == 1
    text = (tmp_path / "docs" / "validation.md").read_text()
    assert "| another case | 5 | 10 | 11 |" in text
    assert "**disagrees**" in text
    assert "1 of 2 comparisons agree" in text
    assert len(json.loads((tmp_path / "results" / "validation.json").read_text())) == 2
    assert page([], []).endswith(NOT_COVERED)
    assert "![A line](figures/validation-line.svg)" in text
    once = (tmp_path / "docs" / "figures" / "validation-line.svg").read_bytes()
    assert runner.main(["--figures"]) == 0
    assert (tmp_path / "docs" / "figures" / "validation-line.svg").read_bytes() == once
    assert b"<path" in once


def test_the_page_in_docs_lists_every_comparison() -> None:
    text = (ROOT / "docs" / "validation.md").read_text()
    missing = [case.name for case in runner.cases() if f"| {case.name} |" not in text]
    assert not missing, "run python -m validation --full"


def test_the_page_shows_every_figure() -> None:
    text = (ROOT / "docs" / "validation.md").read_text()
    for picture in PICTURES:
        assert f"(figures/{picture.file})" in text, "run python -m validation --full"
        svg = (ROOT / "docs" / "figures" / picture.file).read_text()
        assert "<svg" in svg and "<path" in svg
        assert len(svg) < 100_000
