"""How every figure looks, and how matplotlib's SVG becomes small, repeatable and fit to stand inside a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from html import escape
from itertools import chain
from typing import TYPE_CHECKING, Any

from lab.reports.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1b1f24"
MUTED = "#59626d"
RULE = "#d9dee4"
PAPER = "#ffffff"
WIDTH_IN = 5.6  # shown at 400 px this leaves the smallest text at 8 px
FONT_PT = 9.0

# (colour, line style, marker): after Okabe & Ito, so that they differ for colour-blind readers, and in grey by style.
SERIES: tuple[tuple[str, str, str], ...] = (
    ("#0072b2", "-", "o"),
    ("#d55e00", "--", "s"),
    ("#009e73", "-.", "^"),
    ("#882255", ":", "D"),
    ("#56b4e9", "-", "v"),
    ("#e69f00", "--", "P"),
    ("#59626d", "-.", "X"),
)

RC: Any = {
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud, and the file is small
    "svg.hashsalt": "driftlab",
    "text.parse_math": False,  # a `$` in a name is a dollar sign
    "font.family": ["DejaVu Sans"],
    "font.size": FONT_PT,
    "axes.titlesize": FONT_PT,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": FONT_PT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": FONT_PT - 0.5,
    "ytick.labelsize": FONT_PT - 0.5,
    "legend.fontsize": FONT_PT - 0.5,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "hatch.linewidth": 0.6,
    "figure.facecolor": PAPER,
    "path.simplify": True,
}

# In a page these follow its light or dark colours.
_PAGE_COLOURS = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)", PAPER: "var(--paper)"}
_TIME_SCALES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_HATCH = re.compile(r"[/\\|+xXoO.*-]{0,6}")


def series(index: int) -> tuple[str, str, str]:
    """Return (colour, line style, marker) of the variant at `index`; after seven, colours return with other lines."""
    turn, place = divmod(index, len(SERIES))
    return (SERIES[place][0], SERIES[(place + turn) % 4][1], SERIES[(place + 3 * turn) % len(SERIES)][2])


def time_scale(greatest_ns: float) -> tuple[float, str]:
    """Return (factor, unit) in which times up to `greatest_ns` read best on an axis."""
    for size, unit in _TIME_SCALES:
        if greatest_ns >= 2 * size:
            return 1 / size, unit
    return (1.0, "ns") if greatest_ns > 0 else (1e-9, "s")


def safe_colour(text: object) -> str:
    """Return a colour as `#rrggbb`, grey where stored text is none."""
    return str(text) if _COLOUR.fullmatch(str(text)) else MUTED


def safe_hatch(text: object) -> str:
    """Return a hatch matplotlib knows, else a plain one."""
    return str(text) if _HATCH.fullmatch(str(text)) else "//"


def mixed(colour: str, share: float) -> str:
    """Return `colour` mixed with white: `share` 0 is white, 1 the colour itself."""
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(255 - (255 - part) * share):02x}" for part in parts)


def paint(painter: Callable[[Figure], None], height_in: float) -> str:
    """Return the SVG text of a figure that `painter` fills; the same drawing gives the same bytes."""
    import io

    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        FigureCanvasSVG(figure)
        painter(figure)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    return _tidy(buffer.getvalue())


def _tidy(svg: str) -> str:
    """Drop what names an address or repeats itself and round coordinates to hundredths of a point.

    No pattern reaches over a `<`: a label is text between tags, so none can make a pattern eat a tag.
    """
    svg = re.sub(r"<!DOCTYPE[^>]*>\s*", "", svg)
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"; font-family: [^;\"<]*", "", svg)
    root = "font-family: 'DejaVu Sans', Verdana, sans-serif; stroke-linejoin: round; stroke-linecap: butt"
    svg = svg.replace("<svg ", f'<svg style="{root}" ', 1)
    return re.sub(r'(?<= )(d|x|y|width|height|transform)="([^"<]*)"', _rounded, svg)


def entitle(svg: str, titles: Mapping[str, str]) -> str:
    """Return the SVG with texts shown when a reader points at a group; `titles` maps group ids to them."""
    for name, title in titles.items():
        svg = svg.replace(f'<g id="{name}">', f'<g id="{name}"><title>{escape(one_line(title))}</title>', 1)
    return svg


def _rounded(match: re.Match[str]) -> str:
    def number(found: re.Match[str]) -> str:
        text = f"{float(found.group()):.2f}".rstrip("0").rstrip(".")
        return "0" if text == "-0" else text

    numbers = re.sub(r"-?\d+\.\d+", number, match.group(2))
    return f'{match.group(1)}="{" ".join(numbers.split())}"'


def embed(svg: str, name: str, label: str) -> str:
    """Return the SVG as an element of an HTML page.

    Ids get `name` in front, because all figures of a page share one name space; the groups `fault-N` keep theirs.
    Colours follow the page. `label` is read aloud in place of the figure.
    """
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r'\s(?:xmlns(?::xlink)?|version)="[^"]*"', "", svg, count=3)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r'(\bid="|\bhref="#|url\(#)(?!fault-)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    for colour, variable in _PAGE_COLOURS.items():
        svg = svg.replace(f": {colour}", f": {variable}")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(one_line(label))}" ', 1)


def share_axis(axes: Axes, greatest: float) -> None:
    """Label the vertical axis, whose values are percent, from 0 to a little above the greatest."""
    axes.set_ylim(0, min(100.0, greatest * 1.08) if greatest > 0 else 1.0)


def stack(rows: Iterator[float] | list[float], gap: float) -> list[int]:
    """Return a level for each place of an ascending list so that places on one level are at least `gap` apart."""
    last: list[float] = []
    levels = []
    for place in rows:
        level = next((number for number, taken in enumerate(last) if place - taken >= gap), len(last))
        last[level : level + 1] = [place]
        levels.append(level)
    return levels


def flat(axes: Any) -> list[Axes]:
    """Return a grid of axes as a list, row by row."""
    return list(chain.from_iterable(axes))
