"""The arithmetic of a comparison, against SciPy and by construction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lab.calibration.compare import compare, ks_critical, ks_statistic, quantile_interval


def generator(key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key))


@pytest.mark.parametrize("key", range(6))
def test_the_statistic_is_that_of_scipy(key: int) -> None:
    drawn = generator(key)
    a, b = drawn.normal(size=60), np.round(drawn.normal(0.3, 1, size=500), key % 3)  # with ties, too
    assert ks_statistic(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)


def test_the_critical_value_is_the_limit_law_of_scipy() -> None:
    for n, m in ((60, 4000), (60, 60)):
        expected = stats.kstwobign.ppf(0.95) * np.sqrt((n + m) / (n * m))
        assert ks_critical(n, m) == pytest.approx(expected, rel=1e-3)


def test_the_band_holds_what_is_alike_and_not_what_is_shifted() -> None:
    inside, caught = 0, 0
    for key in range(200):
        drawn = generator(key)
        a, b = drawn.exponential(size=60), drawn.exponential(size=1200)
        inside += ks_statistic(a, b) <= ks_critical(60, 1200)
        caught += ks_statistic(a + 0.3, b) > ks_critical(60, 1200)
    assert 180 <= inside <= 200 and caught >= 180


def test_a_median_interval_covers_the_ratio() -> None:
    covered = 0
    for key in range(40):
        drawn = generator(key)
        low, high = quantile_interval(drawn.normal(100, 10, 60), drawn.normal(110, 10, 300), 0.5, key)
        covered += low <= 0.1 <= high
    assert covered >= 34


def test_limits_decide_and_nothing_to_compare_is_said() -> None:
    drawn = generator(1)
    real, alike, far = drawn.normal(100, 5, 400), drawn.normal(100, 5, 1000), drawn.normal(104, 5, 1000)
    same, other = compare(real, alike), compare(real, far)
    assert same and same.median_inside and same.ks_inside and same.n_containers == 400
    assert other and not other.median_inside and not other.ks_inside
    assert compare(real, np.empty(0)) is None
    fixed = compare(real, alike, 0.05)
    assert fixed and fixed.ks_limit == 0.05 and fixed.as_json()["median_low"] is None  # not independent: no interval
