"""The parts of a recommendation: front, presets, sensitivity, snippets, applying."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lab.metrics.estimate import RunValue
from lab.run import RunRow, RunSet
from lab.spec.conditions import Space
from lab.spec.schema import Experiment
from lab.spec.space import override, parse_space, share_of, value_at
from lab.tuning.apply import ApplyError, apply_settings, read_settings
from lab.tuning.candidate import Candidate
from lab.tuning.front import pareto
from lab.tuning.presets import PRESETS
from lab.tuning.recommend import Recommendation, tune
from lab.tuning.sensitivity import _log_objectives, elementary_effects
from lab.tuning.snippets import notes, snippets
from tests.lab.conftest import SMALL

SPACE = {"policy.timeout": "20ms..2s log", "policy.retry.base": "10ms..1s log", "policy.retry.jitter": ["none", "full"]}


def experiment(**plan: Any) -> Experiment:
    wanted = {
        "parameters": SPACE, "minimise": ["convergence.mean"], "candidates": 24, "seeds": 12, "confirm_seeds": 20,
    }  # fmt: skip
    return Experiment.model_validate(SMALL | {"tune": wanted | plan})


def log_share(value: int, low: int, high: int) -> float:
    return math.log(value / low) / math.log(high / low)


def run(candidate: Experiment, seeds: Sequence[int]) -> RunSet:
    """Convergence falls with the timeout and, less, with the base; jitter does nothing. Amplification rises again."""
    timeout = log_share(candidate.policy.timeout, 20_000_000, 2_000_000_000)
    base = log_share(candidate.policy.retry.base, 10_000_000, 1_000_000_000)
    rows = []
    for seed in seeds:
        luck = 1 + 0.01 * (seed % 7)
        values = {
            "convergence": RunValue(1e9 * luck * math.exp(-2 * timeout - 0.5 * base)),
            "amplification": RunValue(luck * math.exp(timeout)),
            "visibility_lag_p99": RunValue(1e8 * luck * (1 + timeout)),
        }
        rows.append(RunRow(seed, values, (), (), {}, (), (), "", "", 0, (), {}))
    return RunSet(candidate, "sim", "toy", rows)


def found(**plan: Any) -> Recommendation:
    return tune(experiment(**plan), run, first_seed=1, progress=lambda *_: None)


def test_the_front_holds_what_nothing_dominates() -> None:
    def candidate(a: float | None, b: float, broken: Sequence[str] = ()) -> Candidate:
        return Candidate({}, experiment(), objectives={"a": a, "b": b}, broken=list(broken))

    best, cheap, worse, broken = candidate(1, 5), candidate(3, 2), candidate(3, 5), candidate(0.5, 0.5, ["x"])
    assert pareto([worse, cheap, candidate(None, 0), broken, best]) == [best, cheap]


def test_two_opposed_objectives_leave_a_front() -> None:
    result = found(minimise=["convergence.mean", "amplification"])
    front = result.as_json()["front"]
    assert len(front) >= 3
    values = [point["objectives"] for point in front]
    assert [v["convergence.mean"] for v in values] == sorted(v["convergence.mean"] for v in values)
    assert [v["amplification"] for v in values] == sorted((v["amplification"] for v in values), reverse=True)
    assert all(point["seeds"] >= 12 for point in front), "few seeds would put lucky settings on it"
    assert sum(candidate["front"] for candidate in result.candidates_json()) == len(front)


def test_every_preset_is_possible_and_compared_on_the_fresh_seeds() -> None:
    for preset in PRESETS.values():
        override(experiment(), preset.values)
        assert preset.version
        assert preset.left_out.endswith(".")
    result = found()
    rows = result.as_json()["presets"]
    assert {row["name"] for row in rows} == set(PRESETS)
    assert {row["gain"]["n"] for row in rows} == {20}
    for row in rows:
        assert row["p_adjusted"] >= row["p_value"]
        assert row["outcome"] == "better"
    assert max(row["p_adjusted"] for row in rows) <= len(rows) * max(row["p_value"] for row in rows)


def test_a_preset_better_than_the_proposal_is_said() -> None:
    result = found(parameters={"policy.timeout": "140ms..160ms"})
    worse = {row["name"] for row in result.as_json()["presets"] if row["outcome"] == "worse"}
    assert worse >= {"aws-sdk-standard", "grpc"}, "they wait longer, which this range of timeouts cannot make up for"
    assert any("aws-sdk-standard" in text for text in result.as_json()["warnings"])


def test_what_grew_worse_without_being_asked_is_a_cost() -> None:
    assert {cost["measure"] for cost in found().as_json()["costs"]} == {"amplification", "visibility_lag_p99"}


def test_elementary_effects_are_exact_for_an_additive_function() -> None:
    plan = experiment()
    assert plan.tune is not None
    value = partial(_log_objectives, Space(plan.tune, plan), {"convergence.mean": 1.0}, range(1, 8), run)
    effects = elementary_effects(parse_space(plan.tune, plan), value, 3)
    assert effects["policy.timeout"] == pytest.approx([-2.0] * len(effects["policy.timeout"]), abs=0.02)
    assert effects["policy.retry.base"] == pytest.approx([-0.5] * len(effects["policy.retry.base"]), abs=0.02)
    assert effects["policy.retry.jitter"] == pytest.approx([0.0] * len(effects["policy.retry.jitter"]))
    assert effects["policy.timeout"]


def test_the_safe_range_ends_where_the_objectives_are_five_percent_worse() -> None:
    result = found()
    timeout, base, jitter = result.sensitivity
    own = share_of(parse_space(result.tune, experiment())[0], result.proposed.values["policy.timeout"])
    low = share_of(parse_space(result.tune, experiment())[0], timeout.safe[0])
    assert own - low <= math.log(1.05) / 2 + 1e-3, "e^(2 x) = 1.05"
    assert all(not row.safe for row in timeout.what_if[:3])
    assert timeout.what_if[0].worse is not None
    assert (timeout.what_if[0].worse.value or 0) == pytest.approx(math.exp(2 * own) - 1, rel=0.02)
    assert jitter.safe == ["none", "full"]
    assert timeout.effect is not None and base.effect is not None
    assert timeout.effect > base.effect


def test_shares_are_the_inverse_of_values() -> None:
    plan = experiment(parameters=SPACE | {"policy.retry.attempts": "2..9", "policy.retry.budget": "1%..50% log"})
    assert plan.tune is not None
    for parameter in parse_space(plan.tune, plan):
        for share in (0.1, 0.35, 0.8):
            text = value_at(parameter, int(share * 2**63))
            assert value_at(parameter, min(int(share_of(parameter, text) * 2**63) + 2**40, 2**63 - 1)) == text
    assert share_of(parse_space(plan.tune, plan)[-1], "null") == 0.5
    assert share_of(parse_space(plan.tune, plan)[0], "1h") == 1.0


def test_snippets_parse_and_hold_the_settings() -> None:
    values = {
        "policy.timeout": "147ms", "policy.retry.attempts": "8", "policy.retry.base": "50ms",
        "policy.retry.cap": "409ms", "policy.retry.jitter": "equal", "policy.retry.budget": "20%",
    }  # fmt: skip
    texts = snippets(override(experiment(), values), values)
    assert set(texts) == set(notes())
    yaml = YAML(typ="safe", pure=True)
    policy = json.loads(texts["grpc"])["methodConfig"][0]["retryPolicy"]
    assert (policy["maxAttempts"], policy["initialBackoff"], policy["maxBackoff"]) == (5, "0.05s", "0.409s")
    assert json.loads(texts["grpc"])["retryThrottling"] == {"maxTokens": 10, "tokenRatio": 0.2}
    envoy = yaml.load(texts["envoy"])
    assert envoy["retry_policy"]["num_retries"] == 7
    assert envoy["retry_policy"]["per_try_timeout"] == "0.147s"
    assert envoy["circuit_breakers"]["thresholds"][0]["retry_budget"]["budget_percent"]["value"] == 20
    retry = yaml.load(texts["resilience4j"])["resilience4j"]["retry"]["instances"]["replicate"]
    assert retry["waitDuration"] == "38ms", "three quarters of 50 ms, spread by a third: from 25 to 50 ms"
    assert "exponentialDelayHalfJitter(Duration.ofMillis(50), Duration.ofMillis(409))" in texts["aws"]
    assert json.loads(texts["replica"])["policy"]["timeout_ns"] == 147_000_000
    assert yaml.load(texts["experiment"])["policy"]["retry"]["budget"] == "20%"


def test_applying_changes_the_policy_and_keeps_the_rest(tmp_path: Path) -> None:
    result, target = found(), tmp_path / "settings.json"
    assert apply_settings(result, target).written
    target.write_text(
        json.dumps({"name": "leader", "seed": 7, "policy": {"timeout_ns": 1, "attempts": 8, "own": True}})
    )
    applied = apply_settings(result, target)
    settings = json.loads(target.read_text())
    assert (settings["name"], settings["seed"], settings["policy"]["own"]) == ("leader", 7, True)
    assert settings["policy"]["timeout_ns"] == result.proposed.experiment.policy.timeout
    assert "policy.timeout_ns" in applied.changed
    assert "policy.attempts" not in applied.changed


def test_nothing_is_applied_without_a_gain(tmp_path: Path) -> None:
    flat = tune(
        experiment(parameters={"policy.retry.jitter": ["none", "full"]}),
        run, first_seed=1, progress=lambda *_: None,
    )  # fmt: skip
    assert flat.confirmation.status == "no_gain"
    assert not apply_settings(flat, tmp_path / "settings.json").written
    assert not (tmp_path / "settings.json").exists()
    assert flat.recommended is flat.current


@pytest.mark.parametrize("text", ["[1]", "not json", '"x"'])
def test_other_files_are_refused_before_the_search(tmp_path: Path, text: str) -> None:
    target = tmp_path / "settings.json"
    target.write_text(text)
    with pytest.raises(ApplyError):
        read_settings(target)
