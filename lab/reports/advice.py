"""What a careful friend would say before you rely on these numbers, each with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.metrics import format_value
from lab.reports.bands import Band
from lab.reports.text import plural
from lab.reports.values import KEY_MEASURES, Json, estimate_of, find_measure, interval_text, measures_of, several

RUNS_FEW = 10
NAMED_MAX = 4


@dataclass(frozen=True, slots=True)
class Advice:
    """What was seen, why it matters, and what to do."""

    what: str
    do: str


def warnings(summary: Json, bands: Sequence[Band]) -> list[Advice]:
    """Return the warnings about these results, the gravest first."""
    found = [
        *_never_bit(summary, bands),
        *_unhealed(summary, bands),
        *_censored(summary),
        *_few_runs(summary),
        *_wide(summary),
    ]
    if summary.get("plane") == "containers":
        found.append(
            Advice(
                "These runs used real containers: a seed repeats the faults and the load, not the exact interleaving.",
                "Repeat the suite and compare, and treat differences smaller than the intervals as noise.",
            )
        )
    return found


def _names(names: Sequence[str]) -> str:
    """Return `a, b and 3 more`."""
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _in_variants(summary: Json, names: Sequence[str]) -> str:
    """Return ` in a, b`, or nothing where there is only one variant."""
    return f" in {_names(list(dict.fromkeys(names)))}" if several(summary["variants"]) else ""


def _by_label(bands: Sequence[Band]) -> dict[tuple[int, str], list[Band]]:
    grouped: dict[tuple[int, str], list[Band]] = {}
    for band in bands:
        grouped.setdefault((band.number, band.label), []).append(band)
    return grouped


def _never_bit(summary: Json, bands: Sequence[Band]) -> list[Advice]:
    found = []
    for (number, label), group in _by_label(bands).items():
        idle = [band for band in group if band.bits and 0 in band.bits]
        if not idle:
            continue
        missed, counted = (sum(band.bits.count(0) for band in idle), sum(len(band.bits) for band in idle))
        where = _in_variants(summary, [band.variant for band in idle])
        how = "never bit" if missed == counted else f"did not bite in {missed} of {counted} runs"
        found.append(
            Advice(
                f"Fault {number} ({label}) {how}{where}: it was on, but nothing was seen to suffer from it.",
                "Check that its time lies inside the workload and that its links or node carry traffic; until then "
                "these results say nothing about this fault.",
            )
        )
    return found


def _unhealed(summary: Json, bands: Sequence[Band]) -> list[Advice]:
    found = []
    for (number, label), group in _by_label(bands).items():
        stuck = [band for band in group if band.unhealed]
        if stuck:
            missed, counted = sum(band.unhealed for band in stuck), sum(band.runs for band in stuck)
            where = _in_variants(summary, [band.variant for band in stuck])
            found.append(
                Advice(
                    f"Fault {number} ({label}) was still on when {missed} of {counted} runs ended{where}.",
                    "Convergence after it cannot be measured there: end the fault earlier or let the runs last longer.",
                )
            )
    return found


def _censored(summary: Json) -> list[Advice]:
    found = []
    for variant in summary["variants"]:
        measures = measures_of(summary, variant)
        cut = [
            estimate_of(data)
            for name in ("convergence.p50", "convergence_final.p50")
            if (data := find_measure(measures, name)) is not None and data.get("censored")
        ]
        if cut:
            worst = max(cut, key=lambda estimate: estimate.censored)
            where = f" of {variant}" if several(summary["variants"]) else ""
            found.append(
                Advice(
                    f"{worst.censored} of {worst.n} runs{where} had not converged when they ended: their times are "
                    "only known to be longer, so high percentiles may be unknown and means are too low.",
                    "Give the runs more quiet time at the end; if as many stay apart, they will not converge by "
                    "themselves: replay one of their seeds and look at what is missing.",
                )
            )
    return found


def _few_runs(summary: Json) -> list[Advice]:
    few = len(summary.get("seeds", ()))
    if few >= RUNS_FEW:
        return []
    return [
        Advice(
            f"Only {plural(few, 'run')} a variant: rare behaviour is probably missing, and a 99th percentile of so few "
            "runs is their maximum at best.",
            f"Use at least {RUNS_FEW} seeds to compare medians, and 200 or more to speak of a 99th percentile.",
        )
    ]


def _wide(summary: Json) -> list[Advice]:
    wide: dict[str, list[str]] = {}
    example = ""
    for variant in summary["variants"]:
        for name, _ in KEY_MEASURES:
            data = find_measure(measures_of(summary, variant), name)
            if data is None:
                continue
            estimate = estimate_of(data)
            value, low, high = estimate.value, estimate.low, estimate.high
            if value and low is not None and high is not None and high - low > abs(value):
                wide.setdefault(name, []).append(variant)
                example = example or (
                    f"{name} is {format_value(value, estimate.unit)}, but anything in "
                    f"{interval_text(low, high, estimate.unit)} would fit"
                )
    if not wide:
        return []
    where = _in_variants(summary, [variant for variants in wide.values() for variant in variants])
    return [
        Advice(
            f"The interval is wider than the value for {_names(list(wide))}{where}. For example, {example}.",
            "Do not decide by these numbers yet; four times as many seeds halve an interval.",
        )
    ]
