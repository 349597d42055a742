"""Remote calls: queues and balancers, retry budgets, hedges, adaptive timeouts, collapses that outlast their cause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from lab.core import draws, quantiles, rpc_state
from lab.engines import compiled
from lab.history import ACKNOWLEDGED, History
from lab.protocols.rpc import Rpc
from lab.protocols.rpc_parameters import ADAPTS, BALANCES, DEFAULTS, problems
from validation.case import Case, Estimate, exact, flawed, mean, ratio, seeds, share
from validation.cases.quorums import redundant
from validation.world import MS, SECOND, Leg, Table, workload, world

GROUP = "rpc"
SERVICE_NS = 10 * MS
BATCHES_LEAST = 8
BATCH_MOST = 50_000  # operations of a run
GAPS = "; slack for the workload's gaps, drawn from a table"
TAIL = "Dean & Barroso 2013, The Tail at Scale, hedged requests; exact convolution"
STEPS = "1 - quantile, a little more for steps that are shares of the estimate: closed form"
RFC = "RFC 6298, section 2"
RECOMPUTED = f"{RFC}, recomputed in floating point over 11 million samples"
# One attempt, no deadline, no hedge: what a case sets is all there is.
PLAIN = DEFAULTS | {
    "attempts": 1, "deadline_ns": 0, "timeout_ns": 100 * SECOND, "balance": BALANCES["random"], "jitter": 0,
    "backoff": 0, "base_ns": 1, "cap_ns": 1, "cancel": 0,
}  # fmt: skip
UNBOUNDED = {"workers": 1 << 20, "queue_limit": 0}

Params = tuple[tuple[str, int], ...]


def batches(n: int) -> int:
    """Return in how many runs n operations are made."""
    return max(BATCHES_LEAST, n // BATCH_MOST)


def histories(
    changes: Params, servers: int, rate: float, seconds: float, key: int, runs: int, keys: int = 1000, wait_s: int = 20,
    table: Table | None = None,
) -> Iterator[History]:  # fmt: skip
    """Yield runs of remote calls; links have the delays of a table, or none."""
    params = PLAIN | dict(changes)
    wrong = problems(params, servers, keys)
    assert not wrong, wrong
    leg = Leg(table)
    scenario = world(
        Rpc, params, nodes=servers, horizon_ns=round((seconds + wait_s) * SECOND),
        workload=workload(f"poisson({rate:g}/s)", f"{round(seconds * 1000)}ms", keys=keys),
        leg=lambda source, target: leg,
    )  # fmt: skip
    return compiled.histories(scenario, seeds(key, runs))


def latency_ns(history: History) -> NDArray[np.int64]:
    """Return the latencies of the answered operations, in order of intention."""
    operations = history.operations
    done = operations.outcome == ACKNOWLEDGED
    return np.asarray((operations.acknowledged_ns - operations.intended_ns)[done])


def control(cases: Sequence[Case], name: str, told: str, model: partial[Estimate], flaw: str) -> Case:
    """Return a wrong model held against a case, at its small size."""
    case = next(case for case in cases if case.name == name)
    wrong = replace(case, name=f"control: {told}", text=f"{told}, held against: {name}", model=model, full=case.small)
    return flawed(wrong, flaw)


# Queues and balancers


@lru_cache(maxsize=16)
def sojourns(balance: str, servers: int, workers: int, load: float, jobs: int, key: int, n: int) -> tuple[float, ...]:
    """Return the mean sojourn of each run in service times; the first fifth of a run is left out."""
    changes = tuple(
        {"balance": BALANCES[balance], "workers": workers, "queue_limit": 2000, "service_ns": SERVICE_NS}.items()
    )
    rate = load * servers * workers * 100
    runs = histories(changes, servers, rate, jobs / rate, key, max(4, n // jobs), keys=2000)
    found = []
    for history in runs:
        assert history.counters["queue_overflow"] == 0
        times = latency_ns(history)
        found.append(float(np.mean(times[len(times) // 5 :])) / SERVICE_NS)
    return tuple(found)


def sojourn(balance: str, servers: int, workers: int, load: float, jobs: int, key: int, n: int) -> Estimate:
    """Return the mean sojourn in service times."""
    return mean(sojourns(balance, servers, workers, load, jobs, key, n))


def refused(load: float, room: int, key: int, n: int) -> Estimate:
    """Return the share of requests that a server with `room` places (the one in service included) refuses."""
    changes = tuple({"queue_limit": room - 1}.items())
    runs = list(histories(changes, 1, load * 100, n / batches(n) / (load * 100), key, batches(n)))
    return ratio([h.counters["refusals"] for h in runs], [len(h.operations) for h in runs])


def turns_sojourn(servers: int, load: float) -> float:
    """Return the mean sojourn under round robin: each server is an Erlang/M/1 queue (GI/M/1, T = 1 / (1 - root))."""
    root, rate = 0.5, servers * load
    for _ in range(10_000):
        root = (rate / (rate + 1 - root)) ** servers
    return 1 / (1 - root)


def _queues() -> list[Case]:
    def one(
        name: str, text: str, source: str, target: float, arguments: tuple[str, int, int, float, int], full: int,
        small: int, slack: float, error: float = 0.0, confidence: str = "A",
    ) -> Case:  # fmt: skip
        return Case(
            name, GROUP, "rpc protocol, exponential service, Poisson workload; " + text + GAPS, source,
            partial(sojourn, *arguments), target, full=full, small=small, slack=slack, target_error=error,
            confidence=confidence,
        )  # fmt: skip

    text = "mean sojourn in service times"
    return [
        one("rpc M/M/1 load .8: mean sojourn", text, "1 / (1 - load)", 5.0, ("random", 1, 1, 0.8, 50_000), 4_000_000,
            400_000, 0.015),
        one("rpc M/M/3 load 2.5: mean sojourn", "three workers; " + text, "Erlang C", 2.404494,
            ("random", 1, 3, 2.5 / 3, 50_000), 4_000_000, 400_000, 0.007),
        Case(
            "rpc M/M/1/10 load .9: refused", GROUP,
            "rpc protocol, queue of 9 beside the one in service; share refused" + GAPS, "birth-death chain",
            partial(refused, 0.9, 10), 0.0508137, full=2_000_000, small=200_000, slack=0.0005,
        ),
        one("random of 10 servers, load .8: mean sojourn", text, "1 / (1 - load)", 5.0,
            ("random", 10, 1, 0.8, 100_000), 8_000_000, 400_000, 0.015),
        one("round robin over 10 servers, load .8: mean sojourn", text, "GI/M/1 with Erlang gaps, root by iteration",
            turns_sojourn(10, 0.8), ("round_robin", 10, 1, 0.8, 100_000), 8_000_000, 400_000, 0.01),
        one("two choices of 100 servers, load .9: mean sojourn", text,
            "Mitzenmacher 2001, The Power of Two Choices; 100 servers simulated independently", 2.649,
            ("two_choices", 100, 1, 0.9, 100_000), 8_000_000, 400_000, 0.004, 0.005),
        one("two choices of 100 servers, load .95: mean sojourn", text,
            "Mitzenmacher 2001, The Power of Two Choices; 100 servers simulated independently", 3.454,
            ("two_choices", 100, 1, 0.95, 150_000), 9_000_000, 750_000, 0.008, 0.009),
        one("two choices of 250 servers, load .7: mean sojourn", text + "; slack also .3 % for the limit",
            "mean field: sum of load^(2^i - 2)", sum(0.7 ** (2**i - 2) for i in range(1, 12)),
            ("two_choices", 250, 1, 0.7, 100_000), 6_000_000, 400_000, 0.008),
        one("two choices of 250 servers, load .5: mean sojourn", text + "; slack also .3 % for the limit",
            "mean field: sum of load^(2^i - 2)", 1.26569, ("two_choices", 250, 1, 0.5, 100_000), 4_000_000, 400_000,
            0.006),
        one("two choices of 250 servers, load .8: mean sojourn", text + "; slack also .5 % for the limit",
            "mean field: sum of load^(2^i - 2)", 1.94736, ("two_choices", 250, 1, 0.8, 100_000), 4_000_000, 400_000,
            0.012),
    ]  # fmt: skip


# Hedges


@lru_cache(maxsize=16)
def hedged(law: str, delay_ms: float, quantile_ppm: int, key: int, n: int) -> tuple[float, NDArray[np.float64]]:
    """Return (hedges an operation, latencies in ms); the law is exponential service of 10 ms or `redundant` legs."""
    changes = {
        **UNBOUNDED, "attempts": 2, "hedge_ns": round(delay_ms * MS), "hedge_quantile_ppm": quantile_ppm,
        "service_law": 1, "service_ns": SERVICE_NS if law == "exponential" else 0,
    }  # fmt: skip
    table = redundant() if law == "redundant" else None
    runs = list(histories(tuple(changes.items()), 2, 1000.0, n / batches(n) / 1000, key, batches(n), table=table))
    hedges = sum(history.counters["hedges"] for history in runs)
    times = np.concatenate([latency_ns(history) for history in runs]) / MS
    return hedges / sum(len(history.operations) for history in runs), times


def hedge_share(law: str, delay_ms: float, quantile_ppm: int, target: float, key: int, n: int) -> Estimate:
    """Return hedges an operation."""
    found, times = hedged(law, delay_ms, quantile_ppm, key, n)
    return share(round(found * len(times)), len(times), target)


def hedged_mean(law: str, delay_ms: float, key: int, n: int) -> Estimate:
    """Return the mean latency in ms."""
    return mean(hedged(law, delay_ms, 0, key, n)[1])


def beyond(law: str, delay_ms: float, limit_ms: float, target: float, key: int, n: int) -> Estimate:
    """Return the share of latencies above a limit."""
    times = hedged(law, delay_ms, 0, key, n)[1]
    return share(int(np.sum(times > limit_ms)), len(times), target)


def _hedges() -> list[Case]:
    cases = []
    text = "rpc protocol, two servers without queues, {}, hedge after {:g} ms; {}"
    for delay in (5.0, 10.0, 20.0):
        law = "exponential service of mean 10 ms"
        d = delay / 10
        rows = [
            ("extra", "hedges an operation", partial(hedge_share, "exponential", delay, 0, exp(-d)), exp(-d)),
            ("mean", "mean latency in ms", partial(hedged_mean, "exponential", delay), 10 * (1 - exp(-d) / 2)),
            ("beyond p99", f"share above {5 * (d + log(100)):.4g} ms, the exact p99",
             partial(beyond, "exponential", delay, 5 * (d + log(100)), 0.01), 0.01),
        ]  # fmt: skip
        cases += [
            Case(
                f"hedge after {delay:g} ms, exponential: {what}", GROUP, text.format(law, delay, told),
                "min of S and d + S': 1 - e^-d / 2, (d + ln 100) / 2, e^-d", model, target, full=800_000, small=40_000,
            )
            for what, told, model, target in rows
        ]  # fmt: skip
    for delay, extra, average, tail in (
        (4.0, 0.4010, 4.201, 13.56),
        (6.0, 0.07938, 4.275, 15.08),
        (8.0, 0.04211, 4.338, 16.71),
        (10.0, 0.03365, 4.395, 18.41),
        (20.0, 0.0244, 4.642, 27.35),
    ):
        law = "98.2 % Pareto(1.5, 3.8) + 1.8 % Exp(.0217) ms each way"
        reads = [
            ("extra", "hedges an operation; slack .5 %", partial(hedge_share, "redundant", delay, 0, extra), extra,
             0.005 * extra),
            ("mean", "mean latency in ms; slack .3 %", partial(hedged_mean, "redundant", delay), average,
             0.003 * average),
            ("beyond p99.9", f"share above {tail:g} ms, the exact p99.9; slack .00002",
             partial(beyond, "redundant", delay, tail, 0.001), 0.001, 0.00002),
        ]  # fmt: skip
        cases += [
            Case(
                f"hedged read after {delay:g} ms: {what}", GROUP,
                text.format(law, delay, told) + " for rounding of the target", TAIL,
                model, target, full=1_200_000, small=40_000, slack=slack,
            )
            for what, told, model, target, slack in reads
        ]  # fmt: skip
    cases.append(
        Case(
            "hedge at the 95th percentile, found while running: extra", GROUP,
            text.format("exponential service of mean 10 ms", 30, "then the delay follows the 95th percentile; hedges an"
                        " operation; slack 2 % for where a run ends"),
            STEPS, partial(hedge_share, "exponential", -10 * log(above(950_000)), 950_000, above(950_000)),
            above(950_000), full=800_000, small=40_000,
            slack=0.001,
        )
    )  # fmt: skip
    return cases


# Adaptive timeouts


def rto_ms(samples: int, key: int, n: int, floor_ns: int = 0) -> Estimate:
    """Return the RFC 6298 timeout after the first samples of 100, 100, 100, 200, 100, 100 ms."""
    smoothed = variation = 0
    for sample_ms in (100, 100, 100, 200, 100, 100)[:samples]:
        variation = rpc_state.variation_ns(smoothed, variation, sample_ms * MS)
        smoothed = rpc_state.smoothed_ns(smoothed, sample_ms * MS)
    return exact(rpc_state.retransmit_ns(smoothed, variation, floor_ns, 60 * SECOND) / MS)


@lru_cache(maxsize=4)
def normal_timeouts(key: int, n: int) -> NDArray[np.float64]:
    """Return rows (mean timeout in ms, share of samples above it) of independent runs over N(100, 10) ms samples."""
    table = quantiles.normal(100 * MS, 10 * MS)
    rows = []
    for seed in seeds(key, BATCHES_LEAST):
        smoothed = variation = timeout = total = late = 0
        for number in range(n // BATCHES_LEAST):
            sample = quantiles.lookup(table, draws.chain(seed, number))
            late += number > 0 and sample > timeout
            variation = rpc_state.variation_ns(smoothed, variation, sample)
            smoothed = rpc_state.smoothed_ns(smoothed, sample)
            timeout = rpc_state.retransmit_ns(smoothed, variation, 0, 60 * SECOND)
            total += timeout
        rows.append((total / (n // BATCHES_LEAST) / MS, late / (n // BATCHES_LEAST)))
    return np.array(rows)


def normal_timeout(column: int, key: int, n: int) -> Estimate:
    """Return a column of `normal_timeouts`."""
    return mean(normal_timeouts(key, n)[:, column])


def above(quantile_ppm: int) -> float:
    """Return the share of samples above a moving quantile at which its steps up and down, as logarithms, cancel."""
    up, down = quantile_ppm / 16e6, (1_000_000 - quantile_ppm) / 16e6
    return -log(1 - down) / (log(1 + up) - log(1 - down))


def timeout_share(quantile_ppm: int, key: int, n: int) -> Estimate:
    """Return timeouts an attempt where the timeout follows a quantile of an exponential latency."""
    changes = {
        **UNBOUNDED, "adaptive": ADAPTS["quantile"], "quantile_ppm": quantile_ppm,
        "timeout_ns": round(-SERVICE_NS * log(above(quantile_ppm))),
    }  # fmt: skip
    runs = list(histories(tuple(changes.items()), 1, 100.0, n / batches(n) / 100, key, batches(n)))
    return ratio([h.counters["timeouts"] for h in runs], [h.counters["attempts"] for h in runs])


def _timeouts() -> list[Case]:
    cases = [
        Case(
            f"RFC 6298 timeout after {number} samples", GROUP,
            "lab.core.rpc_state, samples 100, 100, 100, 200, 100, 100 ms, no floor; ms; slack 4 ns for whole numbers",
            RFC, partial(rto_ms, number), target, full=1, small=1, slack=4e-6,
        )
        for number, target in enumerate((300, 250, 212.5, 296.875, 261.71875, 233.59375), start=1)
    ]  # fmt: skip
    cases.append(
        Case(
            "RFC 6298 timeout with the floor of 1 s", GROUP, "lab.core.rpc_state, the fourth of those samples; ms", RFC,
            partial(rto_ms, 4, floor_ns=SECOND), 1000.0, full=1, small=1,
        )
    )  # fmt: skip
    text = "lab.core.rpc_state over samples of N(100, 10) ms; "
    cases += [
        Case("RFC 6298 over N(100, 10) ms: mean timeout", GROUP, text + "ms", RECOMPUTED, partial(normal_timeout, 0),
             132.958, full=800_000, small=40_000, target_error=0.003),
        Case("RFC 6298 over N(100, 10) ms: spurious timeouts", GROUP, text + "share of samples above the timeout",
             RECOMPUTED, partial(normal_timeout, 1), 6.449e-3, full=800_000, small=40_000, target_error=2.4e-5),
    ]  # fmt: skip
    for quantile_ppm in (900_000, 990_000):
        target = above(quantile_ppm)
        cases.append(
            Case(
                f"timeout at the quantile {quantile_ppm / 1e6:g}: timeouts", GROUP,
                "rpc protocol, exponential latency, the timeout follows its quantile; timeouts an attempt; slack 2 %"
                " for whole nanoseconds and where a run ends",
                STEPS, partial(timeout_share, quantile_ppm), target, full=800_000, small=80_000,
                slack=0.02 * target,
            )
        )  # fmt: skip
    return cases


CASES = [*_queues(), *_hedges(), *_timeouts()]
CONTROLS = [
    control(CASES, "two choices of 100 servers, load .9: mean sojourn", "random for two choices",
            partial(sojourn, "random", 100, 1, 0.9, 100_000), "another balancer"),
    control(CASES, "rpc M/M/1/10 load .9: refused", "room of 8 for 10", partial(refused, 0.9, 8), "two places fewer"),
    control(CASES, "hedge after 10 ms, exponential: mean", "hedge after 11 ms for 10",
            partial(hedged_mean, "exponential", 11.0), "delay + 10 %"),
    control(CASES, "RFC 6298 timeout after 4 samples", "five samples for four", partial(rto_ms, 5), "another sample"),
]  # fmt: skip
