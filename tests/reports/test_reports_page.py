"""The page: one file, valid shape, no way out, hostile text inert, everything there in order."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lab import store
from lab.reports import page
from lab.reports.text import clean
from tests.reports import build
from tests.reports.conftest import finished

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Collects tags with attributes, ids, and the text of headings and cells; checks that tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.headings: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((tag, ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)
        if self.headings and self.open and re.fullmatch("h[1-6]", self.open[-1]):
            self.headings[-1] = (self.headings[-1][0], self.headings[-1][1] + data)

    @property
    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.tags if "id" in attributes]


def read(stored: store.Stored) -> str:
    return (stored.folder / "report.html").read_text()


@pytest.mark.parametrize("which", ["three", "hostile", "few"])
def test_shape_of_the_page(which: str, request: pytest.FixtureRequest) -> None:
    parsed = Page(read(request.getfixturevalue(which)))
    assert not parsed.open
    levels = [int(tag[1]) for tag, _ in parsed.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert len(parsed.ids) == len(set(parsed.ids))
    assert ("html", {"lang": "en"}) in parsed.tags
    known = set(parsed.ids)
    for tag, attributes in parsed.tags:
        for name, value in attributes.items():
            if name in ("aria-labelledby", "aria-describedby"):
                assert value in known
            if name == "href" and tag in ("a", "use"):
                assert str(value).removeprefix("#") in known
            for reference in re.findall(r"url\(#([^)]*)\)", value or "") if name in ("style", "clip-path") else ():
                assert reference in known
        if tag == "svg":
            assert attributes["role"] == "img" and attributes["aria-label"]
        if tag == "th":
            assert attributes.get("scope") in ("col", "row", "rowgroup")


@pytest.mark.parametrize("which", ["three", "hostile"])
def test_nothing_runs_and_nothing_is_loaded(which: str, request: pytest.FixtureRequest) -> None:
    text = read(request.getfixturevalue(which))
    parsed = Page(text)
    policy = next(a["content"] for tag, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and "default-src 'none'" in policy and "script" not in policy
    assert not {"script", "iframe", "object", "embed", "link", "base", "form", "img"} & {tag for tag, _ in parsed.tags}
    assert "http:" not in text and "https:" not in text and "@import" not in text
    for _, attributes in parsed.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert not {"src", "srcset", "action", "data"} & set(attributes)


def test_hostile_text_is_shown_and_inert(hostile: store.Stored) -> None:
    text = read(hostile)
    assert "<script" not in text and "\x1b" not in text and "\u202e" not in text
    parsed = Page(text)
    assert parsed.headings[0] == ("h1", clean(build.HOSTILE))
    assert "[/red] $\\frac{1}{2}$" in parsed.headings[0][1]
    assert "</pre><script>" in "".join(parsed.text)


def test_sections_in_order(three: store.Stored) -> None:
    titles = [title for tag, title in Page(read(three)).headings if tag == "h2"]
    assert titles == [
        "Claims", "Before you rely on this", "Recommendation", "Key measures", "Figures", "Faults", "All measures",
        "Notes", "Provenance",
    ]  # fmt: skip


def test_claims_come_with_evidence(three: store.Stored) -> None:
    text = "".join(Page(read(three)).text)
    assert text.index("violated") < text.index("no client read anything") < text.index("holds")
    assert "lab replay cut-off --variant no-retry --seed 3" in text
    assert "A claim was violated." in text and "7 claims: 2 violated, 1 open, 4 held" in text


def test_censored_values_are_bounds(three: store.Stored) -> None:
    text = read(three)
    assert "&gt; 12.0 s" in text and "4 of 20 did not converge" in text
    assert not re.search(r"\b(nan|NaN|None|inf)\b", "".join(Page(text).text))


def test_figures_carry_every_fault(three: store.Stored) -> None:
    parsed = Page(read(three))
    for name in ("divergence", "convergence", "cost", "service", "candidates"):
        assert f"about-{name}" in parsed.ids
        assert (three.folder / "figures" / f"{name}.svg").is_file()
    for number in range(len(build.FAULTS)):
        for panel in ("", "-1", "-2"):
            assert f"fault-{number}{panel}" in parsed.ids
    assert "1 partition leader+f1 | f2, 5–8 s" in "".join(parsed.text)


def test_warnings_say_what_to_do(three: store.Stored, few: store.Stored) -> None:
    cut, rare = "".join(Page(read(three)).text), "".join(Page(read(few)).text)
    assert "4 of 20 runs of no-retry had not converged" in cut and "more quiet time" in cut
    assert "never bit" not in cut and "Only" not in cut
    assert "Fault 2 (crash f1 (keeps durable)) never bit" in rare and "Check that its time" in rare
    assert "Only 6 runs a variant" in rare and "Use at least 10 seeds" in rare
    assert "wider than the value" in rare and "halve an interval" in rare


def test_a_thousand_runs_stay_below_three_megabytes(tmp_path: Path) -> None:
    stored = finished(tmp_path, variants=("base", "full-jitter", "no-retry"), seeds=1000)
    assert (stored.folder / "report.html").stat().st_size < 3_000_000


def test_rendering_again_gives_the_same_figures_and_names_the_manifest(three: store.Stored) -> None:
    first, again = read(three), page.render(three)
    assert re.findall(r"<svg.*?</svg>", again, re.DOTALL) == re.findall(r"<svg.*?</svg>", first, re.DOTALL)
    assert page.render(three) == again
    assert three.manifest["started_at"] in again and three.manifest["version"] in again


def test_results_without_faults_curves_or_claims(tmp_path: Path) -> None:
    results = build.build(tmp_path, variants=("base",))
    summary: dict[str, Any] = store.Stored(results.folder, {}).json("summary.json")
    summary |= {"claims": [], "faults": [], "notes": [], "verdict": "pass"}
    runs = pd.read_parquet(results.folder / "runs.parquet")
    nothing = pd.DataFrame()
    html, drawn = page.render_from(summary, runs, _empty("faults"), _empty("curves"), None, "", {})
    assert "No faults" in html and "claims nothing" in html and "Everything that was claimed held." in html
    assert set(drawn) == {"convergence", "cost", "service"}
    bare = {**summary, "variants": {"base": {"measures": {}, "digest": "", "label": "base"}}}
    html, drawn = page.render_from(bare, _empty("runs"), _empty("faults"), nothing, None, "", {})
    assert not drawn and "Nothing can be drawn" in html and "hold no measures" in html


def _empty(name: str) -> pd.DataFrame:
    return pd.DataFrame(columns=list(page.COLUMNS[name]))


@pytest.mark.parametrize("status", ["gain", "no_gain", "insufficient"])
def test_recommendations_of_every_kind(tmp_path: Path, status: str) -> None:
    stored = finished(tmp_path, variants=("current", "proposed"), tune=build.tune_json(status))
    text = "".join(Page(read(stored)).text)
    sentence = build.tune_json(status)["recommendation"]["sentence"]
    assert sentence in text and "confirmed on 60 fresh ones" in text and "timeout: 410ms" in text
    star = (stored.folder / "figures" / "candidates.svg").read_text()
    assert ("proposed, on fresh seeds" in star) == (status == "gain")


def test_many_variants_turn_the_key_table(tmp_path: Path) -> None:
    stored = finished(tmp_path, variants=tuple(f"v{number}" for number in range(9)), seeds=5)
    text = "".join(Page(read(stored)).text)
    assert "Only the first 6 of 9 variants are drawn." in text
    assert "Variant" in text and "v8" in text


def test_contrast_of_text_colours() -> None:
    """WCAG AA asks 4.5 to 1 for text; both colour schemes are checked against all grounds they stand on."""
    css = (Path(page.__file__).parent / "templates" / "report.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
        for ink in ("ink", "muted", "link", "good", "bad", "open"):
            for ground in ("paper", "tint"):
                assert _contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
        for name in ("good", "bad", "open"):
            assert _contrast(colours["ink"], colours[f"{name}-tint"]) >= 4.5
            assert _contrast(colours["paper"], colours[name]) >= 4.5


def _contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
