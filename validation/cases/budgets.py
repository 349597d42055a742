"""Retries of remote calls and what limits them: amplification, budgets, collapses that outlast their cause."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from lab.core import budgets
from lab.engines import compiled
from lab.history import ACKNOWLEDGED
from validation.case import Case, Estimate, exact, mean, ratio, seeds
from validation.cases.rpc import GROUP, UNBOUNDED, Params, control, histories
from validation.protocols.layers import Layers
from validation.world import MS, SECOND, workload, world

A6 = "gRPC proposal A6, retry throttling"
BROOKER = "Brooker, retries simulator (100 clients, 10 calls/s each, 10 s), recomputed"
BRONSON = "Bronson et al. 2021, Metastable Failures in Distributed Systems: vulnerable between 150/s and 300/s"
FAILING = UNBOUNDED | {"service_law": 0, "service_ns": 0, "attempts": 4}


# Retries and budgets


@lru_cache(maxsize=64)
def spent(
    changes: Params, rate: float, seconds: float, keys: int, key: int, runs: int
) -> tuple[tuple[int, int, int], ...]:
    """Return (operations, attempts, answers) of each run of a service without queues."""
    found = histories(tuple({**FAILING, **dict(changes)}.items()), 1, rate, seconds, key, runs, keys)
    return tuple((len(h.operations), h.counters["attempts"], h.counters["answered"]) for h in found)


def load(changes: Params, rate: float, seconds: float, keys: int, column: int, key: int, runs: int) -> Estimate:
    """Return attempts (column 1) or answers (column 2) an operation."""
    table = np.array(spent(changes, rate, seconds, keys, key, runs))
    return ratio(table[:, column], table[:, 0])


def grpc_load(p: float, most: int, per_answer: int, attempts: int, operations: int) -> float:
    """Return the expected attempts an operation under gRPC's throttle, one operation after the other.

    A Markov chain over the tokens in thousandths (all in steps of 100), started full, advanced attempt by attempt.
    """
    step = 100
    size = most // step + 1
    tokens = np.arange(size) * step
    down = np.array([budgets.grpc_after_failure(int(t)) // step for t in tokens])
    up = np.minimum(tokens + per_answer, most) // step
    may = 2 * tokens > most
    chance = np.zeros(size)
    chance[-1] = 1.0
    sent = 0.0
    for _ in range(operations):
        ended, trying = np.zeros(size), chance
        for attempt in range(attempts):
            sent += trying.sum()
            np.add.at(ended, up, trying * (1 - p))
            failed = np.zeros(size)
            np.add.at(failed, down, trying * p)
            again = failed * may if attempt + 1 < attempts else np.zeros(size)
            ended += failed - again
            trying = again
        chance = ended
    return float(sent / operations)


def grpc_trace(ratio_milli: int, key: int, n: int) -> Estimate:
    """Return the decisions of the gRPC unit test's trace as the bits of a number, the first decision highest."""
    tokens, most, found = 4000, 4000, 0
    for event in "FSFFFFFSSFFSFSF":
        if event == "F":
            tokens = budgets.grpc_after_failure(tokens)
            found = 2 * found + budgets.grpc_allows(tokens, most)
        else:
            tokens = budgets.grpc_after_success(tokens, most, ratio_milli)
    return exact(found)


def _geometric() -> list[Case]:
    cases = []
    for p, retries in ((0.5, 1), (0.5, 2), (0.5, 3), (0.9, 2), (1.0, 1), (1.0, 2), (1.0, 3)):
        changes = (("error_ppm", round(p * 1e6)), ("attempts", retries + 1))
        for column, what, target in (
            (1, "load", sum(p**failed for failed in range(retries + 1))), (2, "success", 1 - p ** (retries + 1)),
        ):  # fmt: skip
            cases.append(
                Case(
                    f"rpc, {retries} retries at {p:.0%} errors: {what}", GROUP,
                    f"rpc protocol, {retries + 1} attempts, errors of {p:.0%}; {what} an operation",
                    "(1 - p^(N+1)) / (1 - p)", partial(load, changes, 1000.0, 10.0, 1000, column), target, full=40,
                    small=4,
                )
            )  # fmt: skip
    return cases


def _grpc() -> list[Case]:
    cases = [
        Case(
            "gRPC throttle, the unit test's trace", GROUP,
            "lab.core.budgets, at most 4 tokens, ratio 1.6, F S F F F F F S S F F S F S F;"
            " may each F be retried, as bits",
            A6, partial(grpc_trace, 1600), 0b1100001001, full=1, small=1,
        )
    ]  # fmt: skip
    for p in (0.01, 0.05, 0.08, 0.12, 0.2):
        changes = (
            ("error_ppm", round(p * 1e6)), ("budget", budgets.GRPC), ("budget_ppm", 100_000), ("budget_tokens", 10_000),
        )  # fmt: skip
        cases.append(
            Case(
                f"gRPC throttle at {p:.0%} errors: load", GROUP,
                "rpc protocol, at most 10 tokens, ratio .1, 4 attempts, 10,000 operations; attempts an operation",
                f"{A6}; Markov chain of the tokens", partial(load, changes, 1000.0, 10.0, 1000, 1),
                grpc_load(p, 10_000, 100, 4, 10_000), full=200, small=10,
            )
        )  # fmt: skip
    return cases


def _buckets() -> list[Case]:
    cases = []
    rows = [
        (0.05, 1.0521, 0.9999), (0.2, 1.1344, 0.908), (0.5, 1.1419, 0.569),
    ]  # fmt: skip
    for p, attempts, answers in ((0.05, 1.0523, 1.0), (0.2, 1.247, 0.998), (0.5, 1.878, 0.937)):
        for column, what, target in ((1, "load", attempts), (2, "success", answers)):
            cases.append(
                Case(
                    f"three retries at {p:.0%} errors: {what}", GROUP,
                    f"rpc protocol, 100 client processes, 4 attempts, 10,000 calls; {what} a call",
                    BROOKER,
                    partial(load, (("error_ppm", round(p * 1e6)), ("clients", 100)), 1000.0, 10.0, 100, column), target,
                    full=100, small=8, target_error=0.002 / 3, slack=0.002, confidence="B",
                )
            )  # fmt: skip
    long_run: Params = (
        ("budget", budgets.BUCKET), ("budget_ppm", 100_000), ("budget_tokens", 5000), ("attempts", 4),
    )  # fmt: skip
    for p in (0.05, 0.2, 0.5):
        cases.append(
            Case(
                f"adaptive retries at {p:.0%} errors, long run: load", GROUP,
                "rpc protocol, one process, bucket of 5 tokens, .1 a call, 4 attempts, 100,000 calls; load a call",
                "min((1 - p^4) / (1 - p), 1.1); slack .0003 for the first tokens and an empty bucket",
                partial(load, (("error_ppm", round(p * 1e6)), *long_run), 1000.0, 100.0, 100, 1),
                min((1 - p**4) / (1 - p), 1.1), full=40, small=4, slack=0.0003,
            )
        )  # fmt: skip
    for p, attempts, answers in rows:
        changes = (
            ("error_ppm", round(p * 1e6)), ("budget", budgets.BUCKET), ("budget_ppm", 100_000),
            ("budget_tokens", 5000), ("clients", 100),
        )  # fmt: skip
        for column, what, target in ((1, "load", attempts), (2, "success", answers)):
            cases.append(
                Case(
                    f"adaptive retries at {p:.0%} errors: {what}", GROUP,
                    "rpc protocol, 100 client processes, bucket of 5 tokens, .1 a call, 4 attempts, 10,000 calls;"
                    f" {what} a call; slack .002 for calls spread at random over processes",
                    BROOKER, partial(load, changes, 1000.0, 10.0, 100, column), target, full=100, small=8,
                    target_error=0.002 / 3, slack=0.002, confidence="B",
                )
            )  # fmt: skip
    return cases


def _shares() -> list[Case]:
    """Finagle's and Envoy's budgets while everything fails."""
    cases = []
    for part, least, target in ((200_000, 10, 1.3), (200_000, 0, 1.2), (0, 10, 1.1), (500_000, 5, 1.55)):
        changes = (
            ("error_ppm", 1_000_000), ("attempts", 50), ("budget", budgets.FINAGLE), ("budget_ppm", part),
            ("budget_min", least),
        )  # fmt: skip
        cases.append(
            Case(
                f"Finagle budget {part / 1e4:g} % and {least}/s, all fail: load", GROUP,
                "rpc protocol, window of 10 s, 100 operations/s for 100 s, up to 50 attempts; attempts an operation;"
                " slack .005 for the window's ten slices",
                "Finagle RetryBudget: share + least / rate", partial(load, changes, 100.0, 100.0, 1000, 1), target,
                full=40, small=4, slack=0.005,
            )
        )  # fmt: skip
    for part, least, target in ((200_000, 0, 1.25), (500_000, 0, 2.0), (0, 3, 1.015), (200_000, 3, 1.25)):
        envoy: Params = (
            ("error_ppm", 1_000_000), ("attempts", 5), ("budget", budgets.ENVOY), ("budget_ppm", part),
            ("budget_min", least), ("service_ns", 100 * MS),
        )  # fmt: skip
        cases.append(
            Case(
                f"Envoy budget {part / 1e4:g} %, at least {least}, all fail: load", GROUP,
                "rpc protocol, service of 100 ms, 2000 operations/s for 20 s, up to 5 attempts; attempts an"
                " operation; slack 1 % for whole retries, the first and the last 100 ms",
                "Envoy retry_budget: 1 / (1 - share), or 1 + least / (rate x service)",
                partial(load, envoy, 2000.0, 20.0, 1000, 1), target, full=20, small=4,
                slack=0.01 * target if part else 0.001,
            )
        )  # fmt: skip
    return cases


# Collapses


def layered(layers: int, attempts: int, key: int, n: int) -> Estimate:
    """Return the requests an operation that reach what fails behind several layers which make so many attempts each."""
    params = {"attempts": attempts}
    scenario = world(
        Layers, params, nodes=layers + 1, horizon_ns=100 * SECOND,
        workload=workload("constant(1/s)", f"{n * 1000 + 1}ms"),
    )  # fmt: skip
    counters = compiled.run_many(scenario, seeds(key, 2)).counters
    found = counters["reached_last"] / n
    assert len(set(found.tolist())) == 1
    return exact(float(found[0]))


def _layers() -> list[Case]:
    return [
        Case(
            f"{attempts} attempts on each of {layers} layers: load on the last", GROUP,
            f"layers protocol, {layers} services that retry and one behind them that fails; its requests an operation",
            "Google SRE book, addressing cascading failures: attempts ^ layers", partial(layered, layers, attempts),
            attempts**layers, full=20, small=4,
        )
        for attempts, layers in ((3, 5), (4, 3))
    ]  # fmt: skip


def late_goodput(changes: Params, rate: int, seconds: int, key: int, runs: int) -> Estimate:
    """Return answers an operation in the last 20 s, long after 10 s of ten-fold service time at 20 s."""
    settings = {
        "service_law": 0, "service_ns": SECOND // 300, "queue_limit": 65_536, "timeout_ns": SECOND, "attempts": 2,
        "slow_from_ns": 20 * SECOND, "slow_for_ns": 10 * SECOND, **dict(changes),
    }  # fmt: skip
    found = []
    for history in histories(tuple(settings.items()), 1, rate, seconds, key, runs, 65_536, wait_s=2):
        operations = history.operations
        last = operations.intended_ns >= (seconds - 20) * SECOND
        found.append(float(np.mean(operations.outcome[last] == ACKNOWLEDGED)))
    return mean(found) if np.std(found) else exact(found[0])


def _collapses() -> list[Case]:
    text = (
        "rpc protocol, FIFO service of 300/s, Poisson {}/s, timeout 1 s, 2 attempts, {}; service ten times slower in"
        " [20 s, 30 s); answers an operation in the last 20 of {} s; slack .01 for stray timeouts"
    )
    ratio_10 = ("budget_ppm", 100_000)
    rows: list[tuple[int, str, Params, int, float]] = [
        (100, "no budget", (), 120, 1.0), (140, "no budget", (), 400, 1.0), (160, "no budget", (), 400, 0.0),
        (200, "no budget", (), 120, 0.0), (250, "no budget", (), 120, 0.0),
        (200, "no retry", (("attempts", 1),), 120, 1.0),
        (200, "gRPC budget", (("budget", budgets.GRPC), ratio_10), 120, 1.0),
        (200, "Finagle budget", (("budget", budgets.FINAGLE), ratio_10), 120, 1.0),
        (200, "bucket of 10 %", (("budget", budgets.BUCKET), ratio_10), 120, 1.0),
        (250, "gRPC budget", (("budget", budgets.GRPC), ratio_10), 250, 1.0),
    ]  # fmt: skip
    return [
        Case(
            f"collapse at {rate}/s, {told}: goodput after it", GROUP, text.format(rate, told, seconds), BRONSON,
            partial(late_goodput, changes, rate, seconds), target, full=40, small=4, slack=0.01, confidence="B",
        )
        for rate, told, changes, seconds, target in rows
    ]  # fmt: skip


CASES = [*_geometric(), *_layers(), *_grpc(), *_buckets(), *_shares(), *_collapses()]
CONTROLS = [
    control(CASES, "gRPC throttle, the unit test's trace", "ratio 1 for 1.6", partial(grpc_trace, 1000),
            "another ratio"),
    control(CASES, "3 attempts on each of 5 layers: load on the last", "four layers for five",
            partial(layered, 4, 3), "one layer fewer"),
    control(CASES, "gRPC throttle at 12% errors: load", "gRPC throttle off",
            partial(load, (("error_ppm", 120_000),), 1000.0, 10.0, 1000, 1), "no throttle"),
    control(CASES, "Finagle budget 20 % and 10/s, all fail: load", "Finagle without its least rate",
            partial(load, (("error_ppm", 1_000_000), ("attempts", 50), ("budget", budgets.FINAGLE), ("budget_min", 0)),
                    100.0, 100.0, 1000, 1), "no reserve"),
    control(CASES, "Envoy budget 20 %, at least 3, all fail: load", "Envoy's share of 10 % for 20 %",
            partial(load, (("error_ppm", 1_000_000), ("attempts", 5), ("budget", budgets.ENVOY),
                           ("budget_ppm", 100_000), ("service_ns", 100 * MS)), 2000.0, 20.0, 1000, 1),
            "half the share"),
    control(CASES, "collapse at 200/s, gRPC budget: goodput after it", "retries without a budget at 200/s",
            partial(late_goodput, (), 200, 120), "no budget"),
    control(CASES, "collapse at 200/s, no budget: goodput after it", "no trigger at 200/s",
            partial(late_goodput, (("slow_for_ns", 0),), 200, 120), "no trigger"),
]  # fmt: skip
