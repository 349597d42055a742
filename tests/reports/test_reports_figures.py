"""Figures: the same bytes for the same results, in another process too; bands with colour, hatch and label."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from lab import store
from lab.reports import draw, figures
from lab.reports.bands import bands, greatest_values
from tests.reports import build

SVG = "{http://www.w3.org/2000/svg}"


def drawn(stored: store.Stored) -> dict[str, str]:
    summary = stored.json("summary.json")
    tables = [stored.table(f"{name}.parquet") for name in ("runs", "faults", "curves")]
    tune = stored.json("tune.json") if stored.has("tune.json") else None
    return dict(figures.by_name(figures.draw_all(summary, *tables, tune)))


def test_equal_results_give_equal_bytes(three: store.Stored) -> None:
    first = drawn(three)
    assert len(first) == 5
    assert drawn(three) == first


def test_another_process_gives_equal_bytes(three: store.Stored) -> None:
    script = (
        "import sys, hashlib; from pathlib import Path; from lab import store; "
        "from tests.reports.test_reports_figures import drawn; "
        "d = drawn(store.read(Path(sys.argv[1]))); "
        "print(hashlib.sha256(repr(sorted(d.items())).encode()).hexdigest())"
    )
    root = Path(__file__).parents[2]
    hashes = {hashlib.sha256(repr(sorted(drawn(three).items())).encode()).hexdigest()}
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        command = [sys.executable, "-c", script, str(three.folder)]
        hashes.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip())
    assert len(hashes) == 1


def test_different_results_give_different_bytes(three: store.Stored, few: store.Stored) -> None:
    first, other = drawn(three), drawn(few)
    assert all(first[name] != other[name] for name in other)
    curves = three.table("curves.parquet")
    faults, summary = three.table("faults.parquet"), three.json("summary.json")
    moved = figures.divergence(summary, curves.assign(share=curves["share"] * 1.01), faults)
    assert moved is not None and moved.svg != first["divergence"]


@pytest.mark.parametrize("which", ["three", "hostile", "few"])
def test_figures_are_well_formed_and_self_contained(which: str, request: pytest.FixtureRequest) -> None:
    for name, svg in drawn(request.getfixturevalue(which)).items():
        tree = ElementTree.fromstring(svg)
        ids = [element.get("id") for element in tree.iter() if element.get("id")]
        assert len(ids) == len(set(ids)), name
        assert "<script" not in svg and "\x1b" not in svg and "DOCTYPE" not in svg and "metadata" not in svg
        assert svg.replace("http://www.w3.org/", "").count("http") == 0
        if name != "candidates":
            assert list(tree.iter(f"{SVG}text"))


def test_bands_have_colour_hatch_and_label(three: store.Stored) -> None:
    tree = ElementTree.fromstring(drawn(three)["divergence"])
    groups = {element.get("id"): element for element in tree.iter(f"{SVG}g")}
    texts = ["".join(element.itertext()) for element in tree.iter(f"{SVG}text")]
    for number, (kind, label, start, stop) in enumerate(build.FAULTS):
        title = groups[f"fault-{number}"].find(f"{SVG}title")
        assert title is not None and label in (title.text or "")
        assert any(label in text for text in texts)
        if stop > start:
            colour, _ = figures.bands(three.table("faults.parquet"), ["base"])[number].colour, kind
            fill = ElementTree.tostring(groups[f"fault-{number}"], encoding="unicode")
            assert f"fill: {colour}" in fill
            hatched = ElementTree.tostring(groups[f"fault-{number}-hatch"], encoding="unicode")
            assert "fill: url(#" in hatched


def test_hostile_labels_are_text(hostile: store.Stored) -> None:
    tree = ElementTree.fromstring(drawn(hostile)["divergence"])
    texts = ["".join(element.itertext()) for element in tree.iter(f"{SVG}text")]
    assert any('<script>alert("x")</script>' in text for text in texts)
    assert any("$" in text for text in texts)


def test_censored_runs_stay_below_one(three: store.Stored) -> None:
    svg = drawn(three)["convergence"]
    assert "no-retry: 4 of 20 &gt; 12 s" in svg
    assert "base: " not in svg


def test_bands_summarise_faults_per_variant(three: store.Stored) -> None:
    found = bands(three.table("faults.parquet"), ["base", "full-jitter", "no-retry"])
    assert len(found) == 9
    cut = next(band for band in found if band.variant == "no-retry" and band.number == 1)
    assert cut.p50.censored == 4 and cut.p95.value is None and cut.p95.limit == 12e9
    assert cut.bits == tuple(900 + 3 * seed for seed in range(1, 21))
    switch = next(band for band in found if band.kind == "set")
    assert not switch.lasts and switch.bits == ()
    assert greatest_values(three.table("runs.parquet"))["no-retry", "convergence"] == 12e9


def test_save_writes_the_figure(three: store.Stored, tmp_path: Path) -> None:
    figure = figures.divergence(
        three.json("summary.json"), three.table("curves.parquet"), three.table("faults.parquet")
    )
    assert figure is not None
    path = figure.save(tmp_path / "out")
    assert path.read_text() == figure.svg == figure._repr_svg_()


def test_many_variants_are_told_apart() -> None:
    styles = [draw.series(index)[:2] for index in range(21)]
    assert len(set(styles)) == 21


def test_labels_of_close_bands_do_not_overlap() -> None:
    assert draw.stack([1.0, 1.1, 5.0, 5.05, 5.08], 0.5) == [0, 1, 0, 1, 2]


@pytest.mark.parametrize(
    ("greatest_ns", "unit"), [(0, "s"), (5, "ns"), (5e3, "µs"), (1.5e9, "ms"), (20e9, "s"), (0.5, "ns")]
)
def test_time_axes_have_a_readable_unit(greatest_ns: float, unit: str) -> None:
    assert draw.time_scale(greatest_ns)[1] == unit


def test_stored_colours_are_checked() -> None:
    assert draw.safe_colour("#e69f00") == "#e69f00"
    assert draw.safe_colour("red; background: url(x)") == draw.MUTED
    assert draw.safe_hatch("||") == "||" and draw.safe_hatch("<b>") == "//"
