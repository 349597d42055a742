"""The figures of a report, as SVG text that is the same bytes for the same results.

Each function takes the stored tables and `summary.json` and returns a Figure, or None where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.reports import draw
from lab.reports.bands import Band, bands, of_variant, run_values
from lab.reports.text import one_line, plural
from lab.reports.values import Json, several
from lab.store import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

PANELS_MAX = 6
LINES_MAX = 8  # single runs drawn thin behind the median
GRID_POINTS = 240
LEGEND_COLUMNS = 4


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawn figure: its SVG, a heading, how to read it, and what is read aloud in its place."""

    name: str
    title: str
    caption: str
    label: str
    svg: str

    def save(self, folder: Path) -> Path:
        """Write `NAME.svg` into `folder`, which is made if need be, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.svg"
        write_atomically(path, self.svg.encode())
        return path

    def _repr_svg_(self) -> str:
        """Show the figure in a notebook."""
        return self.svg

    def embedded(self) -> str:
        """Return the SVG element for a page."""
        return draw.embed(self.svg, self.name, self.label)


def draw_all(
    summary: Json, runs: pd.DataFrame, faults: pd.DataFrame, curves: pd.DataFrame, tune: Json | None = None
) -> list[Figure]:
    """Return every figure these results have, in the order in which a report shows them."""
    from lab.reports import comparisons

    is_changelog = any("convergence" in variant.get("measures", {}) for variant in summary["variants"].values())
    drawn = [
        divergence(summary, curves, faults),
        convergence(summary, runs, faults),
        None if is_changelog else comparisons.behaviour(summary),
        comparisons.cost(summary),
        comparisons.service(summary),
        comparisons.candidates(summary, tune),
    ]
    return [figure for figure in drawn if figure is not None]


def divergence(summary: Json, curves: pd.DataFrame, faults: pd.DataFrame) -> Figure | None:
    """Draw divergence over time: median and middle 80 % of the runs, one panel a variant, faults shaded behind."""
    names = [name for name in summary["variants"] if len(curves) and (curves["variant"] == name).any()]
    if not names:
        return None
    shown = names[:PANELS_MAX]
    all_bands = bands(faults, list(summary["variants"]))
    # Nothing changes after the last step, so of what follows only a little is drawn, to show that it is flat.
    end_ns = 1.03 * max([float(curves["time_ns"].max()), *(band.stop_ns for band in all_bands)])
    end_ns = min(end_ns, float(summary.get("horizon_ns") or end_ns))
    sampled = {name: _sampled(curves[curves["variant"] == name], end_ns) for name in shown}
    factor, unit = draw.time_scale(end_ns)
    greatest = 100 * max(float(shares.max()) for _, shares in sampled.values())
    legend = _distinct([band for name in shown for band in of_variant(all_bands, name)])
    height = 0.75 + (1.75 if len(shown) == 1 else 1.3) * len(shown) + 0.19 * (len(legend) + 1)
    titles: dict[str, str] = {}

    def painter(canvas: Canvas) -> None:
        panels = draw.flat(canvas.subplots(len(shown), 1, sharex=True, sharey=True, squeeze=False))
        for index, (axes, name) in enumerate(zip(panels, shown, strict=True)):
            draw.share_axis(axes, greatest * 1.12)
            axes.set_xlim(0, end_ns * factor)
            _shade(axes, of_variant(all_bands, name), factor, f"-{index}" if index else "", titles)
            _curves(axes, sampled[name], factor, draw.series(list(summary["variants"]).index(name))[0])
            if several(summary["variants"]):
                axes.set_title(one_line(name, 60))
            axes.set_ylabel("Differs (%)")
        panels[-1].set_xlabel(f"Time since the start of the run ({unit})")
        _divergence_legend(canvas, legend)

    svg = draw.paint(painter, height)
    svg = draw.entitle(svg, titles)
    left = f" Only the first {PANELS_MAX} of {len(names)} variants are drawn." if len(names) > PANELS_MAX else ""
    return Figure(
        "divergence",
        "How far apart the replicas were",
        "Share of (replica, key) pairs that differ from the ground truth. The thick line is the median run, the "
        "shaded area holds the middle 80 % of the runs, thin lines are single runs. Hatched bands are faults: a curve "
        "that falls to zero soon after a band has healed quickly; one that stays up has not. The axis ends where "
        "nothing changes any more." + left,
        f"Divergence over time for {plural(len(shown), 'variant')}, with {plural(len(legend), 'fault')} shaded.",
        svg,
    )


def _distinct(shown: Sequence[Band]) -> list[Band]:
    """Return one band for each (number, label): what a legend needs."""
    return list({(band.number, band.label): band for band in reversed(shown)}.values())[::-1]


def _sampled(rows: pd.DataFrame, end_ns: float) -> tuple[Any, Any]:
    """Return (times, one row of shares a run): every run's step function on one grid."""
    import numpy as np

    grid = np.linspace(0.0, end_ns, GRID_POINTS)
    runs = []
    for _, run in rows.groupby("seed", sort=True):
        times, shares = run["time_ns"].to_numpy(), run["share"].to_numpy()
        place = np.searchsorted(times, grid, side="right") - 1
        runs.append(np.where(place >= 0, shares[np.maximum(place, 0)], 0.0))
    return grid, np.array(runs)


def _curves(axes: Axes, sampled: tuple[Any, Any], factor: float, colour: str) -> None:
    import numpy as np

    grid, shares = sampled
    times, percent = grid * factor, 100 * shares
    low, middle, high = np.quantile(percent, (0.1, 0.5, 0.9), axis=0)
    for run in percent[:LINES_MAX]:
        axes.plot(times, run, color=colour, linewidth=0.4, alpha=0.4, drawstyle="steps-post")
    axes.fill_between(times, low, high, step="post", color=colour, alpha=0.22, linewidth=0)
    axes.plot(times, middle, color=colour, linewidth=1.7, drawstyle="steps-post")


def _shade(axes: Axes, shown: Sequence[Band], factor: float, suffix: str, titles: dict[str, str]) -> None:
    """Draw fault bands: a tint, a hatch over it, a line at each end and a number on top."""
    width = axes.get_xlim()[1]
    middles = [(band.start_ns + band.stop_ns) / 2 * factor for band in shown]
    order = sorted(range(len(shown)), key=lambda index: middles[index])
    levels = dict(zip(order, draw.stack([middles[index] for index in order], 0.045 * width), strict=True))
    for index, band in enumerate(shown):
        start, stop = band.start_ns * factor, band.stop_ns * factor
        gid = band.gid + suffix
        titles[gid] = f"{band.number} {band.label}, {_span(band, factor)}"
        if band.lasts:
            axes.axvspan(start, stop, facecolor=band.colour, alpha=0.16, linewidth=0, zorder=0, gid=gid)
            axes.axvspan(
                start, stop, fill=False, hatch=band.hatch, edgecolor=draw.mixed(band.colour, 0.55), linewidth=0,
                zorder=0.1, gid=f"{gid}-hatch",
            )  # fmt: skip
        else:
            axes.axvline(start, color=draw.INK, linewidth=1, linestyle=(0, (4, 2)), zorder=0.1, gid=gid)
        axes.annotate(
            str(band.number), (middles[index], 1), (0, -8 - 11 * levels[index]), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="center", va="center", fontsize=draw.FONT_PT - 1.5, fontweight="bold",
            bbox={"boxstyle": "circle,pad=0.18", "facecolor": draw.PAPER, "edgecolor": draw.MUTED, "linewidth": 0.6},
        )  # fmt: skip


def _span(band: Band, factor: float) -> str:
    unit = {1e-9: "s", 1e-6: "ms", 1e-3: "µs", 1.0: "ns"}[factor]
    start = f"{band.start_ns * factor:g}"
    return f"{start}–{band.stop_ns * factor:g} {unit}" if band.lasts else f"from {start} {unit}"


def _divergence_legend(canvas: Canvas, shown: Sequence[Band]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], color=draw.INK, linewidth=1.7), Patch(facecolor=draw.INK, alpha=0.22)]
    canvas.legend(handles, ["median run", "middle 80 % of runs"], loc="outside upper right", ncols=2)
    if not shown:
        return
    marks: list[Any] = []
    for band in shown:
        if band.lasts:
            tint, line = draw.mixed(band.colour, 0.16), draw.mixed(band.colour, 0.55)
            marks.append(Patch(facecolor=tint, hatch=band.hatch, edgecolor=line, linewidth=0))
        else:
            marks.append(Line2D([], [], color=draw.INK, linewidth=1, linestyle=(0, (4, 2))))
    labels = [one_line(f"{band.number}  {band.label}", 64) for band in shown]
    canvas.legend(marks, labels, loc="outside lower left", ncols=1, handleheight=1.1)


@dataclass(frozen=True, slots=True)
class _Sample:
    """The convergence values of one variant in one panel."""

    variant: str
    values: Any
    censored: Any


def convergence(summary: Json, runs: pd.DataFrame, faults: pd.DataFrame) -> Figure | None:
    """Draw how convergence spreads over the runs, one panel a fault; without faults, the final convergence."""
    panels = _convergence_panels(summary, runs, faults)
    if not panels:
        return None
    shown = dict(list(panels.items())[:PANELS_MAX])
    columns = 1 if len(shown) == 1 else 2
    rows = -(-len(shown) // columns)
    edge_ns = max(_edge(samples) for samples in shown.values())
    factor, unit = draw.time_scale(edge_ns)
    names = [name for name in summary["variants"] if any(s.variant == name for group in shown.values() for s in group)]

    def painter(canvas: Canvas) -> None:
        grid = draw.flat(canvas.subplots(rows, columns, sharex=True, sharey=True, squeeze=False))
        for axes, (title, samples) in zip(grid, shown.items(), strict=False):
            axes.set_title(one_line(title, 64 // columns))
            axes.set_xlim(0, edge_ns * factor)
            axes.set_ylim(0, 104)
            axes.set_yticks([0, 25, 50, 75, 100])
            beyond = []
            for sample in samples:
                style = draw.series(list(summary["variants"]).index(sample.variant))
                beyond += _steps(axes, sample, style, edge_ns, factor, unit)
            _note_beyond(axes, beyond)
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        for axes in grid[len(shown) - columns : len(shown)]:
            axes.xaxis.set_tick_params(labelbottom=True)
        canvas.supxlabel(f"Time from the heal until the replicas agree ({unit})", fontsize=draw.FONT_PT, color=draw.INK)
        for axes in grid[::columns]:
            axes.set_ylabel("Runs that agree (%)")
        _variant_legend(canvas, summary, names)

    left = f" Only the first {PANELS_MAX} of {len(panels)} faults are drawn." if len(panels) > PANELS_MAX else ""
    return Figure(
        "convergence",
        "How long until the replicas agreed again",
        "How many runs had converged how long after the heal: the further left a curve climbs, the faster; where it "
        "crosses 50 % is the median run. A curve that ends below 100 % at a ▶ has runs that never converged before "
        "they ended; their time is unknown but longer than the one given (Kaplan–Meier)." + left,
        f"Distribution of convergence times for {plural(len(shown), 'fault')} and {plural(len(names), 'variant')}.",
        draw.paint(painter, 0.65 + (2.0 if rows == 1 else 1.55) * rows + 0.2 * -(-len(names) // LEGEND_COLUMNS)),
    )


def _convergence_panels(summary: Json, runs: pd.DataFrame, faults: pd.DataFrame) -> dict[str, list[_Sample]]:
    panels: dict[str, list[_Sample]] = {}
    for band in bands(faults, list(summary["variants"])):
        rows = faults[(faults["variant"] == band.variant) & (faults["index"] == band.number - 1)]
        sample = _sample(band.variant, rows, "convergence")
        if sample is not None and band.lasts:
            panels.setdefault(f"{band.number}  {band.label}", []).append(sample)
    if not panels and "convergence_final" in runs:
        for name in summary["variants"]:
            sample = _sample(name, runs[runs["variant"] == name], "convergence_final")
            if sample is not None:
                panels.setdefault("after the last write", []).append(sample)
    return panels


def _sample(variant: str, rows: pd.DataFrame, metric: str) -> _Sample | None:
    import numpy as np

    known = [(value.value, value.censored) for value in run_values(rows, metric) if value.value is not None]
    if not known:
        return None
    return _Sample(variant, np.array([value for value, _ in known]), np.array([flag for _, flag in known], dtype=bool))


def _edge(samples: Sequence[_Sample]) -> float:
    """Return where the axis ends: a little beyond the last run that converged, so that those can be told apart."""
    reached = [float(sample.values[~sample.censored].max()) for sample in samples if not sample.censored.all()]
    if not reached:
        return max(float(sample.values.max()) for sample in samples) or 1e9
    return max(reached) * 1.12 or 1e6


def _steps(
    axes: Axes, sample: _Sample, style: tuple[str, str, str], edge_ns: float, factor: float, unit: str
) -> list[tuple[str, str]]:
    """Draw one curve; return [(what to say about its censored runs, colour)]."""
    import numpy as np

    from lab.metrics.statistics import kaplan_meier

    colour, line, _ = style
    times, survival, _ = kaplan_meier(sample.values, sample.censored)
    keep = np.unique(np.linspace(0, len(times) - 1, min(len(times), GRID_POINTS)).round().astype(int))
    steps_ns = np.concatenate(([0.0], times[keep], [edge_ns]))
    reached = 100 * (1 - np.concatenate(([1.0], survival[keep], survival[-1:] if len(times) else [1.0])))
    axes.step(steps_ns * factor, reached, where="post", color=colour, linestyle=line, linewidth=1.6)
    if not sample.censored.any():
        return []
    axes.plot(
        [edge_ns * factor], [reached[-1]], marker=">", markersize=7, color=colour, clip_on=False, zorder=5, linestyle=""
    )
    bound = float(sample.values[sample.censored].min()) * factor
    return [
        (
            f"{one_line(sample.variant, 20)}: {sample.censored.sum()} of {len(sample.values)} > {bound:.3g} {unit}",
            colour,
        )
    ]


def _note_beyond(axes: Axes, notes: Sequence[tuple[str, str]]) -> None:
    for place, (text, _) in enumerate(reversed(notes)):
        axes.annotate(
            text, (1, 0), (-6, 7 + 11 * place), xycoords="axes fraction", textcoords="offset points", ha="right",
            va="bottom", fontsize=draw.FONT_PT - 1, bbox={"facecolor": draw.PAPER, "edgecolor": "none", "pad": 1},
        )  # fmt: skip


def _variant_legend(canvas: Canvas, summary: Json, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    if not several(summary["variants"]):
        return
    order = list(summary["variants"])
    handles = []
    for name in names:
        line: Any
        colour, line, _ = draw.series(order.index(name))
        handles.append(Line2D([], [], color=colour, linestyle=line, linewidth=1.6))
    canvas.legend(
        handles, [one_line(name, 28) for name in names], loc="outside upper left", ncols=min(LEGEND_COLUMNS, len(names))
    )


def by_name(drawn: Sequence[Figure]) -> Mapping[str, str]:
    """Return {name: SVG text}."""
    return {figure.name: figure.svg for figure in drawn}
