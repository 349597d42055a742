"""Broadcast by flooding: message counts to the last message, stable latencies of the Maelstrom challenge."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from lab.core import quantiles
from lab.engines import compiled
from lab.engines.scenario import Scenario
from lab.protocols import flood
from lab.protocols.flood import Flood
from validation.case import Case, Estimate, exact, mean, seeds
from validation.world import MS, SECOND, Leg, Table, between, constant, workload, world

GROUP = "broadcasts"
MAELSTROM = "Maelstrom, documentation chapter on broadcast"
TOPOLOGIES = {
    "grid": (flood.GRID, 5), "line": (flood.LINE, 0), "total": (flood.TOTAL, 0), "tree4": (flood.TREE, 4),
}  # fmt: skip
BROADCASTS = 100  # a run
QUANTILES = (0.5, 0.95, 0.99, 1.0)


def network(topology: str, nodes: int, echo: int, reads_ppm: int, delay: Table, seconds: float) -> Scenario:
    """Return a broadcast network under 100 operations a second."""
    kind, width = TOPOLOGIES[topology]
    width = 2 if nodes == 5 and topology == "grid" else width  # the published 5-node grid is 2 wide, the last row short
    params = {"topology": kind, "width": width, "echo": echo, "reads_ppm": reads_ppm}
    return world(
        Flood, params, nodes=nodes, horizon_ns=round((seconds + 10) * 1e9), leg=between(nodes, Leg(delay)),
        workload=workload("poisson(100/s)", f"{round(seconds * 1000)}ms"),
    )  # fmt: skip


def messages(topology: str, nodes: int, echo: int, law: str, key: int, runs: int) -> Estimate:
    """Return messages between nodes a broadcast, the same in every run or an AssertionError."""
    delay = quantiles.exponential(100 * MS) if law == "exponential" else constant(100 * MS)
    columns = compiled.run_many(network(topology, nodes, echo, 0, delay, 2), seeds(key, runs))
    counts = columns.counters["forwarded"] / columns.operations
    assert len(set(counts.tolist())) == 1
    return exact(counts[0])


@lru_cache(maxsize=16)
def stable_ms(topology: str, law: str, delay_ms: int, key: int, runs: int) -> NDArray[np.float64]:
    """Return the quantiles of the stable latency, a row a run: last read that missed a value minus its ack, ms."""
    delay = quantiles.exponential(delay_ms * MS) if law == "exponential" else constant(delay_ms * MS)
    scenario = network(topology, 25, 0, 500_000, delay, 20)
    rows = []
    for history in compiled.histories(scenario, seeds(key, runs)):
        applies = history.applies
        is_read = applies.sequence == flood.READ_SERVED
        reads = [np.sort(applies.time_ns[is_read & (applies.replica == node)]) for node in range(25)]
        missed = np.zeros(len(history.operations), dtype=np.int64)
        for node, token, time_ns in zip(
            applies.replica[~is_read], applies.token[~is_read], applies.time_ns[~is_read], strict=True
        ):
            before = np.searchsorted(reads[node], time_ns) - 1  # the last read here that came before the value
            if before >= 0:
                missed[token] = max(missed[token], reads[node][before])
        sent = history.operations.outcome == 1
        latency = np.maximum(0, missed[sent] - history.operations.acknowledged_ns[sent]) / MS
        rows.append(np.quantile(latency, QUANTILES, method="inverted_cdf"))
    return np.array(rows)


def stable(topology: str, law: str, delay_ms: int, column: int, key: int, runs: int) -> Estimate:
    """Return the mean over runs of a quantile of the stable latency, ms."""
    return mean(stable_ms(topology, law, delay_ms, key, runs)[:, column])


@lru_cache(maxsize=16)
def hops(topology: str, law: str, key: int, runs: int) -> NDArray[np.float64]:
    """Return, for each broadcast, how long it took to reach everyone, in mean delays of a link.

    Broadcasts are 10 s apart, so that each has the network to itself.
    """
    delay = quantiles.exponential(100 * MS) if law == "exponential" else constant(100 * MS)
    kind, width = TOPOLOGIES[topology]
    scenario = world(
        Flood, {"topology": kind, "width": width, "echo": 0, "reads_ppm": 0}, nodes=25,
        horizon_ns=10 * (BROADCASTS + 1) * SECOND, leg=between(25, Leg(delay)),
        workload=workload("constant(0.1/s)", f"{10 * BROADCASTS}s"),
    )  # fmt: skip
    spread = []
    for history in compiled.histories(scenario, seeds(key, runs)):
        times = history.applies.time_ns[np.argsort(history.applies.token, kind="stable")].reshape(-1, 25)
        spread.append((times.max(axis=1) - times.min(axis=1)) / (100 * MS))
    return np.concatenate(spread)


def hops_mean(topology: str, law: str, key: int, runs: int) -> Estimate:
    """Return the mean of `hops`."""
    return mean(hops(topology, law, key, runs))


def hops_most(topology: str, law: str, key: int, runs: int) -> Estimate:
    """Return the largest of `hops`."""
    return exact(float(hops(topology, law, key, runs).max()))


def _hops() -> list[Case]:
    text = "flood protocol, {} of 25 nodes, {} delays, a random origin; {} time to reach everyone, in mean delays"
    rows = [
        ("line", "constant", 18.24, 24, 0.0), ("grid", "constant", 6.40, 8, 0.0), ("tree4", "constant", 4.56, 5, 0.0),
        ("total", "constant", 1.0, 1, 0.0), ("grid", "exponential", 3.740, None, 0.007),
        ("total", "exponential", 0.3005, None, 0.0005),
    ]  # fmt: skip
    cases = []
    for topology, law, average, most, error in rows:
        cases.append(
            Case(
                f"propagation, {topology}, {law}: mean", GROUP, text.format(topology, law, "mean"),
                "eccentricities of the graph" if law == "constant" else "own computation of first passage times",
                partial(hops_mean, topology, law), average, full=200, small=8, target_error=error,
            )
        )  # fmt: skip
        if most is not None:
            cases.append(
                Case(
                    f"propagation, {topology}, {law}: largest", GROUP, text.format(topology, law, "largest"),
                    "diameter of the graph", partial(hops_most, topology, law), most, full=200, small=8,
                )
            )  # fmt: skip
    return cases


def _counts() -> list[Case]:
    rows = [
        ("grid", 5, 1, 10), ("grid", 5, 0, 6), ("grid", 25, 0, 56), ("line", 25, 0, 24), ("total", 25, 0, 576),
        ("tree4", 25, 0, 24),
    ]  # fmt: skip
    return [
        Case(
            f"messages a broadcast, {topology} of {n}{', echo' if echo else ''}, {law} latency", GROUP,
            f"flood protocol, {topology} of {n} nodes; messages between nodes a broadcast",
            MAELSTROM + "; sum of degrees - (n - 1), with echo the sum of degrees",
            partial(messages, topology, n, echo, law), target, full=20, small=3,
        )
        for topology, n, echo, target in rows
        for law in ("constant", "exponential")
    ]  # fmt: skip


def _latencies() -> list[Case]:
    rows = [
        ("grid", "constant", 100, (476, 683, 763, 797)), ("grid", "exponential", 100, (240, 436, 534, 722)),
        ("tree4", "constant", 100, (392, 493, 498, 500)), ("total", "constant", 100, (87, 99, 100, 100)),
        ("line", "constant", 10, (104, 190, 215, 235)),
    ]  # fmt: skip
    return [
        Case(
            f"stable latency, {topology}, {law} {delay} ms: {name}", GROUP,
            f"flood protocol, {topology} of 25 nodes, half reads, 100 operations/s; {name}, ms; slack 3 ms + 2 %",
            MAELSTROM + ", recomputed", partial(stable, topology, law, delay, column), target, full=100, small=4,
            slack=3 + 0.02 * target, confidence="B",
        )
        for topology, law, delay, targets in rows
        for column, (name, target) in enumerate(zip(("median", "p95", "p99", "maximum"), targets, strict=True))
    ]  # fmt: skip


CASES = [*_counts(), *_hops(), *_latencies()]
CONTROLS = [
    Case(
        "control: echo for none", GROUP, "messages with echo held against the count without", MAELSTROM,
        partial(messages, "grid", 25, 1, "constant"), 56, full=3, small=3, flaw="forwards to the sender too",
    ),
    Case(
        "control: a line for a grid", GROUP, "propagation over a line held against that over a grid", "eccentricities",
        partial(hops_mean, "line", "constant"), 6.4, full=8, small=8, flaw="another topology",
    ),
    Case(
        "control: delay doubled", GROUP, "200 ms held against the target of 100 ms", MAELSTROM,
        partial(stable, "grid", "constant", 200, 0), 476, full=3, small=3, slack=13, flaw="delay doubled",
    ),
]  # fmt: skip
