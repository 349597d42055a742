"""Whatever the input: an experiment or SpecErrors, nothing else; and what is written out reads back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.core.fate import TABLE_COUNT
from lab.core.units import (
    DURATION_MAX_NS,
    RATE_MAX,
    duration_text,
    parse_duration_ns,
    parse_rate_millihertz,
    parse_share_ppm,
    rate_text,
    share_text,
)
from lab.engines.scenario import link_faults
from lab.faults import FAULTS
from lab.model.link import TooManyLaws, plan_links
from lab.spec import checks
from lab.spec.load import SpecErrors, fingerprint, load_text, resolved
from lab.spec.schema import Experiment
from lab.spec.shape import keys_at

from .helpers import GOLDEN, MEASURES, SMALL, load

KEYS = sorted(
    {key for path in ((), ("system",), ("workload",), ("policy",), ("policy", "retry"), ("network",), ("tune",))
     for key in keys_at(path)} | set(FAULTS) | {"at", "for", "by", "links", "groups", "default", "leader->f1", "name"}
)  # fmt: skip
WORDS = st.sampled_from(
    ["20ms", "5%", "200/s", "0s", "full", "leader", "f1", "all", "samples(data/wan.csv)", "samples(..)", "poisson(5/s)",
     "uniform", "lognormal(median=1ms, p99=2ms)", "a < 1", "policy.timeout", "1..2", "1ms..2s log", "<<", ""]
)  # fmt: skip
SCALARS = WORDS | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=20,
)


def answer(text: bytes | str) -> Experiment | SpecErrors:
    """Load and return what comes out; render errors, since that must not fail either."""
    try:
        return load_text(text, "spec.yaml", GOLDEN, MEASURES)
    except SpecErrors as errors:
        assert errors.errors
        errors.render().encode("utf-8")
        json.dumps(errors.as_json())
        return errors


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    answer(data)


@given(st.text(alphabet="abc:,-[]{}&*!|>'\"%@`#?~ \n\t0189.\\()<=\x1b\u2028é", max_size=80))
def test_any_text_of_yaml_characters(text: str) -> None:
    answer(text)


@settings(max_examples=300)
@given(TREES)
def test_any_tree(tree: Any) -> None:
    answer(json.dumps(tree, ensure_ascii=False))


@settings(max_examples=300)
@given(st.sampled_from(keys_at(())), TREES)
def test_any_tree_in_a_section(section: str, tree: Any) -> None:
    document = {
        "title": "x",
        "system": {"replicas": [{"name": "leader"}, {"name": "f1"}]},
        "workload": {"arrivals": "poisson(5/s)", "duration": "20s"},
        section: tree,
    }
    answer(json.dumps(document, ensure_ascii=False))


@settings(max_examples=300)
@given(st.sampled_from(sorted(FAULTS)), TREES)
def test_any_tree_in_a_fault(kind: str, tree: Any) -> None:
    answer(SMALL + json.dumps({"faults": [{kind: tree}]}, ensure_ascii=False)[1:-1])


@given(st.data())
def test_a_good_file_with_one_cut(data: st.DataObject) -> None:
    text = (GOLDEN / "cap_below_base.txt").read_text().partition("==== fixed\n")[2]
    start = data.draw(st.integers(0, len(text)))
    answer(text[:start] + text[start + data.draw(st.integers(0, 40)) :])


def test_control_the_uncut_file_loads() -> None:
    text = (GOLDEN / "cap_below_base.txt").read_text().partition("==== fixed\n")[2]
    assert isinstance(answer(text), Experiment)


@given(st.integers(0, DURATION_MAX_NS))
def test_durations_read_back(value_ns: int) -> None:
    assert parse_duration_ns(duration_text(value_ns)) == value_ns


@given(st.integers(0, 1_000_000))
def test_shares_read_back(ppm: int) -> None:
    assert parse_share_ppm(share_text(ppm)) == ppm


@given(st.integers(1, RATE_MAX * 1000))
def test_rates_read_back(millihertz: int) -> None:
    assert parse_rate_millihertz(rate_text(millihertz)) == millihertz


@pytest.mark.parametrize("text", ["123456.789/s", "0.001/s", "1000000/s"])
def test_rates_of_a_file_read_back_exactly(text: str) -> None:
    experiment = load(SMALL.replace("200/s", "1/s") + f"faults: []\nquestion: '{text}'")
    assert experiment.question == text
    assert rate_text(parse_rate_millihertz(text)) == text


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9), st.booleans()), min_size=3, max_size=9), st.booleans())
def test_overlapping_laws_are_refused_exactly_where_the_plan_would_fail(
    spans: list[tuple[int, int, bool]], base: bool
) -> None:
    lines = [
        f"  - jitter: {{at: {at}s, for: {long}s, up_to: {number + 1}ms, links: {'all' if every else '[leader->f1]'}}}"
        for number, (at, long, every) in enumerate(spans)
    ]
    network = "network: {links: {default: {delay: 1ms}}}\n" if base else ""
    text = SMALL + network + "faults:\n" + "\n".join(lines)
    outcome = answer(text)
    parsed = outcome if isinstance(outcome, Experiment) else None
    if parsed is None:
        assert isinstance(outcome, SpecErrors)
        assert all(f"at most {TABLE_COUNT} can" in error.message for error in outcome.errors)
        original = checks.CHECKS
        checks.CHECKS = tuple(check for check in original if check.__name__ != "_laws")
        try:
            parsed = load(text)
        finally:
            checks.CHECKS = original
        with pytest.raises(TooManyLaws):
            plan_links(parsed.system.names, parsed.network, link_faults(parsed))
    else:
        plan_links(parsed.system.names, parsed.network, link_faults(parsed))


def test_resolved_reads_back_as_an_equal_experiment() -> None:
    text = (GOLDEN / "cap_below_base.txt").read_text().partition("==== fixed\n")[2]
    first = load(text)
    again = load(json.dumps(resolved(first), ensure_ascii=False))
    assert resolved(again) == resolved(first)
    assert fingerprint(again) == fingerprint(first)
    names = first.system.names
    for source in names:
        for target in names:
            assert first.network.link(source, target) == again.network.link(source, target)
