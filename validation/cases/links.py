"""Links: repetition until received or acknowledged, bursts of loss, reordering, the detector NFD-S over them."""

from __future__ import annotations

from functools import lru_cache, partial
from math import comb, exp, log

import numpy as np
from numpy.typing import NDArray

from lab.core import quantiles
from lab.engines import compiled
from lab.engines.scenario import Bursts
from validation.case import Case, Estimate, mean, ratio, seeds, share
from validation.changelogs import one_follower, replicated
from validation.protocols.probe import Probe
from validation.world import IDEAL, MS, SECOND, Leg, Table, between, world

GROUP = "links"
BATCHES = 20
UPDATES_MAX = 100_000  # in one run, at one each 100 ms
WAIT_MS = 10  # between the attempts of `one_follower`
CHEN = "Chen, Toueg & Aguilera 2002, On the Quality of Service of Failure Detectors, closed form"
GAP_NS = 10 * MS
SLOW_NS = SECOND
WINDOW = 1000  # beats of which a share is lost


# Repetition


def attempts(what: str, loss_ppm: int, ack_loss_ppm: int, key: int, n: int) -> Estimate:
    """Return transmissions or duplicates an update until it is received or acknowledged."""
    scenario = one_follower(attempts=100, loss_ppm=loss_ppm, ack_loss_ppm=ack_loss_ppm, updates=n // BATCHES)
    runs = compiled.run_many(scenario, seeds(key, BATCHES))
    return ratio(runs.counters[what], runs.operations)


def extra_delay(
    loss_ppm: int, ack_loss_ppm: int, followers: int, mode: str, backoff: str, key: int, n: int
) -> Estimate:
    """Return the mean time to the acknowledgement in times between attempts."""
    scenario = one_follower(
        attempts=100, loss_ppm=loss_ppm, ack_loss_ppm=ack_loss_ppm, followers=followers, mode=mode, backoff=backoff,
        updates=n // BATCHES,
    )  # fmt: skip
    values = []
    for history in compiled.histories(scenario, seeds(key, BATCHES)):
        operations = history.operations
        values.append(float(np.mean(operations.acknowledged_ns - operations.intended_ns)) / (WAIT_MS * MS))
    return mean(values)


def order_statistic(n: int, k: int, p: float) -> float:
    """Return the mean of the k-th smallest of n geometric numbers of attempts (1 is the first), each failing with p."""
    total = 0.0
    for reached in range(2000):
        done = 1 - p**reached
        below = sum(comb(n, j) * done**j * (1 - done) ** (n - j) for j in range(k))
        total += below
        if below < 1e-15:
            break
    return total


def _repetition() -> list[Case]:
    cases = []
    for p in (0.05, 0.1, 0.2):
        ppm, q = round(p * 1e6), 1 - p
        text = f"changelog protocol, one follower, loss {p:g} "
        rows = [
            ("until received", text + "of updates; transmissions", "transmissions", 0, 1 / q),
            ("until acknowledged", text + "both ways; transmissions", "transmissions", ppm, 1 / q**2),
            ("duplicates", text + "both ways; duplicates received", "duplicates", ppm, 1 / q - 1),
        ]  # fmt: skip
        cases += [
            Case(
                f"attempts at loss {p:g}: {name}", GROUP, told, "geometric law", partial(attempts, what, ppm, acks),
                target, full=1_000_000, small=20_000,
            )
            for name, told, what, acks, target in rows
        ]  # fmt: skip
        both = 1 - q * q
        cases.append(
            Case(
                f"extra delay at loss {p:g}: fixed timeout", GROUP, text + "both ways, sync mode; delay in timeouts",
                "1/q^2 - 1", partial(extra_delay, ppm, ppm, 1, "sync", "fixed"), 1 / q**2 - 1,
                full=1_000_000, small=20_000,
            )
        )  # fmt: skip
        if p < 0.2:  # at .2 the variance is infinite
            cases.append(
                Case(
                    f"extra delay at loss {p:g}: doubling timeout", GROUP,
                    text + "both ways, sync mode, exponential backoff; delay in first timeouts", "P / (1 - 2P)",
                    partial(extra_delay, ppm, ppm, 1, "sync", "exponential"), both / (1 - 2 * both),
                    full=1_000_000, small=20_000,
                )
            )  # fmt: skip
    rows2 = [
        (3, 3, 0.1, "sync"), (5, 5, 0.1, "sync"), (10, 10, 0.1, "sync"), (3, 3, 0.5, "sync"), (5, 5, 0.5, "sync"),
        (3, 2, 0.1, "quorum"), (5, 3, 0.1, "quorum"), (5, 3, 0.5, "quorum"),
    ]  # fmt: skip
    cases += [
        Case(
            f"attempts until {k} of {n} followers at loss {p:g}", GROUP,
            f"changelog protocol, {mode} mode, {n} followers, loss {p:g} of updates; time to ack in timeouts, + 1",
            "order statistics of geometric laws",
            partial(plus_one, partial(extra_delay, round(p * 1e6), 0, n, mode, "fixed")), order_statistic(n, k, p),
            full=400_000, small=10_000,
        )
        for n, k, p, mode in rows2
    ]  # fmt: skip
    cases += [
        Case(
            f"attempts until the last of 100 at loss {p:g}", GROUP,
            f"changelog protocol, one follower, loss {p:g} of updates; most attempts of any of 100 updates",
            "order statistics of geometric laws", partial(slowest, 100, round(p * 1e6)), order_statistic(100, 100, p),
            full=2_000_000, small=40_000,
        )
        for p in (0.1, 0.5)
    ]  # fmt: skip
    for together, slow_ppm, n in ((100, 10_000, 4_000_000), (2000, 100, 20_000_000)):
        target = 1 - (1 - slow_ppm / 1e6) ** together
        cases.append(
            Case(
                f"any of {together} slow, each with {slow_ppm / 1e6:g}", GROUP,
                f"changelog protocol, one follower, {slow_ppm / 1e4:g} % of delays 1 s; share of groups of {together}"
                " with a slow one; slack for the table's knots",
                "Dean & Barroso 2013, The Tail at Scale: 1 - (1 - p)^n", partial(any_slow, together, slow_ppm, target),
                target, full=n, small=400_000, slack=0.01 * target,
            )
        )  # fmt: skip
    return cases


def slowest(together: int, loss_ppm: int, key: int, n: int) -> Estimate:
    """Return the mean of the most attempts that any of so many updates takes until it is received."""
    scenario = one_follower(attempts=100, loss_ppm=loss_ppm, ack_loss_ppm=0, updates=n // BATCHES)
    largest = []
    for history in compiled.histories(scenario, seeds(key, BATCHES)):
        waited = (history.operations.acknowledged_ns - history.operations.intended_ns) // (WAIT_MS * MS)
        largest.append(waited[: len(waited) // together * together].reshape(-1, together).max(axis=1) + 1)
    return mean(np.concatenate(largest))


def any_slow(together: int, slow_ppm: int, target: float, key: int, n: int) -> Estimate:
    """Return the share of groups of updates of which at least one meets the slow `slow_ppm` millionths of a delay."""
    places = quantiles.places()
    last = quantiles.WHOLE - quantiles.WHOLE * slow_ppm // 1_000_000
    table = tuple(SLOW_NS if place > last else MS for place in places)
    batches = max(BATCHES, n // UPDATES_MAX)
    scenario = replicated(
        followers=1, mode="sync", leg=lambda source, target: Leg(table) if source == 0 else IDEAL,
        arrivals="constant(10/s)", duration=f"{100 * (n // batches) + 1}ms", horizon_ns=1 << 48,
    )  # fmt: skip
    found, groups = 0, 0
    for history in compiled.histories(scenario, seeds(key, batches)):
        waited = history.operations.acknowledged_ns - history.operations.intended_ns
        slow = waited[: len(waited) // together * together].reshape(-1, together).max(axis=1) > SLOW_NS // 2
        found, groups = found + int(np.count_nonzero(slow)), groups + len(slow)
    return share(found, groups, target)


def plus_one(model: partial[Estimate], key: int, n: int) -> Estimate:
    """Return an estimate raised by 1."""
    found = model(key, n)
    return Estimate(found.value + 1, found.error)


# Bursts and order


def arrivals(table: Table | None, loss_ppm: int, bursts: Bursts | None, beats: int, key: int) -> NDArray[np.int64]:
    """Return when each beat of a probe arrived first, -1 for those lost."""
    scenario = world(
        Probe, {"gap_ns": GAP_NS, "beats": beats, "delta_ns": -1}, nodes=2, horizon_ns=(beats + 10_000) * GAP_NS,
        leg=between(2, Leg(table, loss_ppm)), bursts=bursts,
    )  # fmt: skip
    (history,) = compiled.histories(scenario, [key])
    found = np.full(beats + 1, -1, dtype=np.int64)
    found[history.applies.sequence] = history.applies.time_ns
    return found[1:]


def gilbert(good_to_bad: float, bad_to_good: float) -> Bursts:
    """Return the continuous chain that, looked at every 10 ms, is the Gilbert chain with these probabilities."""
    rate = -log(1 - good_to_bad - bad_to_good) / GAP_NS
    bad_share = good_to_bad / (good_to_bad + bad_to_good)
    return Bursts(round(1 / (rate * bad_share)), round(1 / (rate * (1 - bad_share))), 0, 1_000_000)


@lru_cache(maxsize=8)
def burst_statistics(good_to_bad: float, bad_to_good: float, key: int, n: int) -> NDArray[np.float64]:
    """Return rows (loss share, mean burst, lag-1 correlation), one a link."""
    rows = []
    for seed in seeds(key, BATCHES):
        lost = (arrivals(None, 0, gilbert(good_to_bad, bad_to_good), n // BATCHES, seed) < 0).astype(np.float64)
        begun = np.count_nonzero(np.diff(lost) > 0)
        together = float(np.mean(lost[1:] * lost[:-1])) - lost.mean() ** 2
        rows.append((lost.mean(), lost.sum() / max(1, begun), together / lost.var()))
    return np.array(rows)


def burst(column: int, good_to_bad: float, bad_to_good: float, key: int, n: int) -> Estimate:
    """Return the mean of one column of `burst_statistics` over links."""
    return mean(burst_statistics(good_to_bad, bad_to_good, key, n)[:, column])


def inflation(good_to_bad: float, bad_to_good: float, key: int, n: int) -> Estimate:
    """Return the variance of the loss share of a window, in those of independent losses of the same mean."""
    p = good_to_bad / (good_to_bad + bad_to_good)
    found = []
    for seed in seeds(key, BATCHES):
        lost = arrivals(None, 0, gilbert(good_to_bad, bad_to_good), n // BATCHES, seed) < 0
        windows = lost[: len(lost) // WINDOW * WINDOW].reshape(-1, WINDOW).mean(axis=1)
        found.append(float(np.mean((windows - p) ** 2)) * WINDOW / (p * (1 - p)))
    return mean(found)


def inflated(good_to_bad: float, bad_to_good: float, window: int) -> float:
    """Return the same in closed form: 1 + 2 sum (1 - k/window) r^k with the lag-1 correlation r."""
    r = 1 - good_to_bad - bad_to_good
    return 1 + 2 * sum((1 - lag / window) * r**lag for lag in range(1, window))


def inverted(table: Table, key: int, n: int) -> Estimate:
    """Return the share of neighbouring beats that arrive in the wrong order."""
    shares = [float(np.mean(np.diff(arrivals(table, 0, None, n // BATCHES, seed)) < 0)) for seed in seeds(key, BATCHES)]
    return mean(shares)


def _order() -> list[Case]:
    cases = []
    for a, b in ((0.01, 0.2), (0.05, 0.5), (0.001, 0.1)):
        rows = [("loss", a / (a + b)), ("mean burst", 1 / b), ("lag-1 correlation", 1 - a - b)]
        cases += [
            Case(
                f"bursts {a:g}/{b:g}: {name}", GROUP,
                f"Bursts with sojourns that make P(good to bad) {a:g} and P(bad to good) {b:g} between beats; {name}",
                "Gilbert 1960", partial(burst, column, a, b), target, full=4_000_000, small=400_000,
                slack=0.003 * target if column == 1 else 0.0005,
            )
            for column, (name, target) in enumerate(rows)
        ]  # fmt: skip
    cases += [
        Case(
            f"bursts {a:g}/{b:g}: variance of the loss", GROUP,
            f"Bursts with P(good to bad) {a:g} and P(bad to good) {b:g} between beats; variance of the loss share of"
            f" {WINDOW} beats over that of independent losses",
            "Gilbert 1960: (2 - a - b) / (a + b) in the limit, less the ends of the window", partial(inflation, a, b),
            inflated(a, b, WINDOW), full=8_000_000, small=400_000,
        )
        for a, b in ((0.01, 0.2), (0.05, 0.5))
    ]  # fmt: skip
    laws = [
        ("Exp(10 ms)", quantiles.exponential(10 * MS), exp(-1) / 2),
        ("Exp(40 ms)", quantiles.exponential(40 * MS), exp(-0.25) / 2),
        ("U[0, 20 ms]", quantiles.uniform(0, 20 * MS), 0.125),
        ("U[0, 40 ms]", quantiles.uniform(0, 40 * MS), 0.5 * 0.75**2),
    ]  # fmt: skip
    cases += [
        Case(
            f"neighbours inverted, 10 ms apart, delay {name}", GROUP,
            f"probe over a link of delay {name}; share of neighbouring messages in the wrong order",
            "convolution of the law with itself", partial(inverted, table), target, full=2_000_000, small=100_000,
        )
        for name, table, target in laws
    ]  # fmt: skip
    return cases


# Failure detectors


def detector(what: str, loss: float, delay_ms: float, delta: float, key: int, n: int) -> Estimate:
    """Return E[T_MR], E[T_M] (in heartbeat intervals) or P_A of NFD-S."""
    eta_ns = 1000 * MS
    beats = n // BATCHES
    params = {"gap_ns": eta_ns, "beats": beats, "delta_ns": round(delta * eta_ns)}
    leg = Leg(quantiles.exponential(round(delay_ms * MS)), round(loss * 1e6))
    scenario = world(Probe, params, nodes=2, horizon_ns=(beats + 100) * eta_ns, leg=between(2, leg))
    counters = compiled.run_many(scenario, seeds(key, BATCHES)).counters
    if what == "T_MR":
        return ratio(counters["beats"], counters["mistakes"])
    suspected = counters["suspected_ns"] / eta_ns
    if what == "T_M":
        return ratio(suspected, counters["mistakes"])
    return ratio(counters["beats"] - suspected, counters["beats"])


def _detectors() -> list[Case]:
    rows = [
        (0.01, 20, 0.2, 100.56, 0.82648, 0.99178111), (0.01, 20, 0.5, 101.01, 0.53010, 0.99475200),
        (0.01, 20, 1.0, 101.01, 0.03010, 0.99970200),
        (0.01, 20, 1.2, 10055.8, 0.82648, 0.99991781), (0.1, 500, 0.5, 2.7125, 0.58491, 0.784364),
        (0.1, 500, 1.0, 5.1029, 0.41374, 0.918921), (0.1, 500, 2.0, 43.113, 0.38340, 0.991107),
        (0.1, 500, 3.0, 420.81, 0.37921, 0.999099),
    ]  # fmt: skip
    cases = [
        Case(
            f"NFD-S loss {loss:g}, delay Exp({delay} ms), delta {delta:g}: {what}", GROUP,
            f"probe with detector, heartbeats every second; {what}" + (" in seconds" if what != "P_A" else ""), CHEN,
            partial(detector, what, loss, delay, delta), target, full=2_000_000, small=200_000,
            slack=0.002 * target if what != "P_A" else 0.0, confidence="C",
        )
        for loss, delay, delta, *targets in rows
        for what, target in zip(("T_MR", "T_M", "P_A"), targets, strict=True)
    ]  # fmt: skip
    return cases


CASES = [*_repetition(), *_order(), *_detectors()]
CONTROLS = [
    Case(
        "control: loss .2 for .1", GROUP, "loss .2 held against the attempts of .1", "geometric law",
        partial(attempts, "transmissions", 200_000, 0), 1 / 0.9, full=20_000, small=20_000, flaw="loss doubled",
    ),
    Case(
        "control: bursts of 4 for 5", GROUP, "P(bad to good) .25 held against the burst of .2", "Gilbert 1960",
        partial(burst, 1, 0.01, 0.25), 5.0, full=400_000, small=400_000, slack=0.015, flaw="shorter bursts",
    ),
    Case(
        "control: delta 1.1 for 1", GROUP, "delta 1.1 held against the mistakes of 1", CHEN,
        partial(detector, "T_MR", 0.1, 500, 1.1), 5.1029, full=200_000, small=200_000, slack=0.01,
        flaw="detector 10 % more patient",
    ),
]  # fmt: skip
