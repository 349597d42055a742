"""Two samples of the same thing from two planes: how far apart, and how far apart luck alone would put them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 2000
BLOCK = 100
MEDIAN_LIMIT = 0.03
ACKNOWLEDGE_LIMIT = 0.05


def ks_statistic(a: Values, b: Values) -> float:
    """Return the two-sample Kolmogorov-Smirnov statistic: the greatest difference of the empirical distributions."""
    places = np.concatenate([a, b])
    below_a = np.searchsorted(np.sort(a), places, side="right") / len(a)
    below_b = np.searchsorted(np.sort(b), places, side="right") / len(b)
    return float(np.abs(below_a - below_b).max())


def ks_critical(n: int, m: int, confidence: float = CONFIDENCE) -> float:
    """Return the value that the statistic of two samples of one law stays below with this probability.

    The limit law for independent values, sqrt(-log((1 - confidence) / 2) / 2) * sqrt((n + m) / (n m)) (Smirnov 1948).
    """
    return sqrt(-log((1 - confidence) / 2) / 2) * sqrt((n + m) / (n * m))


def quantile_interval(real: Values, simulated: Values, share: float, key: int = 0) -> tuple[float, float]:
    """Return a 95 % bootstrap interval of simulated / real - 1 of a quantile; both samples are resampled."""
    generator = np.random.Generator(np.random.Philox(key=key))
    found = []
    for values in (real, simulated):
        parts = []
        for start in range(0, RESAMPLES, BLOCK):  # in blocks: all at once would need gigabytes
            drawn = values[generator.integers(0, len(values), (min(BLOCK, RESAMPLES - start), len(values)))]
            parts.append(np.quantile(drawn, share, axis=1, method="inverted_cdf"))
        found.append(np.concatenate(parts))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = found[1] / found[0] - 1
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Compared:
    """One quantity on both planes (ns). Differences are simulator against containers, as shares of the latter.

    `ks_limit` is what `ks` must stay at or below: the null band of convergence, a fixed limit for latencies.
    """

    n_containers: int
    n_simulator: int
    median_containers: float
    median_simulator: float
    median_difference: float
    median_low: float
    median_high: float
    p95_containers: float
    p95_simulator: float
    p95_difference: float
    p95_low: float
    p95_high: float
    ks: float
    ks_limit: float
    ks_null: float

    @property
    def median_inside(self) -> bool:
        """Whether the medians differ by at most 3 %."""
        return abs(self.median_difference) <= MEDIAN_LIMIT

    @property
    def ks_inside(self) -> bool:
        """Whether the distributions are as close as they must be."""
        return self.ks <= self.ks_limit

    def as_json(self) -> dict[str, Any]:
        """Return it with null for what is no number."""
        data = asdict(self)
        data = {name: value if np.isfinite(value) else None for name, value in data.items()}
        return {**data, "median_inside": self.median_inside, "ks_inside": self.ks_inside}


def compare(real: Values, simulated: Values, ks_limit: float | None = None, key: int = 0) -> Compared | None:
    """Return how two samples differ; None where one is empty. Without `ks_limit` the null band is the limit.

    With `ks_limit` the values are not independent of each other, so the intervals, which take them so, are left out.
    """
    if not len(real) or not len(simulated):
        return None
    null = ks_critical(len(real), len(simulated))
    found: dict[str, float] = {}
    for name, share in (("median", 0.5), ("p95", 0.95)):
        before, after = (float(np.quantile(v, share, method="inverted_cdf")) for v in (real, simulated))
        found[f"{name}_containers"], found[f"{name}_simulator"] = before, after
        found[f"{name}_difference"] = after / before - 1 if before else (0.0 if not after else np.inf)
        sides = quantile_interval(real, simulated, share, key) if ks_limit is None else (np.nan, np.nan)
        found[f"{name}_low"], found[f"{name}_high"] = sides
    limit = null if ks_limit is None else ks_limit
    return Compared(
        n_containers=len(real), n_simulator=len(simulated), ks=ks_statistic(real, simulated), ks_limit=limit,
        ks_null=null, **found,
    )  # fmt: skip
