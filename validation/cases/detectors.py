"""Failure detectors: mistakes and detection times of a fixed timeout, phi-accrual and SWIM."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from math import erfc, sqrt
from typing import Any

from lab.core import quantiles
from lab.engines import compiled
from lab.engines.scenario import Scenario
from lab.model.effects import Keep, Outage
from lab.protocols.heartbeat import Heartbeat
from lab.protocols.phi_accrual import PhiAccrual
from lab.protocols.swim import Swim
from validation.case import Case, Estimate, exact, mean, ratio, seeds
from validation.world import MS, SECOND, Leg, Table, between, constant, world

GROUP = "detectors"
BATCHES = 20
PERIOD_MS = 100
DAS = "Das, Gupta & Motivala 2002, SWIM"
HAYASHIBARA = "Hayashibara, Defago, Yared & Katayama 2004"


# Fixed timeout


def pair(protocol: Any, params: dict[str, int], leg: Leg, beats: int, outages: tuple[Outage, ...] = ()) -> Scenario:
    """Return two nodes that watch each other for so many periods."""
    return world(
        protocol, params, nodes=2, horizon_ns=beats * PERIOD_MS * MS, leg=between(2, leg), outages=outages,
    )  # fmt: skip


@lru_cache(maxsize=16)
def beaten(timeout_ms: int, table: Table, loss_ppm: int, key: int, n: int) -> Mapping[str, Any]:
    """Return the counters of runs with n beats in all."""
    params = {"period_ns": PERIOD_MS * MS, "timeout_ns": timeout_ms * MS}
    scenario = pair(Heartbeat, params, Leg(table, loss_ppm), n // (2 * BATCHES))
    return compiled.run_many(scenario, seeds(key, BATCHES)).counters


def mistakes(timeout_ms: int, table: Table, loss_ppm: int, key: int, n: int) -> Estimate:
    """Return suspicions of living nodes a beat."""
    counters = beaten(timeout_ms, table, loss_ppm, key, n)
    return ratio(counters["suspicions"], counters["beats"])


def duration(timeout_ms: int, table: Table, loss_ppm: int, key: int, n: int) -> Estimate:
    """Return how long a wrong suspicion lasts, in periods."""
    counters = beaten(timeout_ms, table, loss_ppm, key, n)
    return ratio(counters["suspected_ns"] / (PERIOD_MS * MS), counters["returns"])


def detection(timeout_ms: int, loss_ppm: int, key: int, runs: int) -> Estimate:
    """Return the mean time from a crash to its suspicion, in periods; the delay is 10 ms."""
    crash_ns = 5 * SECOND
    params = {"period_ns": PERIOD_MS * MS, "timeout_ns": timeout_ms * MS}
    crash = (Outage("n0", crash_ns, 20 * SECOND, Keep.DURABLE),)
    scenario = pair(Heartbeat, params, Leg(constant(10 * MS), loss_ppm), 100, crash)
    found = [history.marks.time_ns[-1] - crash_ns for history in compiled.histories(scenario, seeds(key, runs))]
    return mean([time_ns / (PERIOD_MS * MS) for time_ns in found])


def normal_tail(z: float) -> float:
    """P(Z > z) of the standard normal law."""
    return erfc(z / sqrt(2)) / 2


def _heartbeats() -> list[Case]:
    cases = []
    still = constant(10 * MS)
    for p in (0.05, 0.1, 0.2):
        for needed in (1, 2, 3):
            ppm, timeout_ms = round(p * 1e6), needed * PERIOD_MS + 50
            text = f"heartbeat protocol, constant delay, loss {p:g}, timeout of {needed}.5 periods; "
            name = f"heartbeats, loss {p:g}, timeout {needed}.5 periods"
            cases += [
                Case(
                    f"{name}: mistakes a beat", GROUP, text + "suspicions of the living a beat",
                    f"a run of {needed} lost beats or more begins: q p^{needed}",
                    partial(mistakes, timeout_ms, still, ppm), (1 - p) * p**needed, full=4_000_000, small=400_000,
                ),
                Case(
                    f"{name}: duration", GROUP, text + "mean length of a wrong suspicion in periods",
                    "geometric law: .5 + p / q", partial(duration, timeout_ms, still, ppm), 0.5 + p / (1 - p),
                    full=4_000_000, small=400_000,
                ),
            ]  # fmt: skip
    laws = [
        ("U[0, 80 ms]", quantiles.uniform(0, 80 * MS), 120, (1 - 20 / 80) ** 2 / 2, 0.0),
        ("U[0, 80 ms]", quantiles.uniform(0, 80 * MS), 150, (1 - 50 / 80) ** 2 / 2, 0.0),
        ("N(50, 10) ms", quantiles.normal(50 * MS, 10 * MS), 120, normal_tail(20 / 200**0.5), 0.001),
        ("N(50, 10) ms", quantiles.normal(50 * MS, 10 * MS), 130, normal_tail(30 / 200**0.5), 0.005),
    ]  # fmt: skip
    cases += [
        Case(
            f"heartbeats, delay {name}, timeout {timeout_ms} ms: mistakes a beat", GROUP,
            f"heartbeat protocol, period 100 ms, delay {name}; suspicions a beat"
            + (f"; slack {slack:.1%} for the ends of the link table" if slack else ""),
            "P(D' - D > timeout - period)", partial(mistakes, timeout_ms, table, 0), target, full=4_000_000,
            small=100_000, slack=slack * target,
        )
        for name, table, timeout_ms, target, slack in laws
    ]  # fmt: skip
    cases += [
        Case(
            f"heartbeats, loss {p:g}: time to detect a crash", GROUP,
            "heartbeat protocol, timeout of 6.5 periods, delay .1 period, crash at a random phase; mean, in periods"
            + ("; slack for those that were suspected already" if p else ""),
            "timeout + delay - 1/2 - p/q", partial(detection, 650, round(p * 1e6)), 6.5 + 0.1 - 0.5 - p / (1 - p),
            full=100_000, small=2000, slack=p**6,
        )
        for p in (0.0, 0.1, 0.2)
    ]  # fmt: skip
    return cases


# phi-accrual


def threshold_ms(phi: float, key: int, n: int) -> Estimate:
    """Return when phi reaches a value for a mean of 100 ms and a deviation of 10 ms."""
    return exact(100 + 10 * PhiAccrual().quantile_of(round(phi * 1e6)) / 1e6)


def accrual_mistakes(milliphi: int, window: int, key: int, n: int) -> Estimate:
    """Return suspicions of living nodes a beat, normal delays with deviation 5 ms, once windows are full.

    A run to an earlier horizon is the beginning of a longer one, so the difference of their counters is the rest.
    """
    params = {
        "period_ns": PERIOD_MS * MS, "threshold_milliphi": milliphi, "window": window, "interval_max_ns": 10 * SECOND,
        "deviation_min_ns": 0, "pause_ns": 0,
    }  # fmt: skip
    leg = Leg(quantiles.normal(50 * MS, 5 * MS))
    early, late = (
        compiled.run_many(pair(PhiAccrual, params, leg, beats), seeds(key, BATCHES)).counters
        for beats in (2 * window, 2 * window + n // (2 * BATCHES))
    )
    return ratio(late["suspicions"] - early["suspicions"], late["beats"] - early["beats"])


def _accrual() -> list[Case]:
    rows = [(1, 112.816), (2, 123.264), (3, 130.902), (5, 142.649), (8, 156.120)]
    cases = [
        Case(
            f"phi-accrual, N(100, 10) ms: timeout for phi = {phi}", GROUP,
            "integer tail of the phi-accrual protocol inverted; ms; slack for its error of .0013 in phi",
            HAYASHIBARA + ": mean + z deviations", partial(threshold_ms, phi), target, full=1, small=1, slack=0.02,
        )
        for phi, target in rows
    ]  # fmt: skip
    cases += [
        Case(
            f"phi-accrual, threshold {phi:g}: mistakes a beat", GROUP,
            "phi-accrual protocol, full windows of 1000 intervals, normal delays; suspicions a beat; slack for the"
            f" integer tail (.3 %) and for a deviation known from 1000 intervals ({slack:.1%})",
            HAYASHIBARA + ": 10^-phi",
            partial(accrual_mistakes, round(1000 * phi), 1000), 10**-phi, full=2_000_000, small=200_000,
            slack=(0.003 + slack) * 10**-phi, confidence="C",
        )
        for phi, slack in ((0.5, 0.005), (1.0, 0.01), (2.0, 0.02))
    ]  # fmt: skip
    return cases


# SWIM


def swim(
    nodes: int, horizon_ns: int, *, helpers: int = 0, order: int = 0, loss: float = 0.0, is_one_down: bool = False,
    rumours: int = 0, suspicion_ns: int = 0,
) -> Scenario:  # fmt: skip
    """Return a cluster with periods of one second; without rumours every node finds out for itself."""
    params = {
        "period_ns": SECOND, "direct_ns": 300 * MS, "helpers": helpers, "suspicion_ns": suspicion_ns,
        "rumours": rumours, "spread": 3, "order": order,
    }  # fmt: skip
    silent = (Outage("n0", 0, horizon_ns + 1, Keep.DURABLE),) if is_one_down else ()
    leg = Leg(constant(10 * MS), round(loss * 1e6))
    return world(Swim, params, nodes=nodes, horizon_ns=horizon_ns, leg=between(nodes, leg), outages=silent)


def false_suspicion(loss: float, helpers: int, key: int, n: int) -> Estimate:
    """Return the share of probes of living nodes without ack; a suspicion never ends in death."""
    nodes = 20
    horizon_ns = n // (nodes * BATCHES) * SECOND
    scenario = swim(nodes, horizon_ns, helpers=helpers, loss=loss, suspicion_ns=2 * horizon_ns)
    counters = compiled.run_many(scenario, seeds(key, BATCHES)).counters
    return ratio(counters["failed"], counters["probes"])


@lru_cache(maxsize=8)
def periods(nodes: int, order: int, horizon_s: int, key: int, runs: int) -> list[list[int]]:
    """Return, a run, in which of its periods each node failed to reach one that never ran; verdicts end a period."""
    scenario = swim(nodes, horizon_s * SECOND, order=order, is_one_down=True)
    return [
        [
            (time_ns - SECOND + 1) // SECOND + 1
            for time_ns in history.marks.time_ns[history.marks.rows("suspected")].tolist()
        ]
        for history in compiled.histories(scenario, seeds(key, runs))
    ]


def first_detection(nodes: int, key: int, runs: int) -> Estimate:
    """Return the periods until the first node finds out."""
    return mean([min(found) for found in periods(nodes, 0, 40, key, runs)])


def own_detection(nodes: int, order: int, horizon_s: int, what: str, key: int, runs: int) -> Estimate:
    """Return the mean or the largest number of periods until a node finds out for itself."""
    found = periods(nodes, order, horizon_s, key, runs)
    assert all(len(times) == nodes - 1 for times in found)
    if what == "largest":
        return exact(max(max(times) for times in found))
    return mean([sum(times) / len(times) for times in found])


def _swim() -> list[Case]:
    cases = [
        Case(
            f"SWIM protocol, {n} nodes: periods to the first detection", GROUP,
            f"swim protocol of the lab, {n} nodes of which one never ran, random order", DAS
            + ": 1 / (1 - (1 - 1/(n-1))^(n-1)), e/(e-1) in the limit", partial(first_detection, n),
            1 / (1 - (1 - 1 / (n - 1)) ** (n - 1)), full=full, small=small,
        )
        for n, full, small in ((10, 20_000, 400), (40, 2000, 60), (100, 400, 30))
    ]  # fmt: skip
    cases += [
        Case(
            f"SWIM protocol, loss {p:g}, 3 helpers: probes without ack", GROUP,
            "swim protocol of the lab, 20 living nodes, suspicions that never end in death; share of probes",
            DAS + ": (1-q^2)(1-q^4)^k", partial(false_suspicion, p, 3), (1 - (1 - p) ** 2) * (1 - (1 - p) ** 4) ** 3,
            full=2_000_000, small=100_000,
        )
        for p in (0.05, 0.1, 0.2)
    ]  # fmt: skip
    text = "swim protocol of the lab, 10 nodes of which one never ran, no rumours, {}; periods until a node finds out"
    cases += [
        Case(
            "SWIM protocol, random order: own detection", GROUP, text.format("random order"), "geometric law: n - 1",
            partial(own_detection, 10, 0, 250, "mean"), 9.0, full=10_000, small=300,
        ),
        Case(
            "SWIM protocol, in turn: own detection", GROUP, text.format("in turn from a random one"),
            "uniform law: n / 2", partial(own_detection, 10, 1, 20, "mean"), 5.0, full=10_000, small=300,
        ),
        Case(
            "SWIM protocol, in turn: the latest own detection", GROUP, text.format("in turn") + ", the largest",
            DAS + ": bounded by the length of the list, n - 1", partial(own_detection, 10, 1, 20, "largest"), 9.0,
            full=10_000, small=300,
        ),
    ]  # fmt: skip
    return cases


CASES = [*_heartbeats(), *_accrual(), *_swim()]
CONTROLS = [
    Case(
        "control: loss .12 for .1", GROUP, "loss .12 held against the mistakes of .1", "q p^2",
        partial(mistakes, 250, constant(10 * MS), 120_000), 0.009, full=400_000, small=400_000, flaw="more loss",
    ),
    Case(
        "control: timeout 125 for 120 ms", GROUP, "timeout 125 ms held against the mistakes of 120 ms", "P(D' - D > x)",
        partial(mistakes, 125, quantiles.uniform(0, 80 * MS), 0), 0.28125, full=100_000, small=100_000,
        flaw="detector more patient",
    ),
    Case(
        "control: phi 1.1 for 1", GROUP, "threshold 1.1 held against the mistakes of 1", HAYASHIBARA,
        partial(accrual_mistakes, 1100, 1000), 0.1, full=200_000, small=200_000, slack=0.0013,
        flaw="higher threshold",
    ),
    Case(
        "control: five intervals for 1000", GROUP, "a window of 5 held against the law of a known deviation",
        HAYASHIBARA, partial(accrual_mistakes, 2000, 5), 0.01, full=200_000, small=200_000, slack=0.00023,
        flaw="deviation badly known",
    ),
    Case(
        "control: in turn for random order", GROUP, "probing in turn held against the geometric law", DAS,
        partial(own_detection, 10, 1, 20, "mean"), 9.0, full=300, small=300, flaw="another order",
    ),
    Case(
        "control: two helpers of the lab's protocol for three", GROUP, "2 helpers held against 3", DAS,
        partial(false_suspicion, 0.2, 2), 7.409e-2, full=100_000, small=100_000, flaw="one helper fewer",
    ),
]  # fmt: skip
