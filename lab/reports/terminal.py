"""The end of a run on one screen: claims first, then the chief measures, where the report is, and the verdict last.

Everything is a `rich.text.Text`, so no text from an experiment file is ever read as markup.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lab.metrics import format_value
from lab.reports.alarms import alarm_sentence
from lab.reports.text import one_line, plural
from lab.reports.values import (
    Json,
    by_severity,
    claimed_measure,
    find_measure,
    interval_text,
    mark,
    measures_of,
    several,
    show,
)
from lab.reports.views import sentence

if TYPE_CHECKING:
    from rich.text import Text

WIDTH = 80
LINES_MAX = 24
CLAIMS_MAX = 8  # lines for claims, their evidence among them
VARIANTS_MAX = 5
CHANGES_MAX = 3  # lines for what a recommendation changes
STYLES = {True: "green", False: "bold red", None: "yellow"}
VERDICT_STYLES = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold yellow"}
MEASURES: tuple[tuple[str, str, str], ...] = (  # measure, words, short words
    ("convergence.p50", "convergence p50", "conv. p50"),
    ("convergence.p95", "convergence p95", "conv. p95"),
    ("convergence.p99", "convergence p99", "conv. p99"),
    ("divergence_max", "greatest divergence", "diverged"),
    ("availability", "availability", "available"),
    ("amplification", "amplification", "amplif."),
    ("acknowledge_latency_p99", "99 % acknowledged", "ack p99"),
    ("leader_first", "first leader", "1st lead"),
    ("leaderless", "without a leader", "leaderl."),
    ("elections", "elections", "elections"),
    ("stale_reads", "stale reads", "stale"),
    ("read_latency_p99", "99 % of reads", "read p99"),
    ("residue", "residue", "residue"),
    ("spread_p50", "half have it", "spread50"),
    ("spread_p99", "99 % have it", "spread99"),
    ("spread_last", "all have it", "spread"),
    ("detection_time_p50", "half notice a crash", "noticed50"),
    ("detection_time_max", "all notice a crash", "noticed"),
    ("false_suspicions", "false suspicions", "false"),
    ("goodput", "answers in time a s", "goodput"),
    ("attempts_per_operation", "attempts an operation", "attempts"),
    ("hedges", "hedged attempts", "hedges"),
    ("wasted_work", "served for nobody", "wasted"),
    ("merges", "merges", "merges"),
    ("conflicts", "later writes that lost", "conflicts"),
    ("messages_per_replica", "messages a replica", "messages"),
)
GENERIC = ("messages_per_replica", "acknowledge_latency_p99")
CHANGELOG_MEASURES = 6  # the first of them; other protocols have others
MEASURES_MAX = 6


def chief_measures(summary: Json) -> tuple[tuple[str, str, str], ...]:
    """Return the measures that a screen has room for: of a changelog always the same, of others those they have."""
    known = [measures_of(summary, name) for name in summary["variants"]]
    if any(find_measure(measures, "convergence") for measures in known) or not any(known):
        return MEASURES[:CHANGELOG_MEASURES]
    told = [row for row in MEASURES if any(_is_told(find_measure(measures, row[0])) for measures in known)]
    # What only its protocol has says more than what every protocol has.
    own = [row for row in told if row[0] not in GENERIC]
    chosen = (own + [row for row in told if row[0] in GENERIC])[:MEASURES_MAX]
    return tuple(row for row in told if row in chosen)


def _is_told(data: Json | None) -> bool:
    return data is not None and bool(data.get("n"))


def summary_lines(summary: Json, report: str = "") -> list[Text]:
    """Return at most 24 lines of at most 80 columns; `report` is where the report lies, and may be longer."""
    head = [_line((one_line(summary.get("title", ""), WIDTH), "bold")), _line((_size(summary), "dim"))]
    tail = [_line(), *_measure_lines(summary), *_recommendation_lines(summary), _line()]
    rang = alarm_sentence(summary)
    if rang:
        tail.append(_line((one_line(rang, WIDTH), "")))
    if report:
        tail.append(_line(("report: ", "dim"), (one_line(report), "")))
    tail.append(_line((sentence(summary), VERDICT_STYLES.get(str(summary.get("verdict")), "bold yellow"))))
    return [*head, *_claim_lines(summary, min(CLAIMS_MAX, LINES_MAX - len(head) - len(tail))), *tail]


def _line(*parts: tuple[str, str]) -> Text:
    from rich.text import Text

    return Text.assemble(*parts, no_wrap=True, overflow="ignore")


def _size(summary: Json) -> str:
    runs = plural(len(summary.get("seeds", ())), "run")
    variants = f"{plural(len(summary['variants']), 'variant')} × " if several(summary["variants"]) else ""
    return one_line(f"{variants}{runs}, {summary.get('plane', '')} ({summary.get('executor', '')})", WIDTH)


def _claim_lines(summary: Json, room: int) -> list[Text]:
    """Return the claims, violated ones first and with how to see them again, then a count of those without room."""
    ordered = by_severity(summary.get("claims", ()))
    lines: list[Text] = []
    for place, claim in enumerate(ordered):
        own = [_claim_line(claim, summary)]
        if claim.get("holds") is False and claim.get("replay"):
            own.append(_line(("    ", ""), (one_line(claim["replay"], WIDTH - 4), "dim")))
        more = place + 1 < len(ordered)
        if len(lines) + len(own) + more > room:
            own = own[:1]
        if len(lines) + len(own) + more > room:
            return [*lines, _line((_rest(ordered[place:]), "dim"))]
        lines += own
    return lines


def _rest(claims: Sequence[Json]) -> str:
    words = {False: "violated", None: "open", True: "held"}
    counts = {word: sum(claim.get("holds") is holds for claim in claims) for holds, word in words.items()}
    return "  and " + ", ".join(f"{count} more {word}" for word, count in counts.items() if count)


def _claim_line(claim: Json, summary: Json) -> Text:
    holds = claim.get("holds")
    variant = f"{one_line(claim.get('variant', ''), 16)}: " if several(summary["variants"]) else ""
    value, unit = claim.get("value"), str(claim.get("unit") or "")
    if value is not None:
        interval = interval_text(claim.get("low"), claim.get("high"), unit)
        measured = format_value(value, unit) + (f" [{interval}]" if interval != "–" else "")
    else:
        name, data = claimed_measure(claim, summary)
        found = show(data, name)
        measured = "" if data is None else found.value
        reason = one_line(found.note or claim.get("reason") or "")
        measured = "; ".join(part for part in (measured.strip("–"), reason) if part)
    text = one_line(f"{variant}{claim.get('claim', '')}", 44)
    return _line(
        (f"{mark(holds)} ", STYLES[holds]),
        (f"{text:<36}  ", ""),
        (one_line(measured, WIDTH - 4 - max(36, len(text))), ""),
    )


def _measure_lines(summary: Json) -> list[Text]:
    """Return the chief measures: with intervals for one or two variants, else a row of values a variant."""
    variants = list(summary["variants"])
    if len(variants) > 2:
        return _many_variants(summary, variants)
    width = 28 if len(variants) == 2 else 56
    lines = []
    if len(variants) == 2:
        lines.append(
            _line((" " * 22 + "".join(f"{one_line(name, width - 2):<{width}}" for name in variants).rstrip(), "dim"))
        )
    for measure, words, _ in chief_measures(summary):
        cells = [_cell(find_measure(measures_of(summary, name), measure), measure, width - 1) for name in variants]
        if any(cell != "–" for cell in cells):
            lines.append(_line((f"{words:<22}", ""), ("".join(f"{cell:<{width}}" for cell in cells).rstrip(), "")))
    return lines


def _cell(data: Json | None, measure: str, width: int) -> str:
    """Return `1.24 s [1.10 s – 1.41 s]`; what does not fit loses the censored runs' note first, then the interval."""
    found = show(data, measure)
    interval = f" [{found.interval}]" if found.interval != "–" else ""
    full = f"{found.value}{interval}"
    noted = f"{full} ({found.note})" if found.note else full
    return next((text for text in (noted, full) if len(text) <= width), one_line(found.value, width))


def _many_variants(summary: Json, variants: Sequence[str]) -> list[Text]:
    chief = chief_measures(summary)
    lines = [_line((f"{'':<18}" + "".join(f"{short:>10}" for _, _, short in chief), "dim"))]
    for name in variants[:VARIANTS_MAX]:
        cells = [show(find_measure(measures_of(summary, name), measure)).value for measure, _, _ in chief]
        text = "".join(f"{one_line(cell, 9):>10}" for cell in cells)
        lines.append(_line((f"{one_line(name, 17):<18}", ""), (text, "")))
    more = len(variants) - VARIANTS_MAX
    hint = f"and {plural(more, 'more variant')}; " if more > 0 else ""
    lines.append(
        _line((f"  {hint}values over {plural(len(summary.get('seeds', ())), 'run')}, intervals in the report", "dim"))
    )
    return lines


def _recommendation_lines(summary: Json) -> list[Text]:
    found = summary.get("recommendation")
    if not found:
        return []
    lines = [_line()]
    style = "green" if found.get("status") == "gain" else "yellow"
    words = one_line(found.get("sentence", ""))
    cut = len(words) if len(words) <= WIDTH else words.rfind(" ", 0, WIDTH)
    cut = cut if cut > 0 else WIDTH
    lines.append(_line((words[:cut], style)))
    if words[cut:].strip():
        lines.append(_line((one_line(words[cut:], WIDTH), style)))
    if found.get("status") == "gain":
        current, proposed = found.get("current") or {}, found.get("proposed") or {}
        changes = [
            f"{path}: {current.get(path, '–')} → {text}" for path, text in proposed.items() if current.get(path) != text
        ]
        lines += _change_lines(changes)
    real = found.get("containers")
    if real and real.get("sentence") != found.get("sentence"):
        words = one_line(real.get("sentence", ""))
        style = "green" if real.get("status") == "confirmed" else "yellow"
        lines += [_line(("  " + text, style)) for text in textwrap.wrap(words, WIDTH - 2)[:2]]
    presets = [str(row["outcome"]) for row in found.get("presets") or ()]
    if presets:
        counts = ", ".join(f"{outcome} {presets.count(outcome)}" for outcome in dict.fromkeys(presets))
        lines.append(_line(("  " + one_line(f"against {plural(len(presets), 'preset')}: {counts}", WIDTH - 2), "dim")))
    lines += _scenario_lines(found)
    return lines


def _scenario_lines(found: Json) -> list[Text]:
    """Return in which scenarios the proposal is worse, and what matters most, a line each where it is known."""
    texts = []
    scenarios = found.get("scenarios") or ()
    if scenarios:
        worse = [str(row["name"]) for row in scenarios if row["worse"]]
        maybe = [str(row["name"]) for row in scenarios if row["looks_worse"] and not row["worse"]]
        said = [f"worse in {', '.join(worse)}"] if worse else []
        said += [f"perhaps worse in {', '.join(maybe)}"] if maybe else []
        texts.append(f"over {plural(len(scenarios), 'scenario')}: {'; '.join(said) or 'worse in none'}")
    indices = [(str(row["path"]), row["sobol"]) for row in found.get("sensitivity") or () if row.get("sobol")]
    if indices:
        ranked = sorted(indices, key=lambda pair: -float(pair[1]["total"]))
        texts.append("Sobol, first order/total: " + ", ".join(
            f"{path} {index['first']:.2f}/{index['total']:.2f}" for path, index in ranked
        ))  # fmt: skip
    return [_line(("  " + one_line(text, WIDTH - 2), "dim")) for text in texts]


def _change_lines(changes: Sequence[str]) -> list[Text]:
    """Return what changes, broken between settings; what does not fit on CHANGES_MAX lines is cut."""
    rows: list[str] = []
    for change in changes:
        joined = f"{rows[-1]}; {change}" if rows else change
        if rows and len(joined) > WIDTH - 2 and len(rows) < CHANGES_MAX:
            rows.append(change)
        else:
            rows[-1:] = [joined]
    return [_line(("  " + one_line(row, WIDTH - 2), "")) for row in rows]
