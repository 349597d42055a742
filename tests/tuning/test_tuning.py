"""Tuning on objectives whose optimum is known: it finds it, its gain is honest, and it refuses where there is
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lab.core import draws
from lab.metrics.estimate import RunValue
from lab.run import RunRow, RunSet
from lab.spec.schema import Experiment
from lab.tuning.candidate import score
from lab.tuning.recommend import Recommendation, tune
from lab.tuning.resample import column, point_value
from lab.tuning.search import stages
from tests.lab.conftest import SMALL


def experiment(minimise: Sequence[str] = ("convergence.mean",), subject_to: Sequence[str] = ()) -> Experiment:
    plan = {
        "parameters": {"policy.timeout": "20ms..2s log"}, "minimise": list(minimise), "subject_to": list(subject_to),
        "candidates": 30, "seeds": 24, "confirm_seeds": 40,
    }  # fmt: skip
    return Experiment.model_validate(SMALL | {"tune": plan})


def noise(seed: int, key: int = 0) -> float:
    return draws.chain(seed, key) / 2**63 - 0.5


def runner(shape: str):  # type: ignore[no-untyped-def]
    """Return a runner whose convergence is a known function of the timeout, plus noise that seeds share or not."""

    def run(candidate: Experiment, seeds: Sequence[int]) -> RunSet:
        timeout_s = candidate.policy.timeout / 1e9
        rows = []
        for seed in seeds:
            if shape == "valley":
                value = 1 + abs(timeout_s - 0.1) * 4 + 0.2 * noise(seed)
            elif shape == "flat":
                value = 1 + 0.5 * noise(seed, candidate.policy.timeout)
            else:
                value = 1 + 3 * noise(seed, candidate.policy.timeout)
            values = {"convergence": RunValue(value * 1e9), "availability": RunValue(0.9 if timeout_s < 0.15 else 1.0)}
            rows.append(RunRow(seed, values, (), (), {}, (), (), "", "", 0, (), {}))
        return RunSet(candidate, "sim", "toy", rows)

    return run


def recommend(plan: Experiment, shape: str, first_seed: int = 1) -> Recommendation:
    return tune(plan, runner(shape), first_seed=first_seed, progress=lambda *_: None)


def timeout_s(found: Recommendation) -> float:
    return found.proposed.experiment.policy.timeout / 1e9


def test_it_finds_a_known_valley_and_states_the_true_gain() -> None:
    found = recommend(experiment(), "valley")
    assert found.confirmation.status == "gain"
    assert 0.06 < timeout_s(found) < 0.14
    current = 1 + abs(SMALL_TIMEOUT_S - 0.1) * 4
    truth = 1 - (1 + abs(timeout_s(found) - 0.1) * 4) / current
    gain = found.confirmation.gain
    assert gain.low is not None
    assert gain.high is not None
    assert gain.low - 0.01 <= truth <= gain.high + 0.01


SMALL_TIMEOUT_S = 0.15


def test_a_flat_objective_yields_no_gain_in_nearly_every_repeat() -> None:
    statuses = [
        recommend(experiment(), "flat", first_seed=1 + 1000 * repeat).confirmation.status for repeat in range(12)
    ]
    assert statuses.count("gain") <= 1, "one-sided error of 2.5 %"
    assert "no_gain" in statuses


def test_noise_alone_is_not_enough_evidence() -> None:
    status = {recommend(experiment(), "noise", first_seed=5 + 1000 * repeat).confirmation.status for repeat in range(3)}
    assert status <= {"insufficient", "no_gain"}
    assert "insufficient" in status


def test_conditions_bind_the_proposal() -> None:
    free = recommend(experiment(), "valley")
    bound = recommend(experiment(subject_to=["availability > 95%"]), "valley")
    assert timeout_s(free) < 0.15
    assert timeout_s(bound) >= 0.15


def test_confirmation_seeds_are_fresh_and_paired() -> None:
    met: list[set[int]] = []
    inner = runner("valley")

    def spy(candidate: Experiment, seeds: Sequence[int]) -> RunSet:
        met.append(set(seeds))
        return inner(candidate, seeds)  # type: ignore[no-any-return]

    found = tune(experiment(), spy, first_seed=1, progress=lambda *_: None)
    assert found.current.runs is not None and found.proposed.runs is not None
    fresh = set(found.current.runs.seeds)
    assert len(fresh) == 40
    assert found.current.runs.seeds == found.proposed.runs.seeds
    search = [seeds for seeds in met if not seeds & fresh]
    assert met[: len(search)] == search, "searching ends before confirming begins"
    assert not fresh & set().union(*search)
    assert all(seeds <= fresh for seeds in met[len(search) :]), "presets and sensitivity are told on the fresh seeds"


def test_scores_are_ratios_and_untold_objectives_do_not_win() -> None:
    assert score({"a": 2.0, "b": 8.0}, {"a": 4.0, "b": 4.0}) == pytest.approx(1.0)
    assert score({"a": None}, {"a": 4.0}) is None
    assert score({"a": 1.0}, {"a": None}) == pytest.approx(0.5)
    assert score({"availability": 0.0}, {"availability": 0.4}) == pytest.approx(0.02), "nothing is infinitely better"
    assert score({"availability": 0.3}, {"availability": 0.0}) == pytest.approx(3000), "but much can be lost"
    assert stages(40) == (20, 40)


def test_censored_runs_count_as_later_than_all_others() -> None:
    def told(aggregate: str, *values: RunValue) -> float | None:
        rows = [RunRow(0, {"x": value}, (), (), {}, (), (), "", "", 0, (), {}) for value in values]
        return point_value(column(rows, "x"), aggregate)

    cut = (RunValue(1.0), RunValue(9.0, censored=True), RunValue(2.0))
    assert told("p50", *cut) == 2.0
    assert told("p99", *cut) is None
    assert told("mean", *cut) is None
    assert told("max", *cut) is None
    assert told("min", *cut) == 1.0
    assert told("mean", RunValue(1.0), RunValue(None), RunValue(2.0)) == 1.5
    assert told("mean", RunValue(None)) is None
