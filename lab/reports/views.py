"""What the page's tables hold: results in words, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.metrics import AGGREGATES, METRICS, format_value
from lab.reports.bands import Band
from lab.reports.text import one_line, plural
from lab.reports.values import (
    KEY_MEASURES,
    PROTOCOL_MEASURES,
    Json,
    Shown,
    by_severity,
    censored_text,
    claimed_measure,
    find_measure,
    interval_text,
    mark,
    measures_of,
    metric_of,
    over_runs,
    show,
    value_text,
)
from lab.verdict import FAIL, INCONCLUSIVE, LAST_LINES, PASS

COLUMNS_MAX = 4  # with more variants the key table is turned round
TURNED_MEASURES = (
    *("convergence.p50", "convergence.p99", "divergence_max", "availability"),
    *("acknowledge_latency_p99", "amplification", "lost_acknowledged"),
    *(name for name, _ in PROTOCOL_MEASURES),
)
BADGES = {PASS: ("✓", "Pass"), FAIL: ("✗", "Fail"), INCONCLUSIVE: ("?", "Inconclusive")}
OUTCOMES = {True: "holds", False: "violated", None: "open"}
STATUSES = {
    "gain": "A better setting was found",
    "no_gain": "No better setting was found",
    "contradicted": "Downgraded: real replicas contradict the simulator",
    "uncalibrated": "Refused: the simulator was too far from real replicas",
    "insufficient": "Not enough evidence for a recommendation",
}
SNIPPETS = {
    "experiment": "For the experiment file (YAML)",
    "replica": "For the replicas (JSON)",
    "grpc": "For gRPC (service config, JSON)",
    "envoy": "For Envoy (YAML)",
    "resilience4j": "For resilience4j (Spring Boot, YAML)",
    "aws": "For the AWS SDK (Java 2.x)",
}


@dataclass(frozen=True, slots=True)
class Headline:
    """The verdict at the top of the page."""

    kind: str
    sign: str
    word: str
    sentence: str
    facts: str


def sentence(summary: Json) -> str:
    """Return the verdict in one sentence."""
    return LAST_LINES.get(str(summary.get("verdict")), LAST_LINES[INCONCLUSIVE])


def headline(summary: Json) -> Headline:
    """Return the verdict with the size of the evidence."""
    kind = str(summary.get("verdict"))
    kind = kind if kind in BADGES else INCONCLUSIVE
    variants, seeds = len(summary["variants"]), len(summary.get("seeds", ()))
    size = plural(seeds, "run") if variants == 1 else f"{plural(variants, 'variant')} × {plural(seeds, 'run')}"
    plane = {"sim": "simulated", "containers": "on containers"}.get(
        str(summary.get("plane")), str(summary.get("plane"))
    )
    facts = [_score(summary), size, f"{plane} ({summary.get('executor', '')})"]
    if summary.get("horizon_ns"):
        facts.append(f"each {format_value(summary['horizon_ns'], 'ns')} long")
    if summary.get("wall_s") is not None:
        facts.append(f"took {format_value(float(summary['wall_s']) * 1e9, 'ns')}")
    return Headline(kind, *BADGES[kind], sentence(summary), " · ".join(fact for fact in facts if fact))


def _score(summary: Json) -> str:
    """Return `7 claims: 2 violated, 1 open, 4 held`, or nothing where none was made."""
    outcomes = [claim.get("holds") for claim in summary.get("claims", ())]
    words = {False: "violated", None: "open", True: "held"}
    counts = {word: sum(outcome is holds for outcome in outcomes) for holds, word in words.items()}
    parts = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"{plural(len(outcomes), 'claim')}: {parts}" if outcomes else ""


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """One claim with its outcome and its evidence."""

    kind: str
    sign: str
    word: str
    text: str
    variant: str
    value: str
    interval: str
    n: int
    reason: str
    seed: int | None
    replay: str


def claims(summary: Json) -> list[ClaimRow]:
    """Return the claims, violated ones first."""
    rows = []
    for claim in by_severity(summary.get("claims", ())):
        name, data = claimed_measure(claim, summary)
        measured = show(data, name)
        value, unit = claim.get("value"), str(claim.get("unit") or measured.unit)
        if value is None:
            text, interval = (measured.value, measured.interval) if data is not None else ("–", "–")
        else:
            text, interval = format_value(value, unit), interval_text(claim.get("low"), claim.get("high"), unit)
        reasons = [
            str(claim.get("reason") or ""),
            measured.note if value is not None or not claim.get("reason") else "",
        ]
        holds = claim.get("holds")
        rows.append(
            ClaimRow(
                kind=OUTCOMES[holds],
                sign=mark(holds),
                word=OUTCOMES[holds],
                text=str(claim.get("claim", "")),
                variant=str(claim.get("variant", "")),
                value=text,
                interval=interval,
                n=measured.n or len(summary.get("seeds", ())),
                reason="; ".join(reason for reason in reasons if reason),
                seed=claim.get("seed"),
                replay=str(claim.get("replay") or ""),
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class Table:
    """A table of measures: heads of columns, and rows of (head, cells)."""

    corner: str
    heads: list[str]
    rows: list[tuple[str, list[Shown]]]
    n: int | None  # the runs behind every cell, where all agree


def key_table(summary: Json) -> Table:
    """Return the key measures: one column a variant, or one row a variant when there are many."""
    variants = list(summary["variants"])
    turned = len(variants) > COLUMNS_MAX
    wanted = [
        (name, f"{words}, {over_runs(name)}")
        for name, words in KEY_MEASURES
        if (not turned or name in TURNED_MEASURES)
        and any(find_measure(measures_of(summary, variant), name) for variant in variants)
    ]
    cells = [
        [show(find_measure(measures_of(summary, variant), name), name) for variant in variants] for name, _ in wanted
    ]
    counts = {cell.n for row in cells for cell in row if cell.n}
    n = counts.pop() if len(counts) == 1 else None
    if turned:
        rows = [(variant, list(column)) for variant, column in zip(variants, zip(*cells, strict=True), strict=False)]
        return Table("Variant", [words for _, words in wanted], rows, n)
    return Table("Measure", variants, [(words, row) for (_, words), row in zip(wanted, cells, strict=True)], n)


@dataclass(frozen=True, slots=True)
class MetricRows:
    """One metric of one variant: what it is, and (aggregate, shown) rows."""

    name: str
    summary: str
    rows: list[tuple[str, Shown]]


def all_measures(summary: Json) -> list[tuple[str, str, str, list[MetricRows]]]:
    """Return (variant, its label, its digest, its metrics) of every variant."""
    found = []
    for name, variant in summary["variants"].items():
        label = str(variant.get("label") or "")
        found.append(
            (name, "" if label == name else label, str(variant.get("digest") or ""), _metrics(variant["measures"]))
        )
    return found


def _metrics(measures: Json) -> list[MetricRows]:
    grouped: dict[str, list[tuple[str, Shown]]] = {}
    for name, data in measures.items():
        metric = metric_of(name)
        aggregate = name.removeprefix(metric).lstrip(".")
        default = METRICS[metric].default if metric in METRICS else ""
        if not aggregate and f"{metric}.{default}" in measures:
            continue  # the bare name repeats its default aggregate
        grouped.setdefault(metric, []).append((aggregate or default or "value", show(data, name)))
    order = {name: place for place, name in enumerate(METRICS)}
    ranks: dict[str, int] = {aggregate: place for place, aggregate in enumerate(AGGREGATES)}
    return [
        MetricRows(
            name,
            METRICS[name].summary if name in METRICS else "",
            sorted(rows, key=lambda row: (ranks.get(row[0], len(ranks)), row[0])),
        )
        for name, rows in sorted(grouped.items(), key=lambda item: (order.get(item[0], len(order)), item[0]))
    ]


@dataclass(frozen=True, slots=True)
class FaultRow:
    """One fault in one variant."""

    number: int
    colour: str
    label: str
    variant: str
    when: str
    bit: str
    bit_note: str
    p50: str
    p95: str
    note: str


def fault_rows(bands: Sequence[Band], summary: Json) -> list[FaultRow]:
    """Return a row a fault and variant, variants of one fault together."""
    order = {name: place for place, name in enumerate(summary["variants"])}
    rows = []
    for band in sorted(bands, key=lambda band: (band.number, band.label, order[band.variant])):
        start = format_value(band.start_ns, "ns")
        rows.append(
            FaultRow(
                number=band.number,
                colour=band.colour,
                label=band.label,
                variant=band.variant,
                when=interval_text(band.start_ns, band.stop_ns, "ns") if band.lasts else f"from {start}",
                bit=_bit_text(band.bits),
                bit_note=_bit_note(band.bits),
                p50=value_text(band.p50) if band.lasts else "–",
                p95=value_text(band.p95) if band.lasts else "–",
                note=censored_text(band.p50, "convergence"),
            )
        )
    return rows


def _bit_text(bits: Sequence[int]) -> str:
    """Return the median count over runs, or that nothing is counted."""
    if not bits:
        return "not counted"
    if not any(bits):
        return "never"
    return plural(sorted(bits)[(len(bits) - 1) // 2], "time")


def _bit_note(bits: Sequence[int]) -> str:
    if not bits or not any(bits) or min(bits) == max(bits):
        return ""
    return f"{min(bits):,} to {max(bits):,} over runs"


def recommendation(tune: Json | None, summary: Json) -> dict[str, Any] | None:
    """Return the recommendation card, or None where no search was made."""
    found: Json | None = (tune or {}).get("recommendation") or summary.get("recommendation")
    if not found:
        return None
    status = str(found.get("status"))
    gain = found.get("gain") or {}
    return {
        "status": status if status in STATUSES else "insufficient",
        "title": STATUSES.get(status, STATUSES["insufficient"]),
        "sentence": str(found.get("sentence") or ""),
        "changes": _changes(found.get("current") or {}, found.get("proposed") or {}),
        "gain": show({**gain, "unit": gain.get("unit", "share")}) if gain.get("value") is not None else None,
        "objectives": [
            (
                str(objective.get("measure", "")),
                show(objective.get("current"), str(objective.get("measure", ""))),
                show(objective.get("proposed"), str(objective.get("measure", ""))),
                show(objective.get("difference")),
            )
            for objective in found.get("objectives") or ()
        ],
        "constraints": _constraints(found.get("constraints") or ()),
        "seeds": _seed_counts(found.get("seeds") or {}),
        "snippets": [
            (SNIPPETS.get(name, one_line(name)), text, str((found.get("snippet_notes") or {}).get(name, "")))
            for name, text in (found.get("snippets") or {}).items()
        ],
        "presets": [
            (
                str(row["name"]),
                _preset_text(row),
                show(row["gain"]),
                "–" if row["p_adjusted"] is None else f"{row['p_adjusted']:.3g}",
                str(row["outcome"]),
            )
            for row in found.get("presets") or ()
        ],
        "sensitivity": [_sensitivity(row) for row in found.get("sensitivity") or ()],
        "has_sobol": any(row.get("sobol") for row in found.get("sensitivity") or ()),
        "scenarios": [
            (str(row["name"]), show(row["gain"]), scenario_outcome(row)) for row in found.get("scenarios") or ()
        ],
        "robust": str(found.get("robust") or ""),
        "costs": [(str(cost["measure"]), show(cost["difference"])) for cost in found.get("costs") or ()],
        "warnings": [str(text) for text in found.get("warnings") or ()],
        "assumes": [str(text) for text in found.get("assumes") or ()],
        "selection": _selection(found.get("selection") or {}),
        "containers": _containers(found.get("containers")),
    }


AGREES = {True: "yes", False: "no", None: "not told"}
CONFIRMATIONS = {
    "confirmed": "holds",
    "contradicted": "violated",
    "uncertain": "open",
}


def _containers(found: Json | None) -> dict[str, Any] | None:
    """Return what real replicas say about the recommendation, predicted against measured."""
    if not found:
        return None
    kind = CONFIRMATIONS.get(str(found.get("status")), "open")
    error, dropped = found.get("error"), len(found.get("dropped") or ())
    rows = [
        (
            "all objectives together, lower by",
            show(found["predicted"]),
            show(found["measured"]),
            AGREES[found["agrees"]],
        )
    ]
    rows += [
        (f"{row['measure']}, difference", show(row["predicted"]), show(row["measured"]), AGREES[row["agrees"]])
        for row in found.get("objectives") or ()
    ]
    return {
        "kind": kind,
        "sign": {"holds": "✓", "violated": "✗", "open": "?"}[kind],
        "sentence": str(found.get("sentence") or ""),
        "pairs": plural(int(found.get("pairs") or 0), "pair"),
        "rows": rows,
        "error": "" if error is None else f"{100 * float(error):+.1f} percentage points",
        "dropped": f"{plural(dropped, 'pair')} could not be judged and left out." if dropped else "",
    }


def scenario_outcome(row: Json) -> str:
    """Return what fresh seeds say about the proposal in one scenario, in a few words."""
    if row.get("breaks"):
        return f"breaks {', '.join(map(str, row['breaks']))}"
    if row.get("worse"):
        return "worse"
    return "perhaps worse" if row.get("looks_worse") else "not worse"


def _preset_text(row: Json) -> str:
    source = f" Source: {row['source']}." if row.get("source") else ""
    why = f" {row['impossible']}." if row.get("impossible") else ""
    return f"{row['product']}; {row['version']}. {row['left_out']}{source}{why}"


def _sobol(row: Json) -> str:
    index = row.get("sobol")
    if not index:
        return "–"
    first = f"{index['first']:.2f} ({index['first_low']:.2f} to {index['first_high']:.2f})"
    return f"{first}; total {index['total']:.2f} ({index['total_low']:.2f} to {index['total_high']:.2f})"


def _sensitivity(row: Json) -> dict[str, Any]:
    """Return a parameter's safe range, effect and what-if rows (value, change, whether it is safe, why not)."""
    safe = [str(value) for value in row["safe_range"]]
    ranged = bool(row["is_range"]) and len(safe) == 2
    return {
        "path": str(row["path"]),
        "recommended": str(row["recommended"]),
        "safe": (" to ".join(safe) if ranged and safe[0] != safe[1] else ", ".join(dict.fromkeys(safe)))
        or (f"any: it matters only with {row['asleep']}" if row.get("asleep") else "none shown"),
        "sobol": _sobol(row),
        "effect": "–" if row["effect"] is None else f"{row['effect']:.2f} ± {row['spread']:.2f}",
        "rows": [
            (
                str(what["value"]),
                show(what["worse"]) if what["worse"] else None,
                bool(what["safe"]),
                "contradicts another setting" if not what["possible"] else ", ".join(map(str, what["breaks"])),
            )
            for what in row["what_if"]
        ],
    }


def _selection(found: Json) -> str:
    if found.get("probability_correct") is None:
        return ""
    return (
        f"Chosen among {plural(int(found['finalists']), 'finalist')} on {plural(int(found['seeds']), 'seed')}: none of "
        f"the others is better by more than {found['indifference_zone']:.0%}, with probability "
        f"{found['probability_correct']:.1%} (target {found['target']:.0%})."
    )


def _changes(current: Mapping[str, Any], proposed: Mapping[str, Any]) -> list[tuple[str, str, str, bool]]:
    """Return (path, current, proposed, whether it changes) of every parameter."""
    paths = list(dict.fromkeys([*current, *proposed]))
    pairs = [(path, str(current.get(path, "–")), str(proposed.get(path, current.get(path, "–")))) for path in paths]
    return [(path, now, then, now != then) for path, now, then in pairs]


def _constraints(found: Iterable[Json]) -> list[tuple[str, str, str]]:
    return [(OUTCOMES[claim.get("holds")], mark(claim.get("holds")), str(claim.get("claim", ""))) for claim in found]


def _seed_counts(seeds: Json) -> str:
    if not seeds:
        return ""
    search, confirm = int(seeds.get("search", 0)), int(seeds.get("confirm", 0))
    return f"searched on {plural(search, 'seed')}, confirmed on {confirm:,} fresh ones"
