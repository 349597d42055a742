"""Claims: what they mean, and what is said about those that mean nothing."""

from __future__ import annotations

from math import inf, nan

import pytest

from lab.spec.claims import OPERATORS, parse_claim, split_variant
from lab.spec.load import SpecErrors, load_text

from .helpers import GOLDEN, MEASURES, SMALL, load


@pytest.mark.parametrize(
    ("text", "threshold", "unit"),
    [
        ("convergence.p99 < 2s", 2e9, "ns"),
        ("convergence.p99<=1m30s", 9e10, "ns"),
        ("availability > 99.9%", 0.999, "share"),
        ("lost_acknowledged == 0", 0, "count"),
        (" amplification   <  1.5 ", 1.5, "ratio"),
        ("amplification != -1", -1, "ratio"),
    ],
)
def test_values_are_read_in_the_unit_of_the_measure(text: str, threshold: float, unit: str) -> None:
    claim = parse_claim(text, MEASURES)
    assert (claim.threshold, claim.dimension) == (threshold, unit)
    assert parse_claim(text).threshold == threshold, "without measures the form decides, here the same"


@pytest.mark.parametrize("sign", OPERATORS)
def test_claims_hold_as_their_operator_says(sign: str) -> None:
    claim = parse_claim(f"amplification {sign} 2", MEASURES)
    for value in (1.0, 2.0, 3.0, inf, -inf):
        assert claim.holds(value) is OPERATORS[sign](value, 2.0)
    assert claim.holds(nan) is False


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("convergence.p9 < 2s", "did you mean convergence.p99?"),
        ("zzz < 2s", "measures: lost_acknowledged"),
        ("convergence.p99 < 2", "write 2ms or 2s"),
        ("convergence.p99 < 99%", "a duration such as"),
        ("availability > 0.999", "write 0.999% or 99.9%"),
        ("availability > 2s", "a percentage such as"),
        ("availability > 150%", "over 100%"),
        ("amplification < 150%", "a plain number such as"),
        ("amplification < nan", "a plain number such as"),
        ("amplification < inf", "a plain number such as"),
        ("amplification < 1e3", "a plain number such as"),
        ("convergence.p99 < nan", "not a duration"),
        ("amplification = 1", "write == for equal"),
        ("1 < amplification < 2", "one claim for each comparison"),
        ("amplification =< 2", "write <= instead of =<"),
        ("amplification", "write MEASURE OP VALUE"),
        ("", "write MEASURE OP VALUE"),
        ("a" * 10_000 + " < 1", "not a claim"),
    ],
)
def test_claims_without_meaning_are_refused_with_the_fix(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_claim(text, MEASURES)
    assert part in str(caught.value)


def test_without_measures_only_the_form_is_checked() -> None:
    assert parse_claim("anything.at_all < 2s").dimension == "ns"
    with pytest.raises(ValueError, match=r"plain number|duration"):
        parse_claim("anything < nan")


def test_claims_about_a_variant() -> None:
    assert split_variant("fast: a < 1", ["fast"]) == ("fast", "a < 1")
    assert split_variant("a < 1", ["fast"]) == ("", "a < 1")
    with pytest.raises(ValueError, match="did you mean fast"):
        split_variant("fats: a < 1", ["fast"])
    text = SMALL + "variants: { fast: { policy.timeout: 20ms } }\nmeasure: { claims: ['fast: availability > 99%'] }\n"
    assert load(text).variants == {"fast": {"policy.timeout": "20ms"}}


def test_allowed_checkers_are_known_ones() -> None:
    text = SMALL + "measure: { allow: [lost_update] }\n"
    assert load(text).measure.allow == ["lost_update"]
    with pytest.raises(SpecErrors, match="did you mean lost_updates"):
        load_text(text, "spec.yaml", GOLDEN, MEASURES, ["lost_updates", "order"])
