"""What the suites on overload, hedging, timeouts, detectors, merging and sloppy quorums claim, with its controls."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.checkers import checker_names
from lab.run import RunSet, run_simulated, units_of
from lab.spec.load import load_experiment, override
from lab.tuning.recommend import assumptions

FOLDER = Path(__file__).parents[2] / "experiments"


def suite(name: str, variant: str, seeds: int = 3, **more: str) -> RunSet:
    """Return runs of one variant of a suite; `more` are further settings, `__` for dots."""
    experiment = load_experiment(FOLDER / f"{name}.yaml", units_of, checker_names)
    settings = {path.replace("__", "."): value for path, value in more.items()}
    runs = run_simulated(override(experiment, {**experiment.variants[variant], **settings}), range(seeds), workers=1)
    assert {name for row in runs.rows for name, found in row.validities.items() if found.valid is not True} == set()
    return runs


def value(runs: RunSet, measure: str) -> float:
    found = runs.measure(measure).value
    assert found is not None, measure
    return found


def test_a_storm_outlasts_its_cause_unless_retries_are_limited() -> None:
    free = suite("retry_storms", "no_budget")
    assert value(free, "recovered") < 0.1
    assert value(free, "wasted_work") > 0.8
    assert value(suite("retry_storms", "envoy_least_3"), "recovered") < 0.1, "three a process are 60 at once"
    for variant in ("no_retries", "grpc", "finagle", "envoy", "bucket", "breaker", "propagate"):
        assert value(suite("retry_storms", variant), "recovered") > 0.9, variant
    calm = suite("retry_storms", "no_budget", system__rpc__server__service="2ms")
    assert value(calm, "recovered") == 1, "where the spike is no overload nothing collapses"


def test_timeouts_and_hedges() -> None:
    assert value(suite("adaptive_timeouts", "fixed_short"), "availability") < 0.8
    for variant in ("fixed_long", "rfc6298", "quantile"):
        assert value(suite("adaptive_timeouts", variant), "availability") > 0.99
    plain, hedged = suite("hedging_budgets", "plain"), suite("hedging_budgets", "after_30ms")
    assert value(hedged, "acknowledge_latency_p99") < 0.5 * value(plain, "acknowledge_latency_p99")
    shares = [value(suite("hedging_budgets", name), "hedge_share") for name in ("budget_2", "budget_5", "budget_10")]
    assert shares == sorted(shares)
    assert shares[0] < 0.03
    assert value(hedged, "hedge_share") > shares[2]


def test_detectors_trade_time_for_accusations() -> None:
    for name, variants in (
        ("failure_detectors", ("phi_1", "phi_3", "phi_8", "phi_16")),
        ("heartbeat_timeouts", ("after_150ms", "after_200ms", "after_300ms", "after_1s")),
    ):
        runs = [suite(name, variant) for variant in variants]
        times = [value(run, "detection_time_p50") for run in runs]
        accusations = [value(run, "false_suspicions") for run in runs]
        assert times == sorted(times)
        assert accusations == sorted(accusations, reverse=True)
        assert accusations[0] > 50 > accusations[-1]


def test_a_recommendation_for_a_protocol_without_clients_says_so() -> None:
    experiment = load_experiment(FOLDER / "failure_detectors.yaml", units_of, checker_names)
    assert "Load: no clients, for 60s." in assumptions(experiment)


def test_merging_costs_and_loses() -> None:
    delta, state, eager = (suite("crdt_sync", name) for name in ("delta", "state", "eager"))
    assert value(state, "count.bytes") > 4 * value(delta, "count.bytes")
    assert value(eager, "alike_after") < 0.5 * value(delta, "alike_after")
    assert value(suite("crdt_sync", "skewed"), "lost_writes") > 0 == value(suite("crdt_sync", "hybrid"), "lost_writes")
    tree, whole = (suite("crdt_trees", name) for name in ("tree", "whole"))
    assert value(whole, "count.bytes") > 10 * value(tree, "count.bytes")


def test_stand_ins_keep_a_store_writable_and_a_handoff_heals_it() -> None:
    strict, sloppy, handoff = (suite("sloppy_quorums", name) for name in ("strict", "sloppy", "handoff"))
    assert value(strict, "availability") < 0.9 < value(sloppy, "availability")
    assert value(handoff, "stale_copies") < 0.5 * value(sloppy, "stale_copies")
    assert value(strict, "stale_reads") == 0 < value(sloppy, "stale_reads")
    assert value(suite("sloppy_quorums", "off_by_one"), "stale_reads") > 0


@pytest.mark.parametrize("name", ["retry_storms", "hedging_budgets", "adaptive_timeouts", "sloppy_quorums"])
def test_every_variant_differs(name: str) -> None:
    experiment = load_experiment(FOLDER / f"{name}.yaml", units_of, checker_names)
    settings = [override(experiment, chosen).system.settings for chosen in experiment.variants.values()]
    assert all(settings.count(one) == 1 for one in settings)
