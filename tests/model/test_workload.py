"""The workload: a pure function of seed, with the rates, spikes and skew it names."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from lab.model.workload import Workload, operations


def workload(**changes: object) -> Workload:
    return Workload.model_validate({"arrivals": "poisson(500/s)", "duration": "20s", "keys": 50} | changes)


def test_the_same_seed_repeats_and_another_differs() -> None:
    assert operations(workload(), 7) == operations(workload(), 7)
    assert operations(workload(), 7) != operations(workload(), 8)


def test_poisson_arrivals_have_rate_and_exponential_gaps() -> None:
    found = operations(workload(), 1)
    assert abs(len(found) - 10_000) < 400
    gaps = [b.at_ns - a.at_ns for a, b in pairwise(found)]
    mean_ns = sum(gaps) / len(gaps)
    assert abs(mean_ns / 2e6 - 1) < 0.04
    above_mean = sum(gap > 2_000_000 for gap in gaps) / len(gaps)
    assert abs(above_mean - 0.3679) < 0.02


def test_constant_arrivals_are_evenly_spaced() -> None:
    found = operations(workload(arrivals="constant(100/s)", duration="1s"), 1)
    assert [operation.at_ns for operation in found] == [10_000_000 * number for number in range(1, 100)]


def test_spikes_add_arrivals_in_their_interval_alone() -> None:
    spiked = workload(spikes=[{"at": "5s", "for": "1s", "rate": "2000/s"}])
    plain = {operation.at_ns for operation in operations(workload(), 3)}
    extra = [operation.at_ns for operation in operations(spiked, 3) if operation.at_ns not in plain]
    assert 1800 < len(extra) < 2200
    assert all(5_000_000_000 <= at_ns < 6_000_000_000 for at_ns in extra)


def test_zipf_keys_follow_their_weights_and_uniform_ones_do_not() -> None:
    skewed = Counter(operation.key for operation in operations(workload(skew="zipf(1)", duration="60s"), 1))
    flat = Counter(operation.key for operation in operations(workload(duration="60s"), 1))
    assert 1.8 < skewed[0] / skewed[1] < 2.2
    assert 8 < skewed[0] / skewed[9] < 12.5
    assert max(flat.values()) / min(flat.values()) < 1.5
    assert max(skewed) < 50
    assert max(flat) < 50
