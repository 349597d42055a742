"""One comparison: a model of ours, a target from the literature or a closed form, a tolerance, a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import hypot, inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.core import draws

Z_MAX = 4.0
KEY = 20_260_101  # of every comparison; another key must give the same verdicts


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its standard error; 0 says that it is exact."""

    value: float
    error: float


Model = Callable[[int, int], Estimate]


@dataclass(frozen=True, slots=True)
class Case:
    """A comparison. `model` computes the value from a key and a size n (`small` in tests, `full` in the full run).

    `target_error` is the standard error of the target itself; `slack` is what the value may be off beyond 4 standard
    errors, with its reason in `text`. Confidence: A primary source and own recomputation, B good source, model partly
    inferred, C derivation only. `limit` is a sentence where a known limit of ours makes the case disagree at full size:
    it is shown as disagreeing all the same, but does not fail the run. `flaw` marks a control: a model made wrong on
    purpose, which must be found out.
    """

    name: str
    group: str
    text: str
    source: str
    model: Model
    target: float
    full: int
    small: int
    target_error: float = 0.0
    slack: float = 0.0
    confidence: str = "A"
    flaw: str = ""
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a comparison said. `tolerance` is the largest difference that agrees; `z` is in standard errors."""

    case: Case
    n: int
    value: float
    error: float
    tolerance: float
    z: float
    ok: bool


def compare(case: Case, n: int, key: int = KEY) -> Outcome:
    """Run a comparison at size n. All comparisons share a key: those of like models meet the same luck."""
    found = case.model(key, n)
    error = hypot(found.error, case.target_error)
    difference = found.value - case.target
    rounding = 1e-9 * max(1.0, abs(case.target))
    tolerance = Z_MAX * error + case.slack
    z = difference / error if error else (0.0 if abs(difference) <= rounding else inf)
    return Outcome(case, n, found.value, found.error, tolerance, z, abs(difference) <= tolerance + rounding)


def seeds(key: int, n: int) -> list[int]:
    """Return n seeds derived from a key."""
    return [draws.chain(key, number) >> 1 for number in range(n)]


# Estimates


def exact(value: float) -> Estimate:
    """Return a value without error."""
    return Estimate(float(value), 0.0)


def mean(values: Sequence[float] | NDArray[Any]) -> Estimate:
    """Return the mean of independent values with its standard error."""
    column = np.asarray(values, dtype=np.float64)
    return Estimate(float(column.mean()), float(column.std(ddof=1) / sqrt(len(column))))


def ratio(above: Sequence[float] | NDArray[Any], below: Sequence[float] | NDArray[Any]) -> Estimate:
    """Return sum(above) / sum(below) over independent runs, with the standard error of a ratio estimate."""
    top, bottom = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    value = top.sum() / bottom.sum()
    residual = (top - value * bottom).std(ddof=1) / (bottom.mean() * sqrt(len(top)))
    return Estimate(float(value), float(residual))


def share(count: int, n: int, target: float) -> Estimate:
    """Return a share of n independent trials with the standard error that the target implies."""
    return Estimate(count / n, sqrt(target * (1 - target) / n))


def quantile(values: Sequence[float] | NDArray[Any], q: float) -> Estimate:
    """Return a quantile of independent values; its error is a quarter of the way between the ranks 2 deviations off."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    spread = 2 * sqrt(n * q * (1 - q))
    places = [min(n - 1, max(0, round(place))) for place in (q * n - spread, q * n, q * n + spread)]
    low, middle, high = (float(ordered[place]) for place in places)
    return Estimate(middle, (high - low) / 4)


def flawed(case: Case, flaw: str) -> Case:
    """Return a case as a control: it must disagree."""
    return replace(case, flaw=flaw)
