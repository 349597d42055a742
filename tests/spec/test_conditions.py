"""Conditions between settings, and scenarios: read, refused with their place, and applied."""

from __future__ import annotations

from typing import Any

import pytest

from lab.spec.conditions import Space, parse_condition
from lab.spec.document import fingerprint, resolved
from lab.spec.scenarios import scenarios
from lab.spec.schema import Experiment, Tune, budget_limits, robust_share

from .helpers import SMALL, errors_of, load

TUNED = """
policy: { timeout: 150ms, retry: { base: 50ms, cap: 1s, backoff: fixed } }
tune:
  parameters:
    policy.retry.backoff: [fixed, exponential]
    policy.retry.cap: 100ms..5s log
    policy.retry.base: 10ms..2s log
    policy.breaker.failures: ["null", 3, 5]
    policy.breaker.open_for: 100ms..2s log
  when:
    policy.retry.cap: policy.retry.backoff == exponential
    policy.breaker.open_for: policy.breaker.failures != null
  constraints:
    - policy.retry.base <= policy.retry.cap
    - policy.timeout < 1s and policy.retry.base >= 20ms
  minimise: [ convergence.p99 ]
"""


def tuned(**more: Any) -> Experiment:
    parameters = {
        "policy.retry.backoff": ["fixed", "exponential"], "policy.retry.cap": "100ms..5s log",
        "policy.retry.base": "10ms..2s log", "policy.breaker.failures": ["null", "3"],
        "policy.breaker.open_for": "100ms..2s log",
    }  # fmt: skip
    base = resolved(load(SMALL))
    return Experiment.model_validate(
        base | {"tune": {"parameters": parameters, "minimise": ["convergence.p99"]} | more}
    )


def test_what_does_not_matter_is_set_back() -> None:
    experiment = load(SMALL + TUNED)
    assert experiment.tune is not None
    space = Space(experiment.tune, experiment)
    values = {
        "policy.retry.backoff": "fixed", "policy.retry.cap": "3s", "policy.retry.base": "30ms",
        "policy.breaker.failures": "null", "policy.breaker.open_for": "200ms",
    }  # fmt: skip
    assert set(space.asleep(values)) == {"policy.retry.cap", "policy.breaker.open_for"}
    assert space.settle(values) == values | {"policy.retry.cap": "1s", "policy.breaker.open_for": "1s"}
    awake = values | {"policy.retry.backoff": "exponential", "policy.breaker.failures": "3"}
    assert space.settle(awake) == awake
    assert space.build(awake).policy.retry.cap == 3_000_000_000


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"policy.retry.base": "2s", "policy.retry.backoff": "fixed"}, "cap 1s is below base 2s"),
        ({"policy.retry.base": "10ms"}, "policy.timeout < 1s and policy.retry.base >= 20ms does not hold"),
    ],
)
def test_what_breaks_a_constraint_is_not_built(values: dict[str, str], text: str) -> None:
    experiment = load(SMALL + TUNED)
    assert experiment.tune is not None
    with pytest.raises(ValueError, match=text):
        Space(experiment.tune, experiment).build(values)


def test_a_chain_of_conditions_sleeps_as_one() -> None:
    when = {
        "policy.retry.base": "policy.retry.backoff == exponential",
        "policy.retry.cap": "policy.retry.base < 100ms",
    }  # fmt: skip
    experiment = tuned(when=when)
    assert experiment.tune is not None
    space = Space(experiment.tune, experiment)
    values = {
        "policy.retry.backoff": "fixed", "policy.retry.base": "1s", "policy.retry.cap": "2s",
        "policy.breaker.failures": "3", "policy.breaker.open_for": "1s",
    }  # fmt: skip
    asleep = space.asleep(values)
    assert "policy.retry.base" in asleep
    assert "policy.retry.cap" not in asleep, "the base is the file's 50 ms there, not the 1 s that does not matter"


BOUND = "policy.retry.base <= policy.retry.cap"
CAP_WHEN = "cap: policy.retry.backoff == exponential"


@pytest.mark.parametrize(
    ("old", "new", "place", "part"),
    [
        (BOUND, "policy.retry.base =< 1s", "17:7", "is not a condition"),
        (BOUND, "policy.retry.bas <= 1s", "17:7", "did you mean policy.retry.base?"),
        (BOUND, "policy.retry.base <= 5", "17:7", "write 5ms or 5s"),
        (BOUND, "policy.retry.base <= policy.retry.attempts", "17:7", "compares a"),
        (BOUND, "policy.retry.backoff > fixed", "17:7", "words have no order"),
        (BOUND, "policy.queue.limit >= 1", "17:7", "can change nothing"),
        (BOUND, "policy.retry.base > policy.retry.cap", "17:7", "own settings break it"),
        (CAP_WHEN, "cap: policy.retry.backoff == expo", "14:23", "write fixed or exponential"),
        (CAP_WHEN, "cap: policy.retry.cap >= 1s", "14:23", "depends on itself"),
        ("policy.breaker.open_for: policy.b", "policy.bound: policy.b", "15:19", "not among tune.parameters"),
    ],
)
def test_wrong_conditions_are_refused_at_their_place(old: str, new: str, place: str, part: str) -> None:
    text = SMALL + TUNED
    assert old in text
    error = errors_of(text.replace(old, new)).errors[0]
    assert part in error.message
    assert f"{error.line}:{error.column}" == place


def test_null_is_neither_above_nor_below() -> None:
    experiment = tuned()
    (condition,) = parse_condition("policy.breaker.failures >= 3", experiment)
    assert not condition.holds(lambda _: "null")
    assert condition.holds(lambda _: "3")
    with pytest.raises(ValueError, match="null is neither above nor below"):
        parse_condition("policy.breaker.failures >= null", experiment)


WORLDS = """
tune:
  parameters: { policy.timeout: 20ms..2s log }
  minimise: [ convergence.p99 ]
  scenarios:
    base: {}
    calm: { faults: [] }
    far: { network: { links: { default: { delay: 90ms } } }, workload.keys: 7 }
    cut:
      faults:
        - partition: { at: 500ms, for: 300ms, groups: [[leader], [f1]] }
      drain: 9s
  robust: cvar(50%)
  stop: { precision: 2%, budget: 60s }
"""


def test_scenarios_replace_what_they_name() -> None:
    experiment = load(SMALL + WORLDS)
    worlds = scenarios(experiment)
    assert list(worlds) == ["base", "calm", "far", "cut"]
    assert worlds["base"] == experiment
    assert worlds["calm"].faults == []
    assert worlds["far"].workload.keys == 7
    assert worlds["far"].network.link("leader", "f1").delay.text() == "90ms"
    assert [fault.kind for fault in worlds["cut"].faults] == ["partition"]
    again = Experiment.model_validate(resolved(experiment))
    assert again == experiment
    assert fingerprint(again) == fingerprint(experiment)


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("base: {}", "base: { policy.timeout: 1s }", "a scenario cannot set it"),
        ("base: {}", "base: { workload.kies: 1 }", "did you mean workload.keys?"),
        ("base: {}", "base: { workload.keys: [1] }", "takes one value"),
        ("base: {}", "base: { fault: [] }", "did you mean faults?"),
        ("base: {}", "Base: {}", "is not a name"),
        ("at: 500ms", "at: 500", "has no unit"),
        ("[leader], [f1]", "[leader], [f9]", "f9"),
        ("cvar(50%)", "cvar(50)", "has no unit"),
        ("cvar(50%)", "best", "write mean, worst, or cvar(25%)"),
        ("budget: 60s", "budget: 60", "is read as a number"),
        ("budget: 60s", "budget: 6 apples", "such as 5000 runs"),
    ],
)
def test_wrong_scenarios_are_refused_at_their_place(old: str, new: str, part: str) -> None:
    text = SMALL + WORLDS
    error = errors_of(text.replace(old, new)).errors[0]
    assert part in error.message
    assert error.line == text[: text.index(old)].count("\n") + 1


def test_files_without_the_new_keys_keep_their_fingerprint() -> None:
    plan = {"parameters": {"policy.timeout": "20ms..2s log"}, "minimise": ["convergence.p99"]}
    base = resolved(load(SMALL))
    written = resolved(Experiment.model_validate(base | {"tune": plan}))["tune"]
    assert set(written) == {"parameters", "minimise", "subject_to", "candidates", "seeds", "confirm_seeds"}


def test_limits_are_read() -> None:
    assert budget_limits("5000 runs") == (None, 5000)
    assert budget_limits("1m30s") == (90_000_000_000, None)
    assert (robust_share("mean"), robust_share("worst"), robust_share("cvar(25%)")) == (1.0, 0.0, 0.25)
    with pytest.raises(ValueError, match="write 4"):
        Tune.model_validate({"parameters": {"policy.timeout": "1s..2s"}, "minimise": ["x"], "sobol": 3})
