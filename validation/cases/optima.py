"""Settings whose best value is known: restarts on a timeout, and hedges under a budget of extra requests."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from math import erf, exp, log, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lab.core import quantiles
from lab.engines import compiled
from lab.protocols.rpc import Rpc
from validation.case import Case, Estimate, exact, flawed, mean, seeds, share
from validation.cases.quorums import disk
from validation.cases.rpc import PLAIN, UNBOUNDED, batches, latency_ns
from validation.world import IDEAL, MS, SECOND, Leg, Table, workload, world

GROUP = "optima"
UNIT_NS = 10 * MS  # the scale of the laws
RESTARTS = "E(TO) = (integral of S from 0 to TO) / F(TO)"
GRID = tuple(round(1.2**step, 4) for step in range(-10, 16))  # timeouts that are tried, in units


# Restarts


@lru_cache(maxsize=8)
def law(name: str) -> Table:
    """Return the table of a law: exponential, pareto-SHAPE or lognormal-SIGMA."""
    kind, _, number = name.partition("-")
    if kind == "exponential":
        return quantiles.exponential(UNIT_NS)
    if kind == "pareto":
        return quantiles.from_inverse(lambda p: UNIT_NS * (1 - p) ** (-1 / float(number)))
    return quantiles.from_inverse(lambda p: UNIT_NS * exp(float(number) * NormalDist().inv_cdf(p)))


def tail(name: str, x: float) -> float:
    """P(X > x) of a law, x in units."""
    kind, _, number = name.partition("-")
    if kind == "exponential":
        return exp(-x)
    if kind == "pareto":
        return min(1.0, x ** -float(number)) if x > 0 else 1.0
    return 0.5 - 0.5 * erf(log(x) / float(number) / sqrt(2)) if x > 0 else 1.0


def restarted_exactly(name: str, timeout: float) -> float:
    """Return the mean time to an answer when every attempt is abandoned after `timeout` units: by Simpson's rule."""
    steps = 20_000
    edges = [tail(name, timeout * place / steps) for place in range(steps + 1)]
    whole = (edges[0] + edges[-1] + 4 * sum(edges[1::2]) + 2 * sum(edges[2:-1:2])) * timeout / steps / 3
    return whole / (1 - edges[-1]) if edges[-1] < 1 else float("inf")


@lru_cache(maxsize=64)
def restarted_ns(name: str, timeout: float, key: int, n: int) -> NDArray[np.int64]:
    """Return latencies of operations that are attempted again, at once, whenever the timeout passes."""
    changes = {
        **UNBOUNDED, "service_law": 0, "service_ns": 0, "attempts": 62, "timeout_ns": round(timeout * UNIT_NS),
    }  # fmt: skip
    return _latencies(tuple(changes.items()), law(name), 1, 100.0, key, n)[0]


def _latencies(
    changes: tuple[tuple[str, int], ...], request: Table, servers: int, rate: float, key: int, n: int
) -> tuple[NDArray[np.int64], float]:
    """Return (latencies, hedges an operation) of calls whose requests alone take time."""
    params = PLAIN | dict(changes)
    seconds = n / batches(n) / rate
    scenario = world(
        Rpc, params, nodes=servers, horizon_ns=round((seconds + 200) * SECOND),
        workload=workload(f"poisson({rate:g}/s)", f"{round(seconds * 1000)}ms"),
        leg=lambda source, target: Leg(request) if target < servers else IDEAL,
    )  # fmt: skip
    times, hedges, operations = [], 0, 0
    for history in compiled.histories(scenario, seeds(key, batches(n))):
        times.append(latency_ns(history))
        hedges += history.counters["hedges"]
        operations += len(history.operations)
    return np.concatenate(times), hedges / operations


def restarted(name: str, timeout: float, key: int, n: int) -> Estimate:
    """Return the mean time to an answer in units."""
    return mean(restarted_ns(name, timeout, key, n) / UNIT_NS)


def chosen(name: str, least: float, key: int, n: int) -> Estimate:
    """Return, in shares of the least, the exact mean at the timeout of GRID that does best in simulation."""
    found = {
        timeout: float(np.mean(restarted_ns(name, timeout, key, n))) for timeout in GRID if tail(name, timeout) < 0.9
    }
    return exact(restarted_exactly(name, min(found, key=lambda timeout: found[timeout])) / least)


def _restarts() -> list[Case]:
    text = "rpc protocol, request of law {}, the answer at once, an attempt abandoned and made anew after {}; {}"
    optima = [
        ("pareto-1.5", 3.41825, 2.278831), ("pareto-3", 4.47503, 1.491677), ("lognormal-1", 1.73164, 1.471025),
        ("lognormal-1.5", 0.34889, 1.273294),
    ]  # fmt: skip
    rows = [("exponential", timeout, 1.0) for timeout in (0.5, 2.0)] + optima
    cases = [
        Case(
            f"restart {name} after {timeout:g}: mean", GROUP, text.format(name, f"{timeout:g}", "mean, in units"),
            RESTARTS + ("" if name == "exponential" else ", at its minimum"), partial(restarted, name, timeout),
            target, full=800_000, small=40_000, slack=0.0005 * target,
        )
        for name, timeout, target in rows
    ]  # fmt: skip
    cases += [
        Case(
            f"restart {name}: the timeout that simulation finds", GROUP,
            text.format(name, "26 timeouts, each 20 % longer", "exact mean at the best in simulation over the least"),
            RESTARTS + "; 1 % allowed", partial(chosen, name, least), 1.0, full=100_000, small=40_000, slack=0.01,
        )
        for name, _, least in optima
    ]  # fmt: skip
    return cases


# Hedges under a budget


@lru_cache(maxsize=8)
def hedged(delay_ms: float, key: int, n: int) -> tuple[NDArray[np.float64], float]:
    """Return (latencies in ms, hedges an operation) of requests with the write leg of LNKD-DISK."""
    changes = {
        **UNBOUNDED, "service_law": 0, "service_ns": 0, "attempts": 2 if delay_ms else 1,
        "hedge_ns": round(delay_ms * MS),
    }  # fmt: skip
    times, hedges = _latencies(tuple(changes.items()), disk(), 2, 1000.0, key, n)
    return times / MS, hedges


def extra(delay_ms: float, budget: float, key: int, n: int) -> Estimate:
    """Return hedges an operation."""
    times, hedges = hedged(delay_ms, key, n)
    return share(round(hedges * len(times)), len(times), budget)


def beyond(delay_ms: float, limit_ms: float, key: int, n: int) -> Estimate:
    """Return the share of latencies above a limit."""
    times, _ = hedged(delay_ms, key, n)
    return share(int(np.sum(times > limit_ms)), len(times), 0.001)


def _hedges() -> list[Case]:
    law_text = "rpc protocol, two servers, requests with the write leg of LNKD-DISK, "
    source = "S(d) = budget; S(x) S(x - d) = .001"
    cases = [
        Case(
            "unhedged LNKD-DISK: beyond p99.9", GROUP, law_text + "no hedge; share above 54.678 ms", "S(x) = .001",
            partial(beyond, 0.0, 54.678), 0.001, full=800_000, small=40_000,
        )
    ]  # fmt: skip
    for budget, delay, limit in (
        (0.01, 24.684, 30.916), (0.02, 20.122, 28.150), (0.05, 14.600, 24.992), (0.1, 10.639, 22.825),
    ):  # fmt: skip
        told = law_text + f"hedge after {delay:g} ms; "
        cases += [
            Case(
                f"hedge budget {budget:g}: extra", GROUP, told + "hedges an operation", source,
                partial(extra, delay, budget), budget, full=800_000, small=40_000,
            ),
            Case(
                f"hedge budget {budget:g}: beyond p99.9", GROUP, told + f"share above {limit:g} ms", source,
                partial(beyond, delay, limit), 0.001, full=800_000, small=40_000, slack=0.00001,
            ),
        ]  # fmt: skip
    return cases


CASES = [*_restarts(), *_hedges()]


def _control(name: str, told: str, model: partial[Estimate], flaw: str) -> Case:
    case = next(case for case in CASES if case.name == name)
    return flawed(replace(case, name=f"control: {told}", text=told, model=model, full=case.small), flaw)


CONTROLS = [
    _control("restart pareto-3 after 4.47503: mean", "restart after 1.2 for 4.475", partial(restarted, "pareto-3", 1.2),
             "a worse timeout"),
    _control("hedge budget 0.05: extra", "hedge after 12 ms for 14.6", partial(extra, 12.0, 0.05), "an earlier hedge"),
]  # fmt: skip
