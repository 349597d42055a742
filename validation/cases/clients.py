"""Client behaviour: backoff under contention, retry amplification and budgets, retry storms."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from lab.core import quantiles
from lab.core.backoff import BACKOFFS, JITTERS
from lab.engines import compiled
from lab.engines.scenario import Scenario
from lab.history import ACKNOWLEDGED
from lab.model.effects import Outage
from validation.case import Case, Estimate, exact, mean, ratio, seeds, share
from validation.changelogs import one_follower
from validation.protocols.contention import Contention
from validation.protocols.crowd import Crowd
from validation.protocols.storm import Storm
from validation.world import MS, SECOND, Leg, between, workload, world

GROUP = "clients"
AWS = "Brooker 2015, Exponential Backoff And Jitter, the published simulator recomputed"
STORMS = "Bronson et al. 2021, Metastable Failures in Distributed Systems, made precise"
POLICIES = {  # backoff, jitter, base, cap (ms)
    "none": ("fixed", "none", 0, 0),
    "expo": ("exponential", "none", 5, 2000),
    "equal": ("exponential", "equal", 5, 2000),
    "full": ("exponential", "full", 5, 2000),
    "decorrelated": ("exponential", "decorrelated", 5, 2000),
}


@lru_cache(maxsize=32)
def contended(clients: int, policy: str, key: int, runs: int) -> NDArray[np.float64]:
    """Return rows (ms at which the last client is done, update calls)."""
    backoff, jitter, base, cap = POLICIES[policy]
    params = {
        "backoff": BACKOFFS[backoff], "jitter": JITTERS[jitter], "base_ns": base * MS, "cap_ns": cap * MS,
    }  # fmt: skip
    nodes = clients + 1
    leg = Leg(quantiles.normal(10 * MS, 2 * MS))
    scenario = world(Contention, params, nodes=nodes, horizon_ns=3000 * SECOND, leg=between(nodes, leg))
    rows = []
    for history in compiled.histories(scenario, seeds(key, runs)):
        assert history.counters["dones"] == clients
        rows.append((history.applies.time_ns.max() / MS, history.counters["calls"]))
    return np.array(rows)


def contention(clients: int, policy: str, column: int, key: int, runs: int) -> Estimate:
    """Return the mean of one column of `contended`."""
    return mean(contended(clients, policy, key, runs)[:, column])


def load(attempts: int, loss_ppm: int, budget_ppm: int, what: str, key: int, n: int) -> Estimate:
    """Return transmissions or successes an update when each attempt fails independently.

    The bucket of a budget holds 10 retries at first; they are subtracted, for the rule is about the long run.
    """
    scenario = one_follower(
        attempts=attempts, loss_ppm=loss_ppm, ack_loss_ppm=0, budget_ppm=budget_ppm, updates=n // 16
    )
    runs = compiled.run_many(scenario, seeds(key, 16))
    lost = runs.counters["exhausted"] + runs.counters["budget_denied"]
    if what == "success":
        return ratio(runs.operations - lost, runs.operations)
    given = 10 if budget_ppm >= 0 else 0
    return ratio(runs.counters["transmissions"] - given, runs.operations)


def recovery_s(rate: int, attempts: int, key: int, runs: int) -> Estimate:
    """Return the seconds from the end of a 10 s outage to the first operation that is answered in time; 60 is never."""
    scenario: Scenario = world(
        Storm, {"timeout_ns": SECOND, "attempts": attempts}, nodes=1, horizon_ns=82 * SECOND,
        outages=[Outage("n0", 10 * SECOND, 20 * SECOND, None)],
        workload=workload(f"poisson({rate}/s)", "80s"), service_ns=SECOND // 300,
    )  # fmt: skip
    found = []
    for history in compiled.histories(scenario, seeds(key, runs)):
        operations = history.operations
        after = operations.intended_ns >= 20 * SECOND
        in_time = (operations.outcome == ACKNOWLEDGED) & (operations.acknowledged_ns - operations.intended_ns < SECOND)
        good = operations.intended_ns[after & in_time]
        found.append(60.0 if len(good) == 0 else (good[0] - 20 * SECOND) / SECOND)
    values = np.array(found)
    return mean(values) if values.std() else Estimate(float(values[0]), 0.0)


def ramp(wait_s: int, key: int, runs: int) -> Estimate:
    """Return the successes in [40 s, 60 s) of the slowing service under max(0, 80 - 1.6 |t - 25|) requests a second.

    The ramp is made of one spike a second with the rate at its middle.
    """
    params = {
        "base_ns": SECOND, "slow_ns": 10 * MS, "timeout_ns": 3 * SECOND, "attempts": 3, "wait_ns": wait_s * SECOND,
    }  # fmt: skip
    leg = Leg(quantiles.exponential(100 * MS))
    steps = [
        {"at": f"{second}s", "for": "1s", "rate": f"{max(0.0, 80 - 1.6 * abs(second + 0.5 - 25)):.3f}/s"}
        for second in range(75)
    ]
    scenario = world(
        Crowd, params, nodes=1, horizon_ns=80 * SECOND, leg=lambda source, target: leg,
        workload=workload("poisson(0.001/s)", "80s", spikes=steps),
    )  # fmt: skip
    found = []
    for history in compiled.histories(scenario, seeds(key, runs)):
        answered_ns = history.operations.acknowledged_ns
        found.append(float(np.count_nonzero((answered_ns >= 40 * SECOND) & (answered_ns < 60 * SECOND))))
    return mean(found) if np.std(found) else exact(found[0])


def collapsed(base: int, spike: int, wait_s: int, target: float, key: int, runs: int) -> Estimate:
    """Return the share of runs with fewer than 10 answers/s in [60 s, 80 s), long after a spike of 5 s at 20 s."""
    params = {
        "base_ns": SECOND, "slow_ns": 10 * MS, "timeout_ns": 3 * SECOND, "attempts": 3, "wait_ns": wait_s * SECOND,
    }  # fmt: skip
    leg = Leg(quantiles.exponential(100 * MS))
    scenario = world(
        Crowd, params, nodes=1, horizon_ns=80 * SECOND, leg=lambda source, target: leg,
        workload=workload(
            f"poisson({base}/s)", "80s", spikes=[{"at": "20s", "for": "5s", "rate": f"{spike - base}/s"}]
        ),
    )  # fmt: skip
    count = 0
    for history in compiled.histories(scenario, seeds(key, runs)):
        answered_ns = history.operations.acknowledged_ns
        count += int(np.count_nonzero((answered_ns >= 60 * SECOND) & (answered_ns < 80 * SECOND)) < 200)
    return share(count, runs, target)


def _backoffs() -> list[Case]:
    rows = [
        (1, "none", 40.0, 4.0, 1.0, 0.0), (1, "full", 40.0, 4.0, 1.0, 0.0),
        (10, "none", 380.9, 34, 51.1, 4.0), (10, "expo", 3437, 1327, 50.7, 4.3), (10, "equal", 732.8, 171, 42.5, 2.5),
        (10, "full", 453.4, 98, 38.7, 2.4), (10, "decorrelated", 437.3, 97, 37.9, 2.3),
        (20, "none", 607.8, 57, 153.6, 13), (20, "expo", 14377, 2800, 150.2, 14), (20, "equal", 1637, 448, 107.8, 4.1),
        (20, "full", 1007, 295, 100.5, 3.5), (20, "decorrelated", 828.5, 189, 101.3, 5.1),
        (190, "none", 3544, 51, 8016, 63), (190, "expo", 101438, 4414, 5170, 118),
        (190, "equal", 9367, 597, 1760, 11.7),
        (190, "full", 7413, 508, 1772, 11.8), (190, "decorrelated", 7873, 846, 2431, 59),
    ]  # fmt: skip
    cases = []
    for clients, policy, time, time_sd, calls, calls_sd in rows:
        trials = 100 if (clients, policy) == (190, "none") else 400
        for column, what, target, sd in ((0, "ms", time, time_sd), (1, "calls", calls, calls_sd)):
            cases.append(
                Case(
                    f"backoff {policy}, {clients} clients: {what}", GROUP,
                    f"lab.core.backoff, {policy}, {clients} clients contend for a row over links of N(10, 2) ms; "
                    + ("when the last is done, ms" if column == 0 else "update calls"),
                    AWS, partial(contention, clients, policy, column), target,
                    full=400 if clients < 100 else 100, small=40 if clients < 100 else 6,
                    target_error=sd / trials**0.5,
                )
            )  # fmt: skip
    return cases


def _loads() -> list[Case]:
    cases = []
    for retries, target in ((1, 1.5), (2, 1.75), (3, 1.875)):
        for what, value in (("load", target), ("success", 1 - 0.5 ** (retries + 1))):
            cases.append(
                Case(
                    f"{retries} retries at 50 % failure: {what}", GROUP,
                    f"changelog protocol, one follower, {retries + 1} attempts, loss of 50 %; {what} an update",
                    "(1 - p^(N+1)) / (1 - p)", partial(load, retries + 1, 500_000, -1, what), value,
                    full=200_000, small=8000,
                )
            )  # fmt: skip
    for p, budget, target in ((900_000, -1, 2.71), (900_000, 100_000, 1.1), (1_000_000, 100_000, 1.1)):
        told = "10 % budget" if budget > 0 else "no budget"
        cases.append(
            Case(
                f"3 attempts at {p / 1e4:g} % failure, {told}: load", GROUP,
                f"changelog protocol, 3 attempts, {told}; transmissions an update, less the bucket's first 10 tokens",
                "Google SRE book, handling overload; closed form", partial(load, 3, p, budget, "load"), target,
                full=200_000, small=8000, slack=0.0001 if budget > 0 else 0.0,
            )
        )  # fmt: skip
    return cases


def _storms() -> list[Case]:
    text = "FIFO service of 300/s (service_ns), Poisson {}/s, timeout 1 s, one retry, 10 s pause whose traffic waits; "
    return [
        Case(
            f"retry storm at {rate}/s: recovery", GROUP,
            text.format(rate) + "s until an operation is answered in time, 60 is never; slack 1 s + 12 %", STORMS,
            partial(recovery_s, rate, 2), target, full=40, small=4,
            slack=1 + 0.12 * target if target < 60 else 0.0, confidence="B",
        )
        for rate, target in ((50, 3.3), (100, 16.0), (200, 60.0), (250, 60.0), (280, 60.0))
    ]  # fmt: skip


def _collapses() -> list[Case]:
    text = (
        "crowd protocol: latency 1 s + 10 ms a request inside, net Exp(.1 s) each way, timeout 3 s, 3 attempts, {};"
        " {}/s, {}/s in [20 s, 25 s); share of runs with under 10 answers/s in [60 s, 80 s)"
    )
    rows = [
        (40, 80, 0, 0.738, 0.014), (40, 80, 20, 0.0, 0.0), (20, 120, 0, 0.0, None), (25, 120, 0, 1.0, None),
    ]  # fmt: skip
    return [
        Case(
            f"collapse at {base}/s after {spike}/s, {'backoff' if wait else 'no backoff'}", GROUP,
            text.format(f"waits U(0, {wait} s), U(0, {2 * wait} s)" if wait else "no backoff", base, spike)
            + ("" if error is not None else "; target from 6 runs alike: slack .393, their 95 % bound"),
            "Brooker 2021, Metastability and Distributed Systems, made precise",
            partial(collapsed, base, spike, wait, target), target, full=1000, small=40,
            target_error=error or 0.0, slack=0.0 if error is not None else 0.393,
            confidence="A" if error is not None else "B",
        )
        for base, spike, wait, target, error in rows
    ]  # fmt: skip


def _ramps() -> list[Case]:
    return [
        Case(
            f"collapse under a ramp, {'backoff' if wait else 'no backoff'}: answers", GROUP,
            "crowd protocol as above, 80 - 1.6 |t - 25| requests/s, "
            + (f"waits U(0, {wait} s), U(0, {2 * wait} s)" if wait else "no backoff")
            + "; answers in [40 s, 60 s); slack 1",
            "Brooker 2021, Metastability and Distributed Systems, made precise", partial(ramp, wait), 0.0, full=40,
            small=4, slack=1.0, confidence="B",
        )
        for wait in (0, 20)
    ]  # fmt: skip


CASES = [*_backoffs(), *_loads(), *_storms(), *_collapses(), *_ramps()]
CONTROLS = [
    Case(
        "control: equal for full jitter", GROUP, "equal jitter held against the calls of full jitter", AWS,
        partial(contention, 20, "equal", 1), 100.5, full=40, small=40, target_error=0.18, flaw="another jitter",
    ),
    Case(
        "control: loss 60 % for 50 %", GROUP, "loss .6 held against the load of .5", "(1 - p^(N+1)) / (1 - p)",
        partial(load, 3, 600_000, -1, "load"), 1.75, full=8000, small=8000, flaw="loss + 10 %",
    ),
    Case(
        "control: no retry", GROUP, "clients that do not retry held against the storm that never ends", STORMS,
        partial(recovery_s, 200, 1), 60.0, full=4, small=4, flaw="no retries",
    ),
]  # fmt: skip
