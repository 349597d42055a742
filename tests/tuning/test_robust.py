"""Several scenarios, conditions between parameters, budgets, precision and Sobol indices, on known functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.metrics.estimate import RunValue
from lab.run import RunRow, RunSet
from lab.spec.schema import Experiment
from lab.spec.space import current_value
from lab.tuning.journal import Journal
from lab.tuning.recommend import Recommendation, tune
from lab.tuning.robust import combined
from lab.tuning.search import SearchError
from lab.tuning.sobol import sobol_indices
from tests.lab.conftest import SMALL

WORLDS = {"calm": {"workload.keys": 10}, "rough": {"workload.keys": 90}}


def experiment(timeout: str = "1s", **plan: Any) -> Experiment:
    wanted = {
        "parameters": {"policy.timeout": "20ms..2s log"}, "minimise": ["convergence.mean"], "candidates": 24,
        "seeds": 12, "confirm_seeds": 20, "scenarios": WORLDS,
    }  # fmt: skip
    return Experiment.model_validate(SMALL | {"policy": {"timeout": timeout}, "tune": wanted | plan})


def valley(timeout_s: float, best_s: float) -> float:
    return 1 + math.log(timeout_s / best_s) ** 2


def run(candidate: Experiment, seeds: Sequence[int]) -> RunSet:
    """A calm world wants 50 ms, a rough one 500 ms and is three times as slow."""
    rough = candidate.workload.keys == 90
    cost = (3 if rough else 1) * valley(candidate.policy.timeout / 1e9, 0.5 if rough else 0.05)
    rows = []
    for seed in seeds:
        luck = 1 + 0.01 * (seed % 7)
        values = {
            "convergence": RunValue(1e9 * cost * luck),
            "amplification": RunValue(luck * (1.5 if candidate.policy.timeout < 100_000_000 and rough else 1.0)),
            "availability": RunValue(0.9 if rough and candidate.policy.timeout < 300_000_000 else 1.0),
        }
        rows.append(RunRow(seed, values, (), (), {}, (), (), "", "", 0, (), {}))
    return RunSet(candidate, "sim", "toy", rows)


def found(timeout: str = "1s", **plan: Any) -> Recommendation:
    return tune(experiment(timeout, **plan), run, first_seed=1, progress=lambda *_: None)


def timeout_s(result: Recommendation) -> float:
    return result.proposed.experiment.policy.timeout / 1e9


def test_the_worst_share_is_what_is_combined() -> None:
    losses = np.array([[1.0, 1.0], [4.0, 1.0], [2.0, np.nan], [3.0, 1.0]])
    assert combined(losses, 0.0)[0] == 4
    assert combined(losses, 0.25)[0] == 4, "a quarter of four scenarios is the worst"
    assert combined(losses, 0.5)[0] == 3.5
    assert combined(losses, 0.375)[0] == pytest.approx((4 + 0.5 * 3) / 1.5), "half of the second counts"
    assert combined(losses, 1.0)[0] == 2.5
    assert np.isnan(combined(losses, 0.5)[1]), "what one scenario cannot tell is not told"


@pytest.mark.parametrize(
    ("robust", "best_s"),
    [
        # worst: where both valleys are as deep, which here is the rough one's bottom (3 against 1 + log(10)^2 = 6.3
        # there): 3 (1 + (x - b)^2) = 1 + (x - a)^2 with x = log of the timeout.
        ("worst", None),
        ("mean", 0.05 ** (1 / 4) * 0.5 ** (3 / 4)),  # the mean of the bottoms, weighed 1 and 3
        ("cvar(100%)", 0.05 ** (1 / 4) * 0.5 ** (3 / 4)),
    ],
)
def test_each_rule_finds_its_own_optimum(robust: str, best_s: float | None) -> None:
    if best_s is None:
        places = np.linspace(math.log(0.02), math.log(2), 100_001)
        worst = np.maximum(1 + (places - math.log(0.05)) ** 2, 3 * (1 + (places - math.log(0.5)) ** 2))
        best_s = float(np.exp(places[worst.argmin()]))
    result = found(robust=robust, candidates=40)
    assert timeout_s(result) == pytest.approx(best_s, rel=0.06)
    assert result.confirmation.status == "gain"


def test_the_control_a_single_scenario_misses_it() -> None:
    calm = found(scenarios={"calm": WORLDS["calm"]}, candidates=40)
    assert timeout_s(calm) == pytest.approx(0.05, rel=0.1)


def test_scenarios_in_which_the_proposal_is_worse_are_named() -> None:
    result = found(timeout="60ms")
    document = result.as_json()
    by_name = {row["name"]: row for row in document["scenarios"]}
    assert by_name["calm"]["worse"]
    assert not by_name["rough"]["worse"]
    assert any("worse than the current ones in: calm (by " in text for text in document["warnings"])
    assert document["robust"] == "worst"
    assert any("calm, rough" in text for text in document["assumes"])
    better = found(timeout="2s").as_json()
    assert not any(row["worse"] for row in better["scenarios"])
    assert not any("worse than the current ones" in text for text in better["warnings"])


def test_conditions_must_hold_in_every_scenario() -> None:
    free, bound = (
        found(timeout="2s", robust="mean"),
        found(timeout="2s", robust="mean", subject_to=["availability > 95%"]),
    )
    assert timeout_s(free) < 0.3 <= timeout_s(bound)
    held = bound.as_json()["constraints"]
    assert held == [{"claim": "availability > 95%", "holds": True}]


def test_costs_name_their_scenario() -> None:
    result = found(timeout="2s", minimise=["convergence.mean"], parameters={"policy.timeout": "20ms..90ms log"})
    assert [cost["measure"] for cost in result.as_json()["costs"]] == [
        "amplification in rough",
        "availability in rough",
    ]


def test_a_search_over_scenarios_goes_on_where_it_stopped(tmp_path: Path) -> None:
    plan, made = experiment(), 0

    def counted(candidate: Experiment, seeds: Sequence[int]) -> RunSet:
        nonlocal made
        made += len(seeds)
        if made == limit:
            raise KeyboardInterrupt
        return run(candidate, seeds)

    limit = 12 * 30
    with pytest.raises(KeyboardInterrupt), Journal(tmp_path / "j", plan, 1, resume=False) as journal:
        while True:
            limit = made + 12 * 30
            tune(plan, run, first_seed=1, progress=lambda *_: None, known=journal.run(counted))
    limit = -1
    with Journal(tmp_path / "j", plan, 1, resume=True) as journal:
        again = tune(plan, run, first_seed=1, progress=lambda *_: None, known=journal.run(counted))
    assert again.as_json() == tune(plan, run, first_seed=1, progress=lambda *_: None).as_json()


# -- conditions between parameters


CONDITIONAL = {
    "parameters": {
        "policy.retry.backoff": ["fixed", "exponential"], "policy.retry.cap": "100ms..2s log",
        "policy.timeout": "20ms..2s log",
    },
    "when": {"policy.retry.cap": "policy.retry.backoff == exponential"},
    "constraints": ["policy.timeout <= policy.retry.cap", "policy.retry.cap >= 500ms"],
    "scenarios": {},
}  # fmt: skip


def test_the_search_meets_constraints_and_tries_nothing_twice() -> None:
    seen: set[tuple[str, ...]] = set()
    result = found(**CONDITIONAL)
    for candidate in result.ranked:
        settings = candidate.experiment.policy
        assert settings.timeout <= settings.retry.cap >= 500_000_000
        if candidate.values["policy.retry.backoff"] == "fixed":
            assert candidate.values["policy.retry.cap"] == current_value(experiment(), "policy.retry.cap")
        key = tuple(candidate.values.values())
        assert key not in seen
        seen.add(key)
    assert {c.values["policy.retry.backoff"] for c in result.ranked} == {"fixed", "exponential"}
    free = found(**CONDITIONAL | {"constraints": []})
    assert any(c.experiment.policy.retry.cap < 500_000_000 for c in free.ranked), "the control"


def test_presets_that_break_a_constraint_are_listed_and_not_run() -> None:
    result = found(**CONDITIONAL)
    rows = {row["name"]: row for row in result.as_json()["presets"]}
    assert rows["envoy"]["outcome"] == "preset is not possible here"
    assert rows["envoy"]["impossible"] == (
        "policy.timeout <= policy.retry.cap does not hold; policy.retry.cap >= 500ms does not hold"
    )
    assert rows["envoy"]["gain"]["n"] == 0
    assert rows["grpc"]["gain"]["n"] == 20


def test_a_sleeping_parameter_has_no_what_if_table() -> None:
    plan = CONDITIONAL | {"parameters": {**CONDITIONAL["parameters"], "policy.retry.backoff": ["fixed", "exponential"]}}
    result = found(**plan)
    rows = {row.path: row for row in result.sensitivity}
    cap = rows["policy.retry.cap"]
    asleep = result.recommended.values["policy.retry.backoff"] == "fixed"
    assert bool(cap.asleep) == asleep
    assert bool(cap.what_if) != asleep


def test_constraints_that_leave_nothing_are_said() -> None:
    with pytest.raises(SearchError, match=r"tune\.constraints"):
        found(scenarios={}, constraints=["policy.timeout == 1s"])


# -- budgets, precision, Sobol


def test_a_budget_of_runs_ends_the_search_and_still_confirms() -> None:
    whole, short = found(scenarios={}), found(scenarios={}, stop={"budget": "60 runs"})
    assert len(short.ranked) < len(whole.ranked)
    assert "budget of 60 runs" in short.as_json()["stopped"]
    assert short.as_json()["stopped"] in short.as_json()["warnings"]
    assert short.confirmation.gain.n == 20
    assert whole.as_json()["stopped"] == ""
    assert found(scenarios={}, stop={"budget": "60 runs"}).as_json() == short.as_json()


def test_a_budget_of_time_ends_the_search() -> None:
    short = found(scenarios={}, stop={"budget": "1ns"})
    assert len(short.ranked) == 2, "the current settings and the first that was tried"
    assert "budget of 1ns" in short.stopped


def noisy(candidate: Experiment, seeds: Sequence[int]) -> RunSet:
    runs = run(candidate, seeds)
    for row in runs.rows:
        luck = np.random.default_rng([row.seed, candidate.policy.timeout]).normal(1, 0.2)
        row.values["convergence"] = RunValue((row.values["convergence"].value or 0) * float(luck))
    return runs


def test_precision_adds_fresh_seeds_until_the_interval_is_narrow() -> None:
    def at(precision: str | None) -> Recommendation:
        plan = experiment("2s", scenarios={}, stop={"precision": precision} if precision else {})
        return tune(plan, noisy, first_seed=1, progress=lambda *_: None)

    plain, finer, too_fine = at(None), at("0.5%"), at("0.01%")
    assert plain.confirmation.gain.n == 20
    assert plain.as_json()["precision"] is None
    reached = finer.as_json()["precision"]
    assert reached["reached"] and reached["half_width"] <= 0.005
    assert 20 < finer.confirmation.gain.n <= 160
    assert too_fine.confirmation.gain.n == 160
    assert not too_fine.as_json()["precision"]["reached"]
    assert any("precision" in text for text in too_fine.as_json()["warnings"])


def test_progress_counts_runs_to_the_planned_end() -> None:
    told: list[tuple[str, int, int]] = []
    tune(experiment(), run, first_seed=1, progress=lambda *what: told.append(what))
    assert all(what.startswith("tuning: ") for what, _, _ in told)
    done = [done for _, done, _ in told]
    assert done == sorted(done)
    assert all(a <= b for _, a, b in told)
    assert told[-1][1] == told[-1][2]
    first, last = told[0][2], told[-1][2]
    assert 0.4 < last / first < 2.5, "the plan is about right from the beginning"


def test_sobol_indices_are_those_of_ishigami() -> None:
    """Ishigami and Homma 1990, a = 7, b = 0.1: first order 0.3139, 0.4424, 0; total 0.5576, 0.4424, 0.2437."""

    def ishigami(shares: list[float]) -> float:
        x, y, z = (math.pi * (2 * share - 1) for share in shares)
        return math.sin(x) + 7 * math.sin(y) ** 2 + 0.1 * z**4 * math.sin(x)

    found = sobol_indices(3, 1024, 1, ishigami)
    assert not isinstance(found, str)
    for index, first, total in zip(found, (0.3139, 0.4424, 0.0), (0.5576, 0.4424, 0.2437), strict=True):
        assert index.first == pytest.approx(first, abs=0.03)
        assert index.total == pytest.approx(total, abs=0.03)
        assert index.first_low <= index.first <= index.first_high
        assert index.total_low <= index.total <= index.total_high
    assert sobol_indices(3, 1024, 1, ishigami) == found
    assert "is the same everywhere" in str(sobol_indices(2, 8, 1, lambda _: 1.0)).replace("are", "is")
    assert "8 of 32 points" in str(sobol_indices(2, 8, 1, lambda shares: None if shares[0] < 0.25 else shares[0]))


def test_sobol_is_in_the_recommendation_where_it_was_asked_for() -> None:
    parameters = {"policy.timeout": "20ms..2s log", "policy.retry.jitter": ["none", "full"]}
    asked = found(scenarios={}, parameters=parameters, sobol=16).as_json()
    timeout, jitter = (row["sobol"] for row in asked["sensitivity"])
    assert timeout["first"] > 0.9 and timeout["total"] > 0.9
    assert jitter["total"] == 0
    plain = found(scenarios={}, parameters=parameters).as_json()
    assert [row["sobol"] for row in plain["sensitivity"]] == [None, None]
    contradictory = found(**CONDITIONAL | {"sobol": 16}).as_json()
    assert "No Sobol indices" in contradictory["sobol_note"]
    assert contradictory["sobol_note"] in contradictory["warnings"]


def test_reports_show_scenarios_and_indices() -> None:
    from lab.reports.terminal import summary_lines
    from lab.reports.views import recommendation

    parameters = {"policy.timeout": "20ms..2s log", "policy.retry.jitter": ["none", "full"]}
    document = found(timeout="60ms", parameters=parameters, sobol=16).as_json()
    view = recommendation({"recommendation": document}, {})
    assert view is not None
    assert [(name, outcome) for name, _, outcome in view["scenarios"]] == [("calm", "worse"), ("rough", "not worse")]
    assert view["has_sobol"] and "total" in view["sensitivity"][0]["sobol"]
    assert all("Source: " in about for _, about, *_ in view["presets"])
    summary = {
        "recommendation": document, "variants": {}, "claims": [], "seeds": [1], "verdict": "pass", "title": "x",
        "plane": "sim", "executor": "toy", "faults": [],
    }  # fmt: skip
    text = "\n".join(line.plain for line in summary_lines(summary, "page.html"))
    assert "over 2 scenarios: worse in calm" in text
    assert "Sobol, first order/total: policy.timeout " in text
