"""Confirmation on containers, with a runner whose truth is known: confirmed, contradicted, too uncertain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from scipy import stats

from lab.checkers.validity import Validity
from lab.metrics.estimate import Estimate, RunValue
from lab.run import RunRow, RunSet
from lab.spec.schema import Experiment
from lab.tuning.apply import apply_settings
from lab.tuning.contain import CONFIRMED, CONTRADICTED, UNCERTAIN, contain, decide, proposed_first
from lab.tuning.recommend import Recommendation, tune
from tests.tuning.test_tuning import experiment, noise, recommend, timeout_s


class Real:
    """Containers where the convergence is what `shape` says of the timeout; notes in which order it was asked."""

    def __init__(self, shape: str, invalid: Sequence[int] = ()) -> None:
        self.shape, self.invalid = shape, invalid
        self.asked: list[tuple[float, int]] = []

    def __call__(self, candidate: Experiment, seeds: Sequence[int]) -> RunSet:
        timeout = candidate.policy.timeout / 1e9
        rows = []
        for seed in seeds:
            self.asked.append((timeout, seed))
            own = noise(seed, candidate.policy.timeout)
            value = {
                "as predicted": 1 + abs(timeout - 0.1) * 4 + 0.2 * own,
                "flat": 1.5 + 0.1 * own,
                "wide": 20 + 39 * own,
                "lossy": 1 + abs(timeout - 0.1) * 4,
            }[self.shape]
            available = 0.9 if self.shape == "lossy" and timeout < 0.12 else 1.0
            values = {"convergence": RunValue(value * 1e9), "availability": RunValue(available)}
            valid = {"invalid": Validity(None, "the load left late")} if seed in self.invalid else {}
            rows.append(RunRow(seed, values, (), (), valid, (), (), "", "", 0, (), {}))
        return RunSet(candidate, "containers", "docker", rows)


@pytest.fixture(scope="module")
def found() -> Recommendation:
    return recommend(experiment(), "valley")


def asked(found: Recommendation, real: Real, pairs: int = 20) -> Recommendation:
    return contain(found, real, pairs=pairs, first_seed=1, progress=lambda *_: None)


def test_a_gain_that_is_there_is_confirmed(found: Recommendation) -> None:
    after = asked(found, Real("as predicted"))
    data = after.as_json()
    assert after.contained and after.contained.status == CONFIRMED and data["status"] == "gain"
    assert data["containers"]["pairs"] == 20 and abs(data["containers"]["error"]) < 0.1
    (objective,) = data["containers"]["objectives"]
    assert objective["measure"] == "convergence.mean" and objective["agrees"] is True
    assert after.recommended is after.proposed and data["snippets"] == found.as_json()["snippets"]


def test_a_gain_that_is_not_there_downgrades_the_recommendation(found: Recommendation, tmp_path: Path) -> None:
    after = asked(found, Real("flat"))
    assert after.contained and after.contained.status == CONTRADICTED
    data = after.as_json()
    assert data["status"] == "contradicted" and "Keep the current settings" in data["sentence"]
    assert after.recommended is after.current and data["snippets"] != found.as_json()["snippets"]
    assert data["containers"]["objectives"][0]["agrees"] is False
    target = tmp_path / "settings.json"
    applied = apply_settings(after, target)
    assert not applied.written and not target.exists()


def test_noise_neither_confirms_nor_contradicts(found: Recommendation) -> None:
    after = asked(found, Real("wide"))
    data = after.as_json()
    assert after.contained and after.contained.status == UNCERTAIN and data["status"] == "gain"
    assert data["warnings"][0] == after.contained.sentence
    few = asked(found, Real("flat"), pairs=4)
    assert few.contained and few.contained.status == UNCERTAIN and "4 pairs" in few.contained.sentence


def test_a_condition_that_breaks_only_on_containers_downgrades() -> None:
    told = recommend(experiment(subject_to=["availability >= 0%"]), "valley")
    kept = asked(told, Real("lossy"))
    assert kept.contained and kept.contained.status == CONFIRMED  # the control: a condition that holds
    told.tune = told.tune.model_copy(update={"subject_to": ["availability > 95%"]})
    after = asked(told, Real("lossy"))
    assert after.contained and after.contained.status == CONTRADICTED and after.contained.broken


def test_pairs_that_cannot_be_judged_are_left_out_whole(found: Recommendation) -> None:
    first = 1 + 2_000_000
    after = asked(found, Real("as predicted", invalid=[first + 2, first + 5]))
    assert after.contained and after.contained.pairs == 18 and len(after.contained.dropped) == 2
    nothing = asked(found, Real("as predicted", invalid=range(first, first + 20)))
    assert nothing.contained and nothing.contained.status == UNCERTAIN and nothing.contained.pairs == 0


def test_without_a_gain_nothing_is_run() -> None:
    real = Real("flat")
    flat = recommend(experiment(), "flat")
    assert asked(flat, real) is flat and not real.asked


def test_pairs_are_randomised_blocks_keyed_by_the_seeds(found: Recommendation) -> None:
    real, again = Real("as predicted"), Real("as predicted")
    asked(found, real), asked(found, again)
    assert real.asked == again.asked
    blocks = [real.asked[number : number + 2] for number in range(0, len(real.asked), 2)]
    assert all(a[1] == b[1] and a[0] != b[0] for a, b in blocks)  # one seed, both settings
    proposed = timeout_s(found)
    assert [block[0][0] == proposed for block in blocks] == [proposed_first(block[0][1], 1) for block in blocks]
    count = sum(proposed_first(seed, 1) for seed in range(2000))
    assert stats.binomtest(count, 2000, 0.5).pvalue > 1e-4
    runs = [proposed_first(seed, 1) != proposed_first(seed + 1, 1) for seed in range(2000)]
    assert stats.binomtest(sum(runs), 2000, 0.5).pvalue > 1e-4  # no alternation either


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, 20, "share", 0, 0.95, "")


@pytest.mark.parametrize(
    ("measured", "status"),
    [
        (estimate(0.3, 0.2, 0.4), CONFIRMED),
        (estimate(0.1, 0.05, 0.15), CONFIRMED),  # less than predicted, but a gain
        (estimate(0.0, -0.1, 0.1), CONTRADICTED),
        (estimate(-0.3, -0.5, -0.1), CONTRADICTED),
        (estimate(0.1, -0.2, 0.5), UNCERTAIN),
    ],
)
def test_the_rule(measured: Estimate, status: str) -> None:
    assert decide(estimate(0.3, 0.25, 0.35), measured, [], 20)[0] == status
    assert all(len(text) < 160 for _, text in [decide(estimate(0.3, 0.25, 0.35), measured, [], 20)])


def test_scenarios_are_run_on_containers_too() -> None:
    plan = experiment()
    assert plan.tune
    worlds = {"here": {}, "calm": {"faults": []}}
    data = plan.tune.model_dump(mode="json", by_alias=True) | {"scenarios": worlds, "robust": "worst"}
    both = plan.model_copy(update={"tune": type(plan.tune).model_validate(data)})
    told = tune(both, Real("as predicted"), first_seed=1, progress=lambda *_: None)
    real = Real("as predicted")
    after = asked(told, real, pairs=12)
    assert len(real.asked) == 12 * 2 * 2 and after.contained and after.contained.status == CONFIRMED
