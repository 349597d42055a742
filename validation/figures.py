"""The figures of docs/validation.md: curves of this project's runs over the published or exact ones, as SVG files.

Sizes are fixed, so that the same code draws the same bytes: `python -m validation --figures`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log, log2
from typing import TYPE_CHECKING

import numpy as np

from lab.core import quantiles
from lab.core.budgets import GRPC
from lab.protocols.epidemic import COIN, COUNTER, NEVER, PULL, PUSH
from lab.reports.draw import INK, MUTED, paint, series
from validation.case import KEY
from validation.cases import budgets, clients, elections, epidemics, optima, quorums, rpc
from validation.world import SECOND

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Picture:
    """One figure: the group of cases that it stands under, its file name, what is in it, and who draws it."""

    group: str
    name: str
    caption: str
    painter: Callable[[Figure], None]
    height_in: float = 2.9

    @property
    def file(self) -> str:
        """Return the name of its file in docs/figures."""
        return f"validation-{self.name}.svg"

    def svg(self) -> str:
        """Run what it shows and return the SVG text."""
        return paint(self.painter, self.height_in)


def _pair(figure: Figure) -> tuple[Axes, Axes]:
    left, right = figure.subplots(1, 2)
    return left, right


def _finish(axes: Axes, x_scale: str = "linear", y_scale: str = "linear", columns: int = 2) -> None:
    """Set the scales, with plain numbers on them, and put the legend above."""
    for axis, scale in ((axes.xaxis, x_scale), (axes.yaxis, y_scale)):
        if scale == "log":
            (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
            axis.set_major_formatter(lambda value, place: f"{value:g}")
            axis.set_minor_formatter(lambda value, place: "")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, columnspacing=1.0)


def _ours(axes: Axes, number: int, x: Sequence[float], y: Sequence[float], label: str) -> None:
    colour, _, marker = series(number)
    axes.plot(x, y, linestyle="none", marker=marker, markersize=4, color=colour, label=label)


def _exact(axes: Axes, number: int, x: Sequence[float], y: Sequence[float], label: str = "") -> None:
    colour, line, _ = series(number)
    axes.plot(x, y, linestyle=line, linewidth=1.2, color=colour, label=label or None)


# Quorums

STALENESS = (("4", 1.013, 0.9429), ("1", 5.51, 0.7521), ("0.2", 31.2, 0.4873))  # rate, time of 99.9 %, P at 0
STALE_READS = 100_000


def staleness(figure: Figure) -> None:
    """Share of stale reads over time: our runs as lines, the published points as crosses."""
    left, right = _pair(figure)
    shares = [step / 8 for step in range(9)]
    for number, (rate, until, at_once) in enumerate(STALENESS):
        found = [quorums.stale(rate, 1, 1, until * part, KEY, STALE_READS).value for part in shares]
        _exact(left, number, shares, found, f"writes rate {rate}")
        left.plot([0, 1], [1 - at_once, 0.001], linestyle="none", marker="x", color=INK)
    left.set(xlabel="time / published time of 99.9 %", ylabel="share of stale reads")
    for number, (write_quorum, until, at_once) in enumerate(((1, 1.967, 0.97361), (2, 1.852, 0.97831))):
        found = [quorums.stale("SSD", 1, write_quorum, until * part, KEY, STALE_READS).value for part in shares]
        _exact(right, number, [until * part for part in shares], found, f"SSD, W={write_quorum}")
        right.plot([0, until], [1 - at_once, 0.001], linestyle="none", marker="x", color=INK)
    right.set(xlabel="ms after the acknowledgement")
    for axes in (left, right):
        _finish(axes, y_scale="log", columns=1)


# Elections

ELECTIONS = 20_000


def election_times(figure: Figure) -> None:
    """How long elections take, over the recomputed quantiles of AvailSim; split votes over their closed form."""
    left, right = _pair(figure)
    targets = ((409.3, 488.5, 826, 981), (423.1, 567.7, 1002, 1418), (463.9, 1030, 1843, 2695))
    shares = np.geomspace(1, 1 / 2000, 60)
    for failed, marks in enumerate(targets):
        times = np.sort(elections.whole(failed, 30, 40, 300, 150, KEY, ELECTIONS)[:, 0])
        longer = times[np.minimum(len(times) - 1, ((1 - shares) * len(times)).astype(np.int64))]
        _exact(left, failed, longer.tolist(), shares.tolist(), f"{failed} silent")
        left.plot(marks, (0.5, 0.1, 0.01, 0.001), linestyle="none", marker="x", color=INK)
    left.set(xlabel="ms until a lasting leader", ylabel="share that takes longer")
    _finish(left, y_scale="log")
    latencies = [step / 50 for step in range(1, 16)]
    for number, (n, s) in enumerate(((5, 5), (5, 4), (5, 3), (9, 5))):
        _exact(right, number, latencies, [elections.split_share(n, s, latency) for latency in latencies])
        places = latencies[2::4]
        found = [
            elections.split(n, s, quantiles.constant(round(latency * SECOND)), 0.5, KEY, ELECTIONS).value
            for latency in places
        ]
        _ours(right, number, places, found, f"{s} of {n} run")
    right.set(xlabel="latency in timeout ranges", ylabel="share of split votes")
    _finish(right)


# Epidemics

EPIDEMICS = 60
LEVELS = range(1, 6)  # k; the crosses are those of the published rows that were read in the source


def spreading(figure: Figure) -> None:
    """Residue over traffic with the points of Demers et al., and rounds until all know with the exact ones."""
    left, right = _pair(figure)
    counter = ((0.18, 1.7), (0.0036, 5.6), (0.0012, 6.7))
    coin = ((0.96, 0.04), (0.20, 1.6), (0.060, 2.8), (0.021, 3.9), (0.008, 4.9))
    for number, (name, stop, feedback, published) in enumerate(
        (("feedback, counter", COUNTER, 1, counter), ("blind, coin", COIN, 0, coin))
    ):
        found = [epidemics.outcomes(1000, PUSH, stop, feedback, k, 0, 120, KEY, EPIDEMICS) for k in LEVELS]
        sent, missed = [float(run["sent"].mean()) for run in found], [float(run["residue"].mean()) for run in found]
        _ours(left, number, sent, missed, name)
        left.plot([m for _, m in published], [s for s, _ in published], linestyle="none", marker="x", color=INK)
    sent = [step / 4 for step in range(28)]
    left.plot(sent, [exp(-m) for m in sent], color=MUTED, linewidth=1, label="e^-m")
    left.set(xlabel="updates sent a node, m", ylabel="share never reached")
    _finish(left, y_scale="log")
    sizes = (16, 100, 256, 1000)
    exact_rounds = {
        "push": (PUSH, (7.4138, 12.3045, 14.6700, 18.0383)), "pull": (PULL, (6.1403, 9.7932, 11.4632, 13.7671)),
    }  # fmt: skip
    for number, (name, (ways, targets)) in enumerate(exact_rounds.items()):
        rounds = [float(epidemics.outcomes(n, ways, NEVER, 0, 1, 0, 60, KEY, EPIDEMICS)["last"].mean()) for n in sizes]
        _ours(right, number, sizes, rounds, name)
        right.plot(sizes, targets, linestyle="none", marker="x", color=INK)
    places = [10 * 1.2**step for step in range(27)]
    right.plot(places, [log2(n) + log(n) for n in places], color=MUTED, linewidth=1, label="log2 n + ln n")
    right.set(xlabel="nodes", ylabel="rounds until all know")
    _finish(right, x_scale="log")


# Clients

CROWDS = (10, 20, 50, 100, 190)
CONTENDED = {10: 60, 20: 60, 50: 20, 100: 10, 190: 6}
AWS = {
    "none": ((380.9, 51.1), (607.8, 153.6), (3544, 8016)), "expo": ((3437, 50.7), (14377, 150.2), (101438, 5170)),
    "equal": ((732.8, 42.5), (1637, 107.8), (9367, 1760)), "full": ((453.4, 38.7), (1007, 100.5), (7413, 1772)),
    "decorrelated": ((437.3, 37.9), (828.5, 101.3), (7873, 2431)),
}  # fmt: skip


def backoffs(figure: Figure) -> None:
    """Update calls and time until all are done, by the number of clients that contend."""
    left, right = _pair(figure)
    for number, (policy, targets) in enumerate(AWS.items()):
        found = [clients.contended(crowd, policy, KEY, CONTENDED[crowd]).mean(axis=0) for crowd in CROWDS]
        for axes, column in ((left, 1), (right, 0)):
            _exact(axes, number, CROWDS, [float(row[column]) for row in found], policy)
            axes.plot((10, 20, 190), [row[column] for row in targets], linestyle="none", marker="x", color=INK)
    left.set(xlabel="clients", ylabel="update calls")
    right.set(xlabel="clients", ylabel="ms until all are done")
    for axes in (left, right):
        _finish(axes, "log", "log")


# Queues and hedges

JOBS = 400_000


def waiting(figure: Figure) -> None:
    """Sojourns of one server, of random and of two choices over load; what a hedge costs and gains."""
    left, right = _pair(figure)
    loads = [step / 40 for step in range(4, 37)]
    places = (0.3, 0.5, 0.7, 0.8, 0.9)
    _exact(left, 0, loads, [1 / (1 - load) for load in loads])
    _exact(left, 1, loads, [sum(load ** (2**i - 2) for i in range(1, 14)) for load in loads])
    for number, (name, servers) in enumerate((("random", 10), ("two_choices", 100))):
        found = [rpc.sojourn(name, servers, 1, load, 100_000, KEY, JOBS).value for load in places]
        _ours(left, number, places, found, name.replace("_", " "))
    left.set(xlabel="load", ylabel="sojourn in service times")
    _finish(left, y_scale="log")
    delays = [2 + step / 2 for step in range(60)]
    _exact(right, 2, [_tail(d) for d in delays], [_hedged_p999(d) for d in delays], "exact")
    found_delays = (6.0, 10.639, 14.6, 20.122, 24.684)
    runs = [optima.hedged(delay, KEY, JOBS) for delay in found_delays]
    _ours(right, 2, [extra for _, extra in runs], [float(np.quantile(times, 0.999)) for times, _ in runs], "our runs")
    right.set(xlabel="extra requests an operation", ylabel="p99.9 latency, ms")
    _finish(right, x_scale="log")


def _tail(x: float) -> float:
    """P(X > x) of the write leg of LNKD-DISK, x in ms."""
    if x <= 0:
        return 1.0
    return 1 - 0.38 * quorums.pareto_cdf(1.05, 1.51, x) - 0.62 * quorums.exponential_cdf(0.183, x)


@lru_cache(maxsize=256)
def _hedged_p999(delay_ms: float) -> float:
    low, high = 0.0, 1000.0
    for _ in range(60):
        middle = (low + high) / 2
        if _tail(middle) * (_tail(middle - delay_ms) if middle > delay_ms else 1.0) > 0.001:
            low = middle
        else:
            high = middle
    return high


# Collapses


def collapsing(figure: Figure) -> None:
    """Answers an operation long after ten slow seconds, over load: with and without a budget of retries."""
    axes = figure.subplots()
    rates = tuple(range(60, 281, 20))
    rows: list[tuple[str, rpc.Params]] = [
        ("two attempts", ()), ("no retry", (("attempts", 1),)),
        ("two attempts, gRPC throttle", (("budget", GRPC), ("budget_ppm", 100_000))),
    ]  # fmt: skip
    for number, (name, changes) in enumerate(rows):
        found = [budgets.late_goodput(changes, rate, 400, KEY, 4).value for rate in rates]
        colour, line, marker = series(number)
        axes.plot(rates, found, color=colour, linestyle=line, marker=marker, markersize=4, label=name)
    axes.axvspan(150, 300, color=MUTED, alpha=0.12, linewidth=0)
    axes.annotate("published as vulnerable: 150/s to 300/s", (154, 0.5), color=MUTED)
    axes.set(xlabel="operations a second (the service does 300/s)", ylabel="answers an operation", ylim=(-0.05, 1.05))
    _finish(axes, columns=3)


PICTURES = (
    Picture("quorums", "staleness", "Stale reads over the time since the acknowledgement (lines: our runs; crosses:"
            " PBS, Bailis et al. 2012, recomputed)", staleness),
    Picture("elections", "elections", "Left: time until a lasting leader (lines: our runs; crosses: quantiles of"
            " AvailSim recomputed). Right: split votes (lines: closed form of Ongaro 2014; markers: our runs)",
            election_times),
    Picture("epidemics", "epidemics", "Left: residue over traffic (markers: our runs; crosses: Demers et al. 1987,"
            " Tables 1 and 2; line: s = exp(-m)). Right: rounds until all know (markers: our runs; crosses: exact)",
            spreading),
    Picture("clients", "backoff", "Contending clients (lines: our runs; crosses: the simulator of Brooker 2015,"
            " recomputed)", backoffs),
    Picture("queues", "queues", "Left: sojourn over load (lines: M/M/1 and the mean field of two choices; markers: our"
            " runs). Right: what a hedge gains for what it costs (line: exact; markers: our runs)", waiting),
    Picture("rpc", "collapse", "A collapse that outlasts its cause: answers an operation 350 s after ten slow seconds",
            collapsing),
)  # fmt: skip
