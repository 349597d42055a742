"""Problems whose best setting is known exactly, as runners that the tuner takes for simulations.

Restart on timeout: an operation is tried again, with a fresh duration, each time the timeout TO passes. Its mean is
E(TO) = (integral of S from 0 to TO) / F(TO), with S = 1 - F the tail of the duration's law. Hedging: a second copy is
sent after d; the tail is S(x) up to d and S(x) S(x - d) beyond, and the share of second copies is S(d). One second of
`policy.timeout` is one unit of the law.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.metrics.estimate import RunValue
from lab.run import RunRow, RunSet
from lab.spec.schema import Experiment
from lab.tuning.candidate import Run
from tests.lab.conftest import SMALL

Values = NDArray[np.float64]
OPERATIONS = 200  # a restart run
ATTEMPTS = 120
HEDGED = 20_000  # operations of a hedging run: 20 beyond the 99.9th percentile


@dataclass(frozen=True)
class Law:
    """A law of durations by its quantile function and its tail."""

    quantile: Callable[[Values], Values]
    tail: Callable[[Values], Values]


def pareto(shape: float) -> Law:
    return Law(lambda u: (1 - u) ** (-1 / shape), lambda x: np.where(x > 1, np.maximum(x, 1) ** -shape, 1.0))


def exponential() -> Law:
    return Law(lambda u: -np.log1p(-u), lambda x: np.exp(-x))


def lognormal(sigma: float) -> Law:
    from scipy.special import ndtr, ndtri

    return Law(lambda u: np.exp(sigma * ndtri(u)), lambda x: 1 - ndtr(np.log(np.maximum(x, 1e-12)) / sigma))


def mixture(weights: Sequence[float], tails: Sequence[Callable[[Values], Values]]) -> Law:
    """A mixture, with the quantile by a fine table (its error is far below the noise of any run)."""

    def tail(x: Values) -> Values:
        return sum(weight * part(x) for weight, part in zip(weights, tails, strict=True))  # type: ignore[return-value]

    places = np.concatenate(([0.0], np.geomspace(1e-4, 1e6, 200_001)))
    table = 1 - tail(places)
    return Law(lambda u: np.interp(u, table, places), tail)


def hyperexponential() -> Law:
    return mixture((0.9, 0.1), (lambda x: np.exp(-10 * x), lambda x: np.exp(-0.1 * x)))


def disk() -> Law:
    """LNKD-DISK's write leg in milliseconds: 38 % Pareto(1.05, 1.51) and 62 % exponential with rate 0.183."""
    return mixture(
        (0.38, 0.62),
        (lambda x: np.where(x > 1.05, np.maximum(x, 1.05) / 1.05, 1.0) ** -1.51, lambda x: np.exp(-0.183 * x)),
    )


def restart_mean(law: Law, timeout: float) -> float:
    """Return E(TO), by the trapezoidal rule."""
    places = np.linspace(0.0, timeout, 200_001)
    tails = law.tail(places)
    area = float(((tails[1:] + tails[:-1]) / 2).sum() * (places[1] - places[0]))
    return area / (1 - float(law.tail(np.array([timeout]))[0]))


def hedged_p999(law: Law, delay: float) -> float:
    """Return the 99.9th percentile with a second copy after `delay`, by bisection."""
    low, high = 0.0, 1e5

    def beyond(x: float) -> float:
        tails = law.tail(np.array([x, max(x - delay, 0.0)]))
        return float(tails[0] * (tails[1] if x > delay else 1.0))

    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle) > 1e-3 else (low, middle)
    return high


@lru_cache(maxsize=4096)
def uniforms(seed: int, rows: int, columns: int) -> Values:
    return np.random.Generator(np.random.Philox(key=seed)).random((rows, columns))


def restart_runner(law: Law) -> Run:
    """Each run: the mean time of OPERATIONS operations, as `convergence`; the same durations for every timeout."""

    @lru_cache(maxsize=4096)
    def durations(seed: int) -> Values:
        return law.quantile(uniforms(seed, OPERATIONS, ATTEMPTS))

    def one(timeout: float, seed: int) -> dict[str, RunValue]:
        in_time = durations(seed) <= timeout
        failed = in_time.argmax(axis=1)
        taken = failed * timeout + durations(seed)[np.arange(OPERATIONS), failed]
        return {"convergence": RunValue(float(taken.mean()) * 1e9, censored=not in_time.any(axis=1).all())}

    return _runner(one)


def hedge_runner(law: Law) -> Run:
    """Each run: the 99.9th percentile as `acknowledge_latency_p99`, and 1 + the share of second copies."""

    @lru_cache(maxsize=1024)
    def legs(seed: int) -> Values:
        return law.quantile(uniforms(seed, 2, HEDGED))

    def one(delay: float, seed: int) -> dict[str, RunValue]:
        first, second = legs(seed)
        taken = np.minimum(first, delay + second)
        p999 = float(np.partition(taken, HEDGED - HEDGED // 1000)[HEDGED - HEDGED // 1000])
        return {
            "acknowledge_latency_p99": RunValue(p999 * 1e9),
            "amplification": RunValue(1 + float((first > delay).mean())),
        }

    return _runner(one)


def _runner(one: Callable[[float, int], dict[str, RunValue]]) -> Run:
    def run(candidate: Experiment, seeds: Sequence[int]) -> RunSet:
        setting = candidate.policy.timeout / 1e9
        rows = [RunRow(seed, one(setting, seed), (), (), {}, (), (), "", "", 0, (), {}) for seed in seeds]
        return RunSet(candidate, "sim", "toy", rows)

    return run


def problem(
    current: str, space: str, minimise: str = "convergence.mean", subject_to: Sequence[str] = (), **plan: Any
) -> Experiment:
    """Return an experiment that tunes one timeout."""
    tune = {
        "parameters": {"policy.timeout": space}, "minimise": [minimise], "subject_to": list(subject_to),
        "candidates": 32, "seeds": 40, "confirm_seeds": 60,
    } | plan  # fmt: skip
    return Experiment.model_validate(SMALL | {"policy": {"timeout": current}, "tune": tune})
