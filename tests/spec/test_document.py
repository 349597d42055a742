"""Resolved experiments, fingerprints and the schema for editors."""

from __future__ import annotations

import json
from pathlib import Path

from lab.faults import FAULTS
from lab.spec.load import SpecErrors, fingerprint, json_schema, load_experiment, resolved
from lab.spec.shape import keys_at

from .helpers import SMALL, errors_of, load


def test_layout_order_and_left_out_defaults_do_not_change_the_fingerprint() -> None:
    first = load(SMALL + "seeds: 20\npolicy: { timeout: 0.25s }\n")
    lines = SMALL.splitlines()
    second = load("# the same\n" + "\n".join(reversed(lines)) + "\n")
    assert fingerprint(first) == fingerprint(second)
    assert fingerprint(first) != fingerprint(load(SMALL + "seeds: 21\n"))


def test_the_values_of_samples_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    text = SMALL + "network: { links: { default: { delay: samples(a.csv) } } }\n"
    prints = set()
    for value in (1, 2):
        (tmp_path / "a.csv").write_text(f"delay_ns\n1\n{value}\n")
        prints.add(fingerprint(load(text, tmp_path)))
    assert len(prints) == 2


def test_resolved_names_every_default_with_its_unit() -> None:
    data = resolved(load(SMALL + "faults: [ crash: {at: 1s, for: 1500ms, node: f1} ]\n"))
    assert data["drain"] == "5s" and data["policy"]["retry"]["cap"] == "2s" and data["workload"]["skew"] == "uniform"
    assert data["faults"] == [{"crash": {"at": "1s", "for": "1.5s", "node": "f1", "keep": "durable"}}]
    assert "tune" not in data
    json.dumps(data, allow_nan=False)


def test_links_take_keys_from_default_also_after_resolving() -> None:
    text = SMALL + "network: { links: { default: {loss: 5%}, leader->f1: {delay: 9ms} } }\n"
    first = load(text)
    again = load(json.dumps(resolved(first)))
    for experiment in (first, again):
        assert experiment.network.link("leader", "f1").loss == 50_000
    assert resolved(first)["network"]["links"]["leader->f1"]["loss"] == "5%"


def test_the_schema_describes_what_the_file_may_hold() -> None:
    schema = json_schema()
    assert list(schema["properties"]) == keys_at(())
    kinds = schema["properties"]["faults"]["items"]["oneOf"]
    assert [next(iter(kind["properties"])) for kind in kinds] == [*FAULTS, "preset"]
    policy = schema["$defs"]["Policy"]["properties"]
    assert policy["timeout"]["type"] == "string" and "ms" in policy["timeout"]["pattern"]
    text = json.dumps(schema)
    for reference in {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}:
        assert reference in schema["$defs"]


def test_files_are_named_as_given_and_samples_found_beside_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("delay_ns\n1\n2\n")
    path = tmp_path / "one.yaml"
    path.write_text(SMALL + "faults: [ delay: {at: 1s, for: 1s, by: samples(a.csv)} ]\n")
    assert load_experiment(path).faults[0].label() == "delay +samples(a.csv) on all links"
    path.write_text(SMALL + "seeds: x\n")
    try:
        load_experiment(path)
    except SpecErrors as errors:
        assert errors.render().startswith(f"{path}:4:8: seeds: 'x' is not a whole number")
        assert errors.as_json()[0]["line"] == 4
    else:
        raise AssertionError("it loads")


def test_errors_in_one_part_do_not_hide_contradictions_in_another() -> None:
    text = SMALL + "faults:\n  - crash: {at: 5, for: 1s, node: f1}\n  - crash: {at: 1s, for: 1s, node: f9}\nseeds: 0\n"
    paths = [error.path for error in errors_of(text).errors]
    assert paths == ["faults[0].crash.at", "faults[1].crash.node", "seeds"]


def test_errors_beyond_one_hundred_are_counted() -> None:
    errors = errors_of(SMALL + "".join(f"k{number}: 1\n" for number in range(150)))
    assert len(errors.errors) == 100 and errors.omitted == 50
    assert errors.render().endswith("... and 50 more errors")
    assert [error.line for error in errors.errors] == list(range(4, 104))
