"""Keyed draws: the golden vectors that Go and Rust read too, and that the draws are as uniform as they claim."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from math import log
from pathlib import Path

import pytest

from lab.core import backoff, changelog_state, draws, fate, quantiles

GOLDEN = Path(__file__).parents[2] / "compose" / "golden"


def golden(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def test_draws_match_the_golden_vectors() -> None:
    vectors = golden("draws")
    assert len(vectors["mix"]) >= 64
    for row in vectors["mix"]:
        assert draws.mix(int(row["key"]), int(row["word"])) == int(row["value"])
    for row in vectors["scale"]:
        assert draws.scale(int(row["draw"]), int(row["bound"])) == int(row["value"])
    for row in vectors["below"]:
        assert draws.below(int(row["draw"]), row["ppm"]) == row["value"]


def test_backoff_matches_the_golden_vectors() -> None:
    cases = golden("backoff")["cases"]
    assert {case["jitter"] for case in cases} == set(backoff.JITTERS)
    for case in cases:
        wait_ns = backoff.backoff_ns(
            backoff.BACKOFFS[case["backoff"]], backoff.JITTERS[case["jitter"]], case["base_ns"], case["cap_ns"],
            case["attempt"], case["previous_ns"], int(case["draw"]),
        )  # fmt: skip
        assert wait_ns == case["wait_ns"]


def test_fate_matches_the_golden_vectors() -> None:
    vectors = golden("fate")
    for case in vectors["cases"]:
        row = vectors["rows"][case["row"]]
        assert fate.fate(row, vectors["tables"], int(case["key"])) == (case["first"], case["second"])
    assert {case["first"] for case in vectors["cases"]} >= {fate.LOST, fate.CUT_OFF, 0}
    for case in vectors["lookups"]:
        assert quantiles.lookup(vectors["tables"][case["table"]], int(case["draw"])) == case["value"]
    assert len(vectors["lookups"]) >= 200


@pytest.mark.parametrize("ordering", ["sequence", "key"])
def test_the_golden_stream_gives_the_golden_state(ordering: str) -> None:
    entries = [json.loads(line) for line in (GOLDEN / "stream.jsonl").read_text().splitlines()]
    assert changelog_state.apply_stream(entries, ordering) == golden("expected")[ordering]


def test_another_stream_gives_another_state() -> None:
    entries = [json.loads(line) for line in (GOLDEN / "stream.jsonl").read_text().splitlines()]
    payload = bytes.fromhex(entries[0]["payload"])
    without_unknown_field = [dict(entry, payload=entry["payload"].removesuffix("fa01046e657874")) for entry in entries]
    assert changelog_state.payload_key(payload) == changelog_state.payload_key(
        payload + bytes.fromhex("fa01046e657874")
    )
    changed = changelog_state.apply_stream(without_unknown_field, "key")
    assert changed["digest"] != golden("expected")["key"]["digest"], "a dropped unknown field must show"
    assert changed["prefix_hash"] != golden("expected")["key"]["prefix_hash"]


def test_payloads_that_are_not_updates_are_refused() -> None:
    for broken in (b"\x0a\x05ab", b"\x0a", b"\xff" * 11, b"\x0b", b"\x0a\x01\xff"):
        with pytest.raises(changelog_state.PayloadError):
            changelog_state.payload_key(broken)


def test_neighbouring_keys_give_independent_uniform_draws() -> None:
    count = 40_000
    values = [draws.chain(1, index) for index in range(count)]
    assert len(set(values)) == count
    buckets = Counter(value >> 59 for value in values)
    expected = count / 16
    chi_square = sum((buckets[bucket] - expected) ** 2 / expected for bucket in range(16))
    assert chi_square < 37.7  # 99.9 % of chi-square with 15 degrees of freedom
    together = sum(1 for a, b in pairwise(values) if (a >> 62) == (b >> 62))
    assert abs(together - count / 2) < 4 * (count / 4) ** 0.5
    assert draws.chain(1, 2, 3) != draws.chain(1, 3, 2), "the order of words matters"


def test_below_and_scale_hit_their_rates_and_ends() -> None:
    values = [draws.chain(2, index) for index in range(50_000)]
    hits = sum(draws.below(value, 50_000) for value in values)
    assert abs(hits - 2500) < 4 * (50_000 * 0.05 * 0.95) ** 0.5
    assert sum(draws.below(value, 0) for value in values) == 0
    assert sum(draws.below(value, 1_000_000) for value in values) == len(values)
    scaled = [draws.scale(value, 7) for value in values]
    assert set(scaled) == set(range(7))
    assert draws.scale((1 << 63) - 1, 1000) == 999


def test_quantile_tables_have_the_law_they_name() -> None:
    values = [draws.chain(3, index) for index in range(20_000)]
    lognormal = quantiles.lognormal(20_000_000, 60_000_000)
    drawn = sorted(quantiles.lookup(lognormal, value) for value in values)
    assert abs(drawn[10_000] / 20e6 - 1) < 0.02
    assert abs(drawn[19_800] / 60e6 - 1) < 0.08
    exponential = sorted(quantiles.lookup(quantiles.exponential(1_000_000), value) for value in values)
    assert abs(sum(exponential) / len(exponential) / 1e6 - 1) < 0.03
    assert {quantiles.lookup(quantiles.constant(5), value) for value in values[:100]} == {5}
    sample = quantiles.samples([10, 20, 1000])
    assert (sample[0], sample[2048], sample[-1]) == (10, 20, 1000)
    for table in (lognormal, quantiles.normal(5_000, 9_000), quantiles.pareto(1000, 1_500_000)):
        assert len(table) == quantiles.KNOTS
        assert list(table) == sorted(table)
        assert table[0] >= 0


def test_tables_follow_heavy_tails_far_beyond_their_even_knots() -> None:
    pareto, exponential = quantiles.pareto(1_000_000, 1_500_000), quantiles.exponential(1_000_000)
    for beyond in (13, 16, 20, 24):
        draw = (1 << 63) - (1 << (63 - beyond))
        assert abs(quantiles.lookup(pareto, draw) / (1e6 * 2 ** (beyond / 1.5)) - 1) < 1e-6
        assert abs(quantiles.lookup(exponential, draw) / (1e6 * beyond * log(2)) - 1) < 1e-6
    draws_of_tail = [(4095 << 51) + step * (1 << 41) for step in range(1024)]
    looked = [quantiles.lookup(pareto, draw) for draw in draws_of_tail]
    assert looked == sorted(looked)
    mean = sum(looked) / len(looked)
    exact = 1e6 * 3 * 4096 ** (1 / 1.5)  # the mean of what lies beyond the quantile 1 - 1/4096
    assert abs(mean / exact - 1) < 0.1


def test_mixtures_and_cumulative_counts_are_inverted() -> None:
    slow = quantiles.lognormal(20_000_000, 60_000_000)
    assert quantiles.mixture([(1, slow)]) == slow
    mixed = quantiles.mixture([(3, quantiles.constant(100_000_000)), (1, slow)])
    looked = [quantiles.lookup(mixed, draws.chain(8, index)) for index in range(20_000)]
    assert abs(sum(value == 100_000_000 for value in looked) / 20_000 - 0.75) < 0.02
    histogram = quantiles.steps([(0, 0), (1000, 3), (2000, 3), (3000, 4)])
    assert (histogram[0], histogram[1536], histogram[3072], histogram[-1]) == (0, 500, 1000, 3000)
    assert histogram[3073] > 2000
    assert quantiles.steps([(7, 1), (8, 2)])[2048] == 7
