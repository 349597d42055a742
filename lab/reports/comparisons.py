"""Figures that compare: variants by what they cost and how they serve, and the candidates of a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lab.metrics import Estimate, format_value, measure_units
from lab.reports import draw
from lab.reports.figures import Figure
from lab.reports.text import one_line, plural
from lab.reports.values import PROTOCOL_MEASURES, Json, estimate_of, find_measure, measures_of, several

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

ROWS_MAX = 16
BEHAVIOUR_MAX = 8  # panels
COSTS = (
    ("amplification", "Amplification (× the least)"),
    ("transmissions", "Transmissions (count per run)"),
    ("retries", "Retries (count per run)"),
    ("repairs", "Repairs (count per run)"),
)


def _estimates(summary: Json, measure: str) -> dict[str, Estimate]:
    """Return the estimate of a measure for each of the first variants that have it."""
    found = {}
    for name in list(summary["variants"])[:ROWS_MAX]:
        data = find_measure(measures_of(summary, name), measure)
        if data is not None and (data.get("value") is not None or data.get("limit") is not None):
            found[name] = estimate_of(data)
    return found


def _rows(axes: Axes, summary: Json) -> list[str]:
    """Give every variant a row, the baseline on top; return the variants."""
    names = list(summary["variants"])[:ROWS_MAX]
    axes.set_yticks(range(len(names)), [one_line(name, 18) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    if not several(summary["variants"]):
        axes.tick_params(axis="y", labelleft=False)
    return names


def _dot(
    axes: Axes, estimate: Estimate, row: float, style: tuple[str, str, str], factor: float, hollow: bool = False
) -> None:
    """Draw one estimate: a marker with its interval; an arrow head where the value lies beyond the end of the runs."""
    colour, _, marker = style
    value = estimate.value if estimate.value is not None else estimate.limit
    if value is None:
        return
    low = estimate.low if estimate.low is not None else value
    high = estimate.high if estimate.high is not None else value
    axes.plot([low * factor, high * factor], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=3)
    axes.plot(
        [value * factor], [row], marker=">" if estimate.value is None else marker, markersize=6, linestyle="",
        markerfacecolor=draw.PAPER if hollow else colour, markeredgecolor=colour, markeredgewidth=1.3, zorder=4,
        clip_on=False,  # a value of zero lies on the edge
    )  # fmt: skip


def _greatest(estimates: Sequence[Estimate]) -> float:
    bounds = [bound for e in estimates for bound in (e.value, e.high, e.limit) if bound is not None]
    return max(bounds, default=0.0)


def cost(summary: Json) -> Figure | None:
    """Draw what replication costs: one small panel a measure, one row a variant, every axis from zero."""
    panels = [(label, found) for measure, label in COSTS if (found := _estimates(summary, measure))]
    if not panels:
        return None
    names = list(summary["variants"])
    lines = -(-len(panels) // 2)

    def painter(canvas: Canvas) -> None:
        grid = draw.flat(canvas.subplots(lines, 2, squeeze=False, sharey=True))
        for axes, (label, found) in zip(grid, panels, strict=False):
            _rows(axes, summary)
            for name, estimate in found.items():
                row = names.index(name)
                _dot(axes, estimate, row, draw.series(row), 1.0)
                _say(axes, estimate, row)
            axes.set_xlim(0, _greatest(list(found.values())) * 1.35 or 1)
            axes.set_xlabel(label)
            axes.locator_params(axis="x", nbins=4)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)

    return Figure(
        "cost",
        "What it cost",
        "Each marker is the value over all runs, the line its 95 % interval; all axes start at zero. Amplification is "
        "transmissions for each update and follower: 1× is the least that delivers everything, the rest is repetition. "
        "Overlapping lines say that the runs do not tell these variants apart by this figure alone.",
        f"Cost measures of {plural(len(names), 'variant')} with intervals.",
        draw.paint(painter, lines * (0.75 + 0.24 * min(len(names), ROWS_MAX))),
    )


def behaviour(summary: Json) -> Figure | None:
    """Draw what only this protocol has: one small panel a measure, one row a variant, every axis from zero."""
    told = [(words, found) for measure, words in PROTOCOL_MEASURES if (found := _estimates(summary, measure))]
    panels = told[:BEHAVIOUR_MAX]
    if not panels:
        return None
    names = list(summary["variants"])
    lines = -(-len(panels) // 2)

    def painter(canvas: Canvas) -> None:
        grid = draw.flat(canvas.subplots(lines, 2, squeeze=False, sharey=True))
        for axes, (words, found) in zip(grid, panels, strict=False):
            _rows(axes, summary)
            factor, label = _scale(words, list(found.values()))
            for name, estimate in found.items():
                row = names.index(name)
                _dot(axes, estimate, row, draw.series(row), factor)
                _say(axes, estimate, row, factor)
            axes.set_xlim(0, _greatest(list(found.values())) * factor * 1.35 or 1)
            axes.set_xlabel(label)
            axes.locator_params(axis="x", nbins=4)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)

    return Figure(
        "behaviour",
        "What the protocol did",
        "Each marker is the value over all runs, the line its 95 % interval; all axes start at zero. A marker like an "
        "arrow head lies beyond the end of the runs.",
        f"Measures of {plural(len(names), 'variant')} with intervals.",
        draw.paint(painter, lines * (0.75 + 0.24 * min(len(names), ROWS_MAX))),
    )


def _scale(words: str, found: Sequence[Estimate]) -> tuple[float, str]:
    """Return (factor, axis label) of a measure."""
    unit = found[0].unit
    if unit == "ns":
        factor, name = draw.time_scale(_greatest(found))
        return factor, f"{words} ({name})"
    return (100.0, f"{words} (%)") if unit == "share" else (1.0, words)


def _say(axes: Axes, estimate: Estimate, row: int, factor: float = 1.0) -> None:
    """Write the value beside its marker."""
    value = estimate.value if estimate.value is not None else estimate.limit
    text = ("" if estimate.value is not None else "> ") + format_value(value, estimate.unit)
    right = max(bound for bound in (value, estimate.high) if bound is not None)
    axes.annotate(
        text, (right * factor, row), (6, 0), textcoords="offset points", va="center", fontsize=draw.FONT_PT - 1.5
    )


def service(summary: Json) -> Figure | None:
    """Draw what clients saw: availability, and the median and 99th percentile of acknowledge latency."""
    available = _estimates(summary, "availability")
    latencies = [_estimates(summary, f"acknowledge_latency_{quantile}") for quantile in ("p50", "p99")]
    if not available and not any(latencies):
        return None
    names = list(summary["variants"])

    def painter(canvas: Canvas) -> None:
        left, right = draw.flat(canvas.subplots(1, 2, squeeze=False, sharey=True))
        for axes in (left, right):
            _rows(axes, summary)
            axes.locator_params(axis="x", nbins=4)
        for name, estimate in available.items():
            row = names.index(name)
            _dot(axes=left, estimate=estimate, row=row, style=draw.series(row), factor=100.0)
            _say(left, estimate, row, 100.0)
        _availability_axis(left, list(available.values()))
        _latency_panel(right, names, latencies)

    return Figure(
        "service",
        "What clients saw",
        "Left: the share of intended operations acknowledged within the client's deadline. Right: time from the "
        "intended send to the acknowledgement, filled markers for the median, hollow ones for the 99th percentile, "
        "each the median over runs. Lines are 95 % intervals. The availability axis may start above zero; its label "
        "then says where.",
        f"Availability and acknowledge latency of {plural(len(names), 'variant')} with intervals.",
        draw.paint(painter, 1.15 + 0.3 * min(len(names), ROWS_MAX)),
    )


def _availability_axis(axes: Axes, found: Sequence[Estimate]) -> None:
    """Show the whole range, or only the part near 100 % when everything lies there."""
    least = min((bound for e in found for bound in (e.value, e.low) if bound is not None), default=0.0)
    if least < 0.9:
        axes.set_xlim(0, 130)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.set_xlabel("Availability (%)")
        return
    missing = max(1 - least, 1e-5) if least < 1 else 0.01
    step = next(
        width for width in (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1) if width * 1.0001 >= missing
    )
    start = 100 * (1 - step)
    axes.set_xlim(start - 4 * step, 100 + 30 * step)
    axes.set_xticks([start, (start + 100) / 2, 100], [f"{tick:.6g}" for tick in (start, (start + 100) / 2, 100)])
    axes.set_xlabel(f"Availability (%), axis from {start:.6g}")


def _latency_panel(axes: Axes, names: Sequence[str], latencies: Sequence[dict[str, Estimate]]) -> None:
    factor, unit = draw.time_scale(_greatest([e for found in latencies for e in found.values()]))
    for hollow, found in enumerate(latencies):
        for name, estimate in found.items():
            row = names.index(name)
            _dot(axes, estimate, row + (0.16 if hollow else -0.16), draw.series(row), factor, bool(hollow))
    axes.set_xlim(0, (_greatest([e for found in latencies for e in found.values()]) * factor * 1.1) or 1)
    axes.set_xlabel(f"Acknowledge latency ({unit})\n● p50   ○ p99")


def candidates(summary: Json, tune: Json | None) -> Figure | None:
    """Draw the candidates of a search by their first two objectives, current and proposed settings marked."""
    if not tune or not tune.get("candidates"):
        return None
    recommendation = tune.get("recommendation") or {}
    objectives = recommendation.get("objectives") or []
    measures = [str(objective["measure"]) for objective in objectives]
    measures = measures or list(dict.fromkeys(name for c in tune["candidates"] for name in c.get("objectives", {})))
    measures = measures[:2]
    if not measures:
        return None
    scales = [_objective_scale(measure, tune, objectives) for measure in measures]
    points = [_point(candidate, measures) for candidate in tune["candidates"]]
    told = [point for point in points if point is not None]
    left = len(points) - len(told)
    ends = [_point(candidate, measures) for candidate in tune["candidates"] if candidate.get("front")]
    front = sorted(point for point in ends if point is not None)
    upward = scales[1][0] if len(measures) > 1 else 1.0

    def painter(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for feasible, marker, colour, label in (
            (True, "o", "#0072b2", "meets every claim"),
            (False, "x", draw.MUTED, "breaks a claim"),
        ):
            mine = [point for point in told if point[2] is feasible]
            if mine:
                across, up = [x * scales[0][0] for x, _, _ in mine], [y * upward for _, y, _ in mine]
                axes.plot(
                    across, up, marker=marker, linestyle="", markersize=4.5, color=colour, alpha=0.55,
                    markeredgewidth=1.1, label=label,
                )  # fmt: skip
        if len(measures) == 2 and len(front) > 1:
            axes.plot(
                [x * scales[0][0] for x, _, _ in front], [y * upward for _, y, _ in front],
                color="#0072b2", linewidth=1.0, drawstyle="steps-post", label="Pareto front",
            )  # fmt: skip
        _mark(axes, objectives, scales, recommendation.get("status") == "gain")
        axes.set_xlabel(scales[0][1])
        axes.set_ylabel(scales[1][1] if len(measures) > 1 else "Round of the search")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        canvas.legend(loc="outside upper left", ncols=2)

    beyond = f" {plural(left, 'candidate')} had no value in an objective and cannot be drawn." if left else ""
    return Figure(
        "candidates",
        "What the search tried",
        "Each small marker is one candidate setting on the seeds of the search; lower and further left is better. The "
        "diamond is the current setting and the star the proposed one, both measured again on fresh seeds, with 95 % "
        "intervals: they, not the small markers, carry the recommendation." + beyond,
        f"Scatter of {plural(len(told), 'candidate setting')} by {' and '.join(measures)}.",
        draw.paint(painter, 3.3),
    )


def _point(candidate: Json, measures: Sequence[str]) -> tuple[float, float, bool] | None:
    values = [candidate.get("objectives", {}).get(measure) for measure in measures]
    if any(value is None for value in values):
        return None
    second = values[1] if len(values) > 1 else float(candidate.get("stage") or 0)
    return float(values[0]), float(second), bool(candidate.get("feasible"))


def _objective_scale(measure: str, tune: Json, objectives: Sequence[Json]) -> tuple[float, str]:
    """Return (factor, axis label) of an objective."""
    unit = next(
        (str(o["current"]["unit"]) for o in objectives if o["measure"] == measure), measure_units().get(measure, "")
    )
    values = [c.get("objectives", {}).get(measure) for c in tune["candidates"]]
    greatest = max((value for value in values if value is not None), default=0.0)
    if unit == "ns":
        factor, name = draw.time_scale(float(greatest))
        return factor, f"{measure} ({name})"
    if unit == "share":
        return 100.0, f"{measure} (%)"
    return 1.0, f"{measure} ({ {'ratio': '×', 'share_seconds': 'share·s'}.get(unit, unit) or 'value' })"


def _mark(axes: Axes, objectives: Sequence[Json], scales: Sequence[tuple[float, str]], gain: bool) -> None:
    """Mark the current and, if there is a gain, the proposed setting with their intervals in both directions."""
    if not objectives:
        return
    styles: list[tuple[str, str, str, float]] = [("current", "D", "#1b1f24", 7)]
    if gain:
        styles.append(("proposed", "*", "#d55e00", 13))
    for which, marker, colour, size in styles:
        pair = [estimate_of(objective[which]) for objective in objectives[:2]]
        if any(estimate.value is None for estimate in pair):
            continue
        place = [float(e.value or 0) * scale[0] for e, scale in zip(pair, scales, strict=False)]
        spread: list[Any] = [_error(e, scale[0]) for e, scale in zip(pair, scales, strict=False)]
        y, y_error = (place[1], spread[1]) if len(place) > 1 else (0.0, None)
        axes.errorbar(
            place[0], y, xerr=spread[0], yerr=y_error, fmt=marker, color=colour, markersize=size, elinewidth=1.3,
            markeredgecolor=draw.PAPER, markeredgewidth=0.8, zorder=5, label=f"{which}, on fresh seeds",
        )  # fmt: skip


def _error(estimate: Estimate, factor: float) -> list[list[float]]:
    value = float(estimate.value or 0)
    low = value if estimate.low is None else estimate.low
    high = value if estimate.high is None else estimate.high
    return [[max(0.0, value - low) * factor], [max(0.0, high - value) * factor]]
