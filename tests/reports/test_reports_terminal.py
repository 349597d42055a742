"""The terminal summary: one screen, claims first, verdict last, no text taken for markup."""

from __future__ import annotations

import io
import json
from functools import cache
from typing import Any

import pytest
from rich.console import Console

from lab.reports import values
from lab.reports.terminal import LINES_MAX, WIDTH, summary_lines
from lab.reports.text import clean, one_line, ranges
from tests.reports import build

REPORT = "results/cut-off/20261123T200000Z-0a1b2c/report.html"

SNAPSHOT = """\
A follower is cut off for three seconds
2 variants × 20 runs, sim (reference)
✗ no-retry: convergence.p95 < 2s        > 12.0 s; 4 of 20 did not converge
    lab replay cut-off --variant no-retry --seed 3
✗ no-retry: lost_acknowledged == 0      3 [0 – 7]
    lab replay cut-off --variant no-retry --seed 3
? base: session_guarantees              no client read anything
✓ base: convergence.p95 < 2s            890 ms [≥ 652 ms]
✓ base: lost_acknowledged == 0          0 [0 – 3]

                      base                        no-retry
convergence p50       362 ms [263 – 430 ms]       999 ms [868 ms – 2.14 s]
convergence p95       890 ms [≥ 652 ms]           > 12.0 s
convergence p99       1.77 s [≥ 890 ms]           > 12.0 s
greatest divergence   23.8 %                      23.8 %
availability          99.6 % [99.5 – 99.7 %]      99.0 % [98.9 – 99.2 %]
amplification         1.82× [1.77× – 1.86×]       1.34× [1.32× – 1.36×]

The proposed settings lower the objectives by 31% (24% to 37%, 60 fresh seeds).
  policy.timeout: 250ms → 410ms; policy.retry.jitter: none → full

report: results/cut-off/20261123T200000Z-0a1b2c/report.html
A claim was violated.
"""


TITLE = "A follower is cut off for three seconds"


def summary(variants: tuple[str, ...], tune: str = "", title: str = TITLE) -> Any:
    return json.loads(_summary(variants, tune, title))


@cache
def _summary(variants: tuple[str, ...], tune: str, title: str) -> str:
    runs = build.runs_table(list(variants), list(range(1, 21)))
    found = build.summary_of(runs, title, "How fast?")
    if tune:
        found["recommendation"] = build.tune_json(tune)["recommendation"]
    return json.dumps(values.with_limits(found, {(name, "convergence"): 12e9 for name in variants}))


def shown(found: Any, **options: Any) -> str:
    target = io.StringIO()
    console = Console(file=target, width=WIDTH, **options)
    for line in summary_lines(found, REPORT):
        console.print(line)
    return target.getvalue()


def test_snapshot_at_80_columns() -> None:
    assert shown(summary(("base", "no-retry"), "gain")) == SNAPSHOT


@pytest.mark.parametrize("variants", [("base",), ("base", "no-retry"), tuple(f"v{number}" for number in range(12))])
@pytest.mark.parametrize("tune", ["", "gain", "no_gain", "insufficient"])
@pytest.mark.parametrize("claims", [0, 1, 8, 60])
@pytest.mark.parametrize("long", [False, True])
def test_it_fits_one_screen(variants: tuple[str, ...], tune: str, claims: int, long: bool) -> None:
    found = summary(variants, tune)
    found["claims"] = [
        {
            **found["claims"][0], "holds": (False, None, True)[number % 3], "seed": 3,
            "replay": "lab replay x " * (9 if long else 1),
        }
        for number in range(claims)
    ]  # fmt: skip
    if long:
        found["title"] = "long " * 60
        if tune:
            found["recommendation"] |= {
                "sentence": "word " * 100,
                "proposed": {f"policy.p{n}": "x" * 30 for n in range(20)},
            }
    lines = summary_lines(found, REPORT)
    assert len(lines) <= LINES_MAX
    assert all(len(line.plain) <= WIDTH for line in lines)
    assert lines[-1].plain in ("A claim was violated.", "Nothing was violated, but the runs do not prove it either.")
    if claims:
        assert lines[2].plain.startswith("✗")
        counted = sum(line.plain[:2] in ("✗ ", "? ", "✓ ") for line in lines)
        more = [line.plain for line in lines if line.plain.startswith("  and ") and "more" in line.plain]
        hidden = sum(int(word) for word in more[0].replace(",", "").split() if word.isdigit()) if more else 0
        assert counted + hidden == claims or len(variants) > 5


def test_texts_are_never_markup_nor_control() -> None:
    found = summary(("base",), title=build.HOSTILE)
    found["claims"][0] |= {"claim": "[bold]x[/nothing] \x1b]0;t\x07", "holds": None, "reason": "[/red]", "value": None}
    text = shown(found, force_terminal=True, color_system=None)
    assert "[/red] $" in text and "[bold]x[/nothing]" in text
    assert (
        "\x1b" not in text.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "") and "\x07" not in text
    )
    assert "\u202e" not in text


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    found = summary(("base", "no-retry"), "gain")
    assert "\x1b[" not in shown(found)  # not a terminal
    coloured = shown(found, force_terminal=True, color_system="standard")
    assert "\x1b[1;31m" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    plain = shown(found, force_terminal=True, color_system="standard")
    assert "31m" not in plain and "32m" not in plain


def test_clean_and_one_line() -> None:
    assert clean("a\x00b\x1b[1mc\x9b\x7f\ud800\n\td") == "ab[1mc\N{REPLACEMENT CHARACTER}\n\td"
    assert one_line("  a\n b\t c ") == "a b c"
    assert one_line("abcdef", 4) == "abc…"
    assert ranges([3, 1, 2, 9]) == "1–3, 9"


@pytest.mark.parametrize(
    ("low", "high", "unit", "text"),
    [
        (None, None, "ns", "–"),
        (1e9, None, "ns", "≥ 1.00 s"),
        (None, 1e9, "ns", "≤ 1.00 s"),
        (1.1e9, 1.41e9, "ns", "1.10 – 1.41 s"),
        (0.9e9, 1.41e9, "ns", "900 ms – 1.41 s"),
        (-0.62e9, -0.44e9, "ns", "\u2212620 to \u2212440 ms"),
        (1.5, 2.5, "ratio", "1.50× – 2.50×"),
        (0, 3, "count", "0 – 3"),
        (1.0, 1.0, "share", "no spread"),
        (0.99612, 0.99614, "share", "≈ 99.6 %"),
    ],
)
def test_intervals_in_words(low: float | None, high: float | None, unit: str, text: str) -> None:
    assert values.interval_text(low, high, unit) == text


def test_values_beyond_the_end_are_said_so() -> None:
    cut = {"value": None, "low": 1e9, "high": None, "n": 20, "unit": "ns", "censored": 3, "method": ""}
    assert values.show(cut, "convergence.p99").value == "> the end"
    found = values.show({**cut, "limit": 5e9}, "convergence.p99")
    assert found.value == "> 5.00 s" and found.note == "3 of 20 did not converge"
    assert values.show({**cut, "censored": 0}).value == "–"
    assert values.show(None).value == "–"


def test_measures_are_found_by_either_name() -> None:
    data = {"value": 1.0}
    assert values.find_measure({"convergence.p50": data}, "convergence") is data
    assert values.find_measure({"convergence": data}, "convergence.p50") is data
    assert values.find_measure({"convergence": data}, "convergence.p99") is None
    assert values.find_measure({}, "nothing") is None
    assert values.over_runs("divergence_max") == "worst run" and values.over_runs("convergence.p95") == "p95 of runs"
