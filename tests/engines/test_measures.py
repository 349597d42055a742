"""Measures computed in compiled code against `lab.metrics` on the histories of the same runs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lab.engines import compiled, identity
from lab.engines.bench import worlds
from lab.engines.scenario import Scenario
from lab.metrics import convergence_of, run_values

CHANGELOGS = [number for number in range(90) if identity.case(number).scenario.protocol.__name__ == "Changelog"]


def compare(scenario: Scenario, seeds: list[int]) -> int:
    """Compare every measure of every run; return how many runs were measured without a history."""
    measures = compiled.run_many(scenario, seeds, measures=True, threads=1).measures
    assert measures is not None
    for row, history in enumerate(compiled.histories(scenario, seeds)):
        assert bool(measures.is_measured[row]) == (not history.losses)
        if history.losses:
            continue
        expected = run_values(history)
        assert set(expected) == set(measures.value)
        for name, value in expected.items():
            found, censored = measures.value[name][row], bool(measures.censored[name][row])
            if value.value is None:
                assert math.isnan(found), name
            elif name == "divergence_area":  # a sum of floats there, of integers here
                assert (found, censored) == (pytest.approx(value.value, rel=1e-12), value.censored)
            else:
                assert (found, censored) == (value.value, value.censored), name
        for index in range(len(history.faults)):
            value = convergence_of(history, index)
            found, censored = measures.fault_value[row, index], bool(measures.fault_censored[row, index])
            assert math.isnan(found) if value.value is None else (found, censored) == (value.value, value.censored)
    return int(measures.is_measured.sum())


def test_measures_are_those_of_the_histories() -> None:
    made = [identity.case(number) for number in CHANGELOGS]
    measured = sum(compare(case.scenario, [case.seed]) for case in made)
    assert measured > len(made) // 2
    assert measured < len(made), "some lose state"


def test_measures_of_many_seeds_do_not_depend_on_threads() -> None:
    scenario = worlds.changelog(4, duration="500ms", drain="1s")
    assert compare(scenario, list(range(20))) == 20
    one, two = (compiled.run_many(scenario, range(60), measures=True, threads=threads).measures for threads in (1, 2))
    assert one is not None
    assert two is not None
    for name in one.value:
        np.testing.assert_array_equal(one.value[name], two.value[name])
