"""Estimates: known answers, coverage of the intervals, censoring, and what is shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judgement_histories import good, store

from lab.metrics import (
    AGGREGATES,
    METRICS,
    Estimate,
    RunValue,
    format_estimate,
    format_value,
    holm,
    is_counter,
    measure_units,
    measures,
    paired_difference,
    paired_p_value,
    run_values,
    summarise,
)
from lab.metrics.statistics import kaplan_meier, mean, order_statistic_ranks, quantile, student_quantile

REPEATS = 1000


def runs(*values: float, censored: tuple[float, ...] = ()) -> list[RunValue]:
    return [RunValue(value) for value in values] + [RunValue(value, censored=True) for value in censored]


# Known answers


def test_the_ranks_of_the_median_are_those_of_the_tables() -> None:
    # Conover, Practical Nonparametric Statistics; also the exact binomial law.
    assert order_statistic_ranks(10, 0.5, 0.95) == (2, 9)
    assert order_statistic_ranks(20, 0.5, 0.95) == (6, 15)
    assert order_statistic_ranks(5, 0.5, 0.95) == (0, 6)
    assert order_statistic_ranks(6, 0.5, 0.95) == (1, 6)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 400), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_ranks_are_the_tightest_that_cover(n: int, q: float) -> None:
    from scipy.stats import binom

    low, high = order_statistic_ranks(n, q, 0.95)
    assert low == 0 or binom.cdf(low - 1, n, q) <= 0.025 + 1e-12
    assert binom.cdf(low, n, q) > 0.025 - 1e-12
    assert high == n + 1 or binom.sf(high - 1, n, q) <= 0.025 + 1e-12
    assert high == 1 or binom.sf(high - 2, n, q) > 0.025 - 1e-12


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 10, 39, 200, 5_000, 20_000])
def test_students_quantiles_equal_scipy(freedom: int) -> None:
    from scipy.special import stdtrit

    for probability in (0.9, 0.975, 0.995):
        exact = stdtrit(freedom, probability)
        assert student_quantile(probability, freedom) == pytest.approx(exact, rel=1e-6 if freedom < 10_000 else 1e-4)


def test_quantiles_are_values_that_occurred() -> None:
    found = summarise(runs(*range(1, 21)), "p50", "ns")
    assert (found.value, found.low, found.high, found.n, found.censored) == (10, 6, 15, 20, 0)
    assert "binomial" in found.method and "order statistic 10 of 20" in found.method
    assert summarise(runs(*range(1, 101)), "p99", "ns").value == 99
    assert summarise(runs(*range(1, 21)), "p95", "ns").value == 19


def test_too_few_runs_give_no_bound() -> None:
    found = summarise(runs(3, 1, 2), "p50", "ns")
    assert (found.value, found.low, found.high) == (2, None, None)
    assert "too few runs for either bound" in found.method
    found = summarise(runs(*range(40)), "p99", "ns")
    assert found.low == 37 and found.high is None and "too few runs for one bound" in found.method
    found = summarise(runs(5), "mean", "ns")
    assert (found.value, found.low, found.high) == (5, None, None)


def test_runs_where_it_is_not_defined_are_left_out_and_counted() -> None:
    found = summarise([*runs(1, 2, 3), RunValue(None)], "max", "ns")
    assert (found.value, found.n) == (3, 3)
    assert summarise([RunValue(None)], "p50", "ns") == Estimate(
        None, None, None, 0, "ns", 0, 0.95, "not defined in any run"
    )
    with pytest.raises(ValueError, match="not a finite"):
        summarise(runs(float("nan")), "mean", "ns")
    with pytest.raises(ValueError, match="p77"):
        summarise(runs(1), "p77", "ns")


def test_totals_and_extremes() -> None:
    values = runs(1, 0, 0, 2)
    total, average = summarise(values, "total", "count"), summarise(values, "mean", "count")
    assert (total.value, average.value) == (3, 0.75)
    assert total.low == pytest.approx(4 * average.low) and total.high == pytest.approx(4 * average.high)
    assert "total" in total.method
    assert summarise(values, "max", "count").value == 2
    assert summarise(values, "min", "count").value == 0


def test_no_event_has_the_upper_bound_of_the_rule_of_three() -> None:
    values = runs(*[0] * 300)
    found = summarise(values, "total", "count")
    assert (found.value, found.low, found.high) == (0, 0, 3) and "rule of three" in found.method
    assert summarise(values, "mean", "count").high == pytest.approx(0.01)
    # 0.99 ** 300 is 4.9 %: a rate above the bound would have shown an event with 95 % probability.
    assert 0.99**300 < 0.05 < 0.9905**300 * 1.17
    assert "rule of three" not in summarise(values, "total", "ns").method


def test_equal_runs_have_a_degenerate_interval_and_say_so() -> None:
    found = summarise(runs(*[0.1] * 7), "mean", "share")
    assert (found.value, found.low, found.high) == (0.1, 0.1, 0.1) and "all 7 runs equal" in found.method


# Censoring


def test_a_quantile_among_censored_runs_is_beyond_the_horizon() -> None:
    found = summarise(runs(1, 2, 3, 4, censored=(10, 10, 10, 10, 10, 10)), "p50", "ns")
    assert (found.value, found.high, found.limit, found.censored, found.n) == (None, None, 10, 6, 10)
    assert found.low == 2
    found = summarise(runs(*range(1, 10), censored=(10,)), "p50", "ns")
    assert (found.value, found.low, found.high) == (5, 2, 9)
    found = summarise(runs(censored=(10, 12)), "p50", "ns")
    assert (found.value, found.limit) == (None, 10)


def test_censored_runs_below_others_use_kaplan_meier() -> None:
    # Kaplan & Meier (1958), the example of section 2: deaths at 0.8, 3.1, 5.4, 9.2; losses at 1.0, 2.7, 7.0, 12.1.
    values = np.array([0.8, 3.1, 5.4, 9.2, 1.0, 2.7, 7.0, 12.1])
    censored = np.array([False] * 4 + [True] * 4)
    times, survival, spread = kaplan_meier(values, censored)
    assert times.tolist() == [0.8, 3.1, 5.4, 9.2]
    assert survival.tolist() == pytest.approx([7 / 8, 7 / 10, 21 / 40, 21 / 80])
    assert spread.tolist() == pytest.approx(np.cumsum([1 / 56, 1 / 20, 1 / 12, 1 / 2]).tolist())
    found = quantile(values, censored, 0.5, 0.95)
    assert found.value == 9.2 and "Kaplan-Meier" in found.method
    assert quantile(values, censored, 0.9, 0.95).value is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=40))
def test_kaplan_meier_equals_scipy(rows: list[tuple[int, bool]]) -> None:
    from scipy.stats import CensoredData, ecdf

    values = np.array([value for value, _ in rows], dtype=float)
    censored = np.array([flag for _, flag in rows])
    times, survival, _ = kaplan_meier(values, censored)
    exact = ecdf(CensoredData.right_censored(values, censored)).sf
    assert survival == pytest.approx(exact.evaluate(times))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=2, max_size=40), st.sampled_from([0.5, 0.9]))
def test_cutting_runs_short_never_changes_what_is_still_known(values: list[int], q: float) -> None:
    whole = quantile(np.array(values, dtype=float), np.zeros(len(values), dtype=bool), q, 0.95)
    horizon = 20.0
    cut = np.array([min(value, horizon) for value in values])
    found = quantile(cut, np.array([value > horizon for value in values]), q, 0.95)
    for now, before in ((found.value, whole.value), (found.low, whole.low), (found.high, whole.high)):
        assert now == before if before is None or before <= horizon else now is None
    if found.value is None:
        assert found.limit is not None and found.limit <= whole.value


def test_a_mean_with_censored_runs_is_restricted_and_says_so() -> None:
    found = summarise(runs(1, 2, censored=(10,)), "mean", "ns")
    assert found.value == pytest.approx(13 / 3) and found.method.startswith("restricted: 1 of 3 runs")
    assert summarise(runs(1, 2, censored=(10,)), "total", "ns").method.startswith("restricted")


def test_extremes_of_censored_runs() -> None:
    found = summarise(runs(1, 20, censored=(10,)), "max", "ns")
    assert (found.value, found.limit) == (None, 20)
    assert summarise(runs(1, censored=(10,)), "min", "ns").value == 1
    found = summarise(runs(11, censored=(10,)), "min", "ns")
    assert (found.value, found.limit) == (None, 10)


# Coverage: of 95 % intervals about 95 % hold the truth. With 1,000 repeats the share itself is known to 1.4 points.


def coverage(hits: list[bool]) -> float:
    return sum(hits) / len(hits)


def holds(low: float | None, high: float | None, exact: float) -> bool:
    return (low is None or low <= exact) and (high is None or exact <= high)


@pytest.mark.parametrize("n", [20, 40, 100])
def test_intervals_of_the_median_cover(n: int) -> None:
    luck = np.random.default_rng(n)
    never = np.zeros(n, dtype=bool)
    hits = []
    for _ in range(REPEATS):
        found = quantile(luck.exponential(size=n), never, 0.5, 0.95)
        hits.append(holds(found.low, found.high, np.log(2)))
    assert 0.93 <= coverage(hits) <= 0.975


@pytest.mark.parametrize(("law", "exact"), [("exponential", 1.0), ("normal", 0.0), ("uniform", 0.5), ("poisson", 4.0)])
def test_intervals_of_the_mean_cover(law: str, exact: float) -> None:
    luck = np.random.default_rng(11)
    n = 40
    arguments = {"lam": 4.0} if law == "poisson" else {}
    hits = []
    for key in range(REPEATS):
        values = np.asarray(getattr(luck, law)(size=n, **arguments), dtype=float)
        found = mean(values, 0.95, key % 5)
        hits.append(holds(found.low, found.high, exact))
    assert 0.93 <= coverage(hits) <= 0.975


def test_intervals_of_a_censored_median_cover() -> None:
    luck = np.random.default_rng(5)
    hits = []
    for _ in range(REPEATS):
        values, cut = luck.exponential(size=60), luck.uniform(0.2, 3.0, size=60)
        found = quantile(np.minimum(values, cut), values > cut, 0.5, 0.95)
        hits.append(holds(found.low, found.high, np.log(2)))
    assert 0.93 <= coverage(hits) <= 0.975


def test_intervals_of_paired_differences_cover_and_are_narrower() -> None:
    luck = np.random.default_rng(8)
    hits, narrower = [], []
    for _ in range(400):
        shared = luck.exponential(size=30) * 10
        before = {seed: RunValue(value) for seed, value in enumerate(shared + luck.normal(size=30))}
        after = {seed: RunValue(value) for seed, value in enumerate(shared + 1 + luck.normal(size=30))}
        found = paired_difference(before, after, unit="ns")
        alone = summarise(list(before.values()), "mean", "ns")
        hits.append(holds(found.low, found.high, 1.0))
        narrower.append(found.high - found.low < alone.high - alone.low)
    assert 0.92 <= coverage(hits) <= 0.98
    assert all(narrower)


# Comparisons


def test_paired_differences_use_common_seeds_alone() -> None:
    a = {1: RunValue(1), 2: RunValue(2), 3: RunValue(3), 9: RunValue(100)}
    b = {3: RunValue(2), 2: RunValue(1), 1: RunValue(0), 8: RunValue(-100), 9: RunValue(None)}
    for statistic in ("mean", "median"):
        found = paired_difference(a, b, unit="ns", statistic=statistic)
        assert (found.value, found.n) == (-1, 3) and "paired" in found.method
    assert paired_difference(a, {}, unit="ns").value is None
    cut = paired_difference(a, {**b, 1: RunValue(5, censored=True)}, unit="ns")
    assert cut.censored == 1 and "restricted" in cut.method


def test_paired_p_values_are_exact_for_few_pairs() -> None:
    zero = {seed: RunValue(0) for seed in range(30)}
    up = {seed: RunValue(seed + 1) for seed in range(5)}
    assert paired_p_value(zero, up) == pytest.approx(2 / 2**5)
    assert paired_p_value(zero, zero) == 1
    assert paired_p_value(zero, {}) is None
    many = {seed: RunValue(1 + seed % 3) for seed in range(30)}
    assert paired_p_value(zero, many, key=1) == pytest.approx(1e-4)
    assert paired_p_value(zero, many, key=1) == paired_p_value(many, zero, key=1)


def test_p_values_are_uniform_without_a_difference() -> None:
    luck = np.random.default_rng(3)
    rejected = 0
    for _ in range(600):
        n = 10
        a = {seed: RunValue(value) for seed, value in enumerate(luck.normal(size=n))}
        b = {seed: RunValue(value) for seed, value in enumerate(luck.normal(size=n))}
        rejected += paired_p_value(a, b) <= 0.05
    assert 0.03 <= rejected / 600 <= 0.07


def test_large_samples_take_the_normal_limit() -> None:
    luck = np.random.default_rng(4)
    a = {seed: RunValue(0) for seed in range(2500)}
    b = {seed: RunValue(value) for seed, value in enumerate(luck.normal(0.1, 1, size=2500))}
    assert paired_p_value(a, b) < 1e-4
    assert "Student" in paired_difference(a, b, unit="ns").method


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


# Measures


def test_every_measure_has_a_unit_and_an_estimate() -> None:
    rows = [run_values(store(seed)) for seed in range(8)]
    rows = [row | {"count.elections": RunValue(float(number))} for number, row in enumerate(rows)]
    counters = ["elections"]
    found, units = measures(rows), measure_units("changelog", counters)
    # Of counters the bare name alone is estimated unasked.
    assert found.keys() == {name for name in units if not name.startswith("count.") or is_counter(name)}
    own = {name: metric for name, metric in METRICS.items() if metric.applies("changelog")}
    assert found["count.elections"].value == 3.5 and len(units) == (len(own) + len(counters)) * (1 + len(AGGREGATES))
    assert len(measure_units()) == len(METRICS) * (1 + len(AGGREGATES))
    assert units["convergence"] == units["convergence.p99"] == "ns" and units["availability"] == "share"
    for name, estimate in found.items():
        assert estimate.unit == units[name] and estimate.method and estimate.n <= 8
        numbers = (estimate.value, estimate.low, estimate.high, estimate.limit)
        assert all(number is None or np.isfinite(number) for number in numbers)
        assert format_estimate(estimate)
    assert all(not metric.summary.endswith(".") for metric in METRICS.values())
    for name, metric in own.items():
        assert found[name] == found[f"{name}.{metric.default}"]
        assert metric.unit in {"ns", "share", "share_seconds", "ratio", "count"} and not metric.summary.endswith(".")


def test_the_same_rows_give_the_same_estimates() -> None:
    rows = [run_values(store(seed)) for seed in range(12)]
    assert measures(rows) == measures(rows)
    assert measures(rows, key=1)["amplification.mean"].value == measures(rows)["amplification.mean"].value
    other = measures(rows, key=1)["divergence_area.mean"]
    assert other != measures(rows)["divergence_area.mean"]
    assert measures([])["convergence"].n == 0
    assert measures([{"retries": RunValue(3)}, {}])["retries.mean"].n == 1


# What is shown


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1_240_000_000, "ns", "1.24 s"),
        (999_900_000, "ns", "1.00 s"),
        (20_000_000, "ns", "20.0 ms"),
        (1_500, "ns", "1.50 µs"),
        (7, "ns", "7 ns"),
        (0, "ns", "0 s"),
        (125e9, "ns", "125 s"),
        (-120e6, "ns", "−120 ms"),
        (0.9995, "share", "99.95 %"),
        (0.99951, "share", "99.95 %"),
        (0.5, "share", "50.0 %"),
        (1, "share", "100 %"),
        (0, "share", "0 %"),
        (0.00123, "share", "0.123 %"),
        (3.0245, "ratio", "3.02×"),
        (1204, "count", "1,204"),
        (0.75, "count", "0.750"),
        (0.0123, "share_seconds", "0.0123 share·s"),
        (None, "ns", "–"),
    ],
)
def test_values_read_well(value: float | None, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(1.24e9, 1.1e9, 1.41e9, 40, "ns", 0, 0.95, ""), "1.24 s (1.10–1.41, n=40)"),
        (Estimate(1.24e9, 1.1e9, None, 40, "ns", 3, 0.95, ""), "1.24 s (≥ 1.10, n=40, 3 censored)"),
        (Estimate(1.24e9, None, 2e9, 40, "ns", 0, 0.95, ""), "1.24 s (≤ 2.00, n=40)"),
        (Estimate(1.24e9, None, None, 2, "ns", 0, 0.95, ""), "1.24 s (n=2)"),
        (Estimate(None, 1e9, None, 40, "ns", 23, 0.95, "", 5e9), "> 5 s (n=40, 23 censored)"),
        (Estimate(None, None, None, 0, "ns", 0, 0.95, ""), "not defined (n=0)"),
        (Estimate(0, 0, 3, 300, "count", 0, 0.95, ""), "0 (0–3, n=300)"),
        (Estimate(0.9995, 0.998, 1, 40, "share", 0, 0.95, ""), "99.95 % (99.80–100.00, n=40)"),
        (Estimate(-120e6, -200e6, 1e6, 40, "ns", 0, 0.95, ""), "−120 ms (−200 to 1, n=40)"),
    ],
)
def test_estimates_read_well(estimate: Estimate, text: str) -> None:
    assert format_estimate(estimate) == text


def test_a_real_table_reads_well() -> None:
    found = measures([run_values(good().build())])
    assert format_estimate(found["convergence"]) == "10 ns (n=1)"
    assert format_estimate(found["lost_acknowledged"]) == "0 (0–3, n=1)"


# Against SciPy


def test_kaplan_meier_bounds_equal_scipy() -> None:
    from scipy.stats import CensoredData, ecdf

    luck = np.random.default_rng(2)
    values, cut = luck.exponential(size=50), luck.uniform(0.2, 3.0, size=50)
    seen, censored = np.minimum(values, cut), values > cut
    bands = ecdf(CensoredData.right_censored(seen, censored)).sf.confidence_interval(method="log-log")
    times = np.sort(seen[~censored])
    low = next(time for time in times if bands.low.evaluate(time) <= 0.5)
    high = next(time for time in times if bands.high.evaluate(time) <= 0.5)
    found = quantile(seen, censored, 0.5, 0.95)
    assert (found.low, found.high) == (low, high)


def test_bootstrap_bounds_equal_scipy() -> None:
    from statistics import NormalDist

    from scipy.stats import bootstrap

    # At 80 %: farther out in the tails both are noisier than the tolerance.
    n = 12
    values = np.log(1 - (np.arange(n) + 0.5) / n) ** 2  # skewed
    widened = student_quantile(0.9, n - 1) * np.sqrt(n / (n - 1))
    exact = bootstrap(
        (values,),
        np.mean,
        confidence_level=2 * NormalDist().cdf(widened) - 1,
        n_resamples=60_000,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    found = [mean(values, 0.8, key) for key in range(30)]
    width = exact.high - exact.low
    assert np.mean([one.low for one in found]) == pytest.approx(exact.low, abs=0.015 * width)
    assert np.mean([one.high for one in found]) == pytest.approx(exact.high, abs=0.015 * width)
