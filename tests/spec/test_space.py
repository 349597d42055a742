"""The space of a tuning run: ranges, choices, draws, grids, and experiments with some settings replaced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.core.units import parse_duration_ns
from lab.spec.load import fingerprint, override, resolved
from lab.spec.schema import SECTIONS, Experiment, Tune
from lab.spec.shape import leaves
from lab.spec.space import SETTABLE, TUNABLE, Parameter, current_value, grid, parse_space, value_at

from .helpers import SMALL, load

TOP = (1 << 63) - 1
EXPERIMENT = load(SMALL + "network: { links: { default: { delay: samples(data/wan.csv) } } }\n")


def space(parameters: dict[str, str | list[str]], experiment: Experiment = EXPERIMENT) -> list[Parameter]:
    """Return the space of some parameters."""
    return parse_space(Tune(parameters=parameters, minimise=["convergence.p99"]), experiment)


def one(path: str, written: str | list[str]) -> Parameter:
    """Return the only parameter of a space."""
    (parameter,) = space({path: written})
    return parameter


def test_ranges_and_choices() -> None:
    assert one("policy.timeout", "20ms..2s log") == Parameter(
        "policy.timeout", "log", 20_000_000, 2_000_000_000, dimension="duration"
    )
    attempts = one("policy.retry.attempts", "1..12")
    assert attempts == Parameter("policy.retry.attempts", "linear", 1, 12, dimension="count")
    assert one("policy.retry.budget", "0%..20%").high == 200_000
    assert one("workload.client.deadline", "0.5s .. 1s linear").low == 500_000_000
    assert one("policy.retry.jitter", ["none", "full"]).choices == ("none", "full")
    assert one("system.mode", ["sync", "async"]).kind == "choice"
    assert one("policy.retry.budget", ["null", "10%"]).choices == ("null", "10%")


@pytest.mark.parametrize(
    ("path", "written", "part"),
    [
        ("policy.timout", "20ms..2s", "did you mean policy.timeout?"),
        ("faults.0.at", "1s..2s", "not a setting that can be tuned"),
        ("workload.duration", "1s..2s", "not a setting that can be tuned"),
        ("policy.retry", "1s..2s", "not a setting that can be tuned"),
        ("policy.timeout", "20..200", "write 20ms or 20s"),
        ("policy.timeout", "0s..2s", "must be above 0s"),
        ("policy.timeout", "2s..20ms", "write the lower first"),
        ("policy.timeout", "2s..2s", "write the lower first"),
        ("policy.timeout", "20ms-2s", "is not a range"),
        ("policy.timeout", "20ms..2s cubic", "is not a range"),
        ("policy.reconcile_every", "0s..2s log", "cannot begin at 0"),
        ("policy.retry.attempts", "1..101", "above 100"),
        ("policy.retry.attempts", "1.5..3", "whole number"),
        ("policy.retry.attempts", "1ms..3ms", "whole number"),
        ("policy.retry.jitter", "none..full", "write a list such as"),
        ("policy.retry.jitter", ["none", "fall"], "did you mean full?"),
        ("policy.retry.jitter", ["none", "none"], "written twice"),
        ("policy.timeout", ["20ms", "0.02s"], "written twice"),
        ("policy.retry.jitter", ["none", "true"], "true is not possible here"),
    ],
)
def test_impossible_parameters_are_refused_with_the_fix(path: str, written: str | list[str], part: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        space({path: written})
    assert part in str(caught.value)
    assert str(caught.value).startswith(f"tune.parameters.{path}: ")


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        space({"policy.timout": "1s..2s", "policy.retry.jitter": ["none", "fall"]})
    assert len(str(caught.value).splitlines()) == 2


PARAMETERS = [
    one("policy.timeout", "20ms..2s log"),
    one("policy.retry.base", "50ms..500ms"),
    one("policy.retry.attempts", "1..12"),
    one("policy.retry.budget", "0%..20%"),
    one("policy.bound", "1..65536 log"),
    one("policy.retry.jitter", ["none", "full", "equal"]),
]


@given(st.sampled_from(PARAMETERS), st.integers(0, TOP))
def test_every_draw_is_a_value_the_setting_takes(parameter: Parameter, draw63: int) -> None:
    text = value_at(parameter, draw63)
    if parameter.dimension == "duration":
        value_ns = parse_duration_ns(text)
        assert parameter.low <= value_ns <= parameter.high
        assert len(str(value_ns).rstrip("0")) <= 3
    changed = override(EXPERIMENT, {parameter.path: text, "policy.retry.cap": "10s"})
    assert current_value(changed, parameter.path) == text


@pytest.mark.parametrize("parameter", PARAMETERS, ids=[parameter.path for parameter in PARAMETERS])
def test_draws_reach_both_ends_and_rise(parameter: Parameter) -> None:
    texts = [value_at(parameter, (TOP * step) // 64) for step in range(65)]
    assert (texts[0], texts[-1]) == (grid(parameter, 2)[0], grid(parameter, 2)[-1])
    assert value_at(parameter, TOP) == texts[-1]
    if parameter.dimension == "duration":
        values = [parse_duration_ns(text) for text in texts]
        assert values == sorted(values)
    with pytest.raises(ValueError, match="below 2"):
        value_at(parameter, TOP + 1)


def test_logarithmic_and_linear_middles() -> None:
    middle = 1 << 62
    assert value_at(PARAMETERS[0], middle) == "200ms"
    assert value_at(PARAMETERS[1], middle) == "275ms"
    assert grid(PARAMETERS[0], 3) == ["20ms", "200ms", "2s"]
    assert grid(PARAMETERS[1], 1) == ["275ms"]
    assert grid(PARAMETERS[2], 100) == [str(number) for number in range(1, 13)]
    assert grid(PARAMETERS[5], 2) == ["none", "full", "equal"]
    with pytest.raises(ValueError, match="at least 1"):
        grid(PARAMETERS[0], 0)


def test_override_changes_what_it_names_and_nothing_else() -> None:
    changed = override(EXPERIMENT, {"policy.timeout": "70ms", "system.mode": "async", "workload.client.attempts": "2"})
    before, after = resolved(EXPERIMENT), resolved(changed)
    assert after["policy"].pop("timeout") == "70ms" and before["policy"].pop("timeout") == "250ms"
    assert after["system"].pop("mode") == "async" and before["system"].pop("mode") == "quorum"
    assert after["workload"]["client"].pop("attempts") == 2 and before["workload"]["client"].pop("attempts") == 4
    assert after == before
    assert changed.network.links["default"].delay.values_ns == (20_000_000, 21_000_000, 19_500_000)
    assert override(EXPERIMENT, {}) == EXPERIMENT
    assert fingerprint(changed) != fingerprint(EXPERIMENT)


def test_setting_every_path_to_its_own_value_changes_nothing() -> None:
    every = [".".join(map(str, leaf)) for place in SETTABLE for leaf in leaves(place)]
    paths = [path for path in every if path.split(".")[:2] not in [["system", name] for name in SECTIONS]]
    assert 15 < len(paths) < len(every) and len(TUNABLE) == 3 + len(SECTIONS)
    assert override(EXPERIMENT, {path: current_value(EXPERIMENT, path) for path in paths}) == EXPERIMENT


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"policy.retry.cap": "10ms"}, "policy.retry.cap: cap 10ms is below base 50ms"),
        ({"policy.retry.cap": "10"}, "policy.retry.cap: 10 has no unit; write 10ms or 10s"),
        ({"policy.retry.attempts": "full"}, "policy.retry.attempts: 'full' is not a whole number"),
        ({"system.mode": "quorom"}, "did you mean quorum?"),
        ({"title": "x"}, "'title' is not a setting that can vary"),
        ({"workload.arrivals": "poisson(90000/s)"}, "operations are expected"),
    ],
)
def test_override_refuses_what_cannot_be(values: dict[str, str], part: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        override(EXPERIMENT, values)
    assert part in str(caught.value)
