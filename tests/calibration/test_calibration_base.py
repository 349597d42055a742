"""`network.base`: what the simulator adds to links, and containers do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.containers.links import plan
from lab.core.fate import TABLE_0
from lab.engines.scenario import prepare
from lab.history import ACKNOWLEDGED
from lab.run import run_simulated, simulate
from lab.spec.document import fingerprint, resolved
from lab.spec.errors import SpecErrors
from lab.spec.load import load_text
from lab.spec.schema import Experiment

EACH = {"leader->f1": "1ms", "f1->leader": "2ms", "client->leader": "3ms", "leader->client": "4ms"}


def experiment(base: Any = None, faults: list[dict[str, Any]] | None = None) -> Experiment:
    network = {"links": {"default": {"delay": "10ms"}}} | ({"base": base} if base is not None else {})
    replicas = [{"name": "leader", "runtime": "go"}, {"name": "f1", "runtime": "go"}]
    return Experiment.model_validate(
        {"title": "t", "system": {"mode": "sync", "replicas": replicas}, "network": network,
         "workload": {"arrivals": "constant(50/s)", "duration": "1s"}, "drain": "1s", "faults": faults or []}
    )  # fmt: skip


def test_every_leg_is_added() -> None:
    history = simulate(experiment(EACH), 1)
    operations = history.operations
    assert (operations.outcome == ACKNOWLEDGED).all()
    assert set((operations.acknowledged_ns - operations.intended_ns).tolist()) == {30_000_000}
    assert set((history.accepted.time_ns - operations.intended_ns).tolist()) == {3_000_000}
    follower = history.applies.replica == 1
    assert set((history.applies.time_ns[follower] - history.accepted.time_ns).tolist()) == {11_000_000}


def test_both_executors_agree_on_it() -> None:
    drop = [{"drop": {"at": "300ms", "for": "200ms", "share": "50%"}}]
    world = experiment(EACH | {"default": "uniform(low=0s, high=1ms)"}, drop)
    reference, compiled = (run_simulated(world, [1, 2], executor=one, workers=1) for one in ("reference", "compiled"))
    assert reference.digest() == compiled.digest()


def test_one_law_is_for_all_links_between_replicas() -> None:
    short = experiment("1ms")
    assert short == experiment({"default": "1ms"})
    row = prepare(short).plan.rows[0]
    assert row[0 * 3 + 1][TABLE_0 + 1] >= 0 and row[2 * 3 + 0][TABLE_0] == -1  # leader->f1, client->leader


def test_containers_do_not_add_it_again() -> None:
    assert plan(experiment(EACH), 1) == plan(experiment(), 1)


def test_it_counts_among_the_laws_of_a_link_and_in_the_fingerprint() -> None:
    assert fingerprint(experiment("1ms")) != fingerprint(experiment()) == fingerprint(experiment({}))
    assert resolved(experiment("1ms"))["network"]["base"] == {"default": "1ms"}
    text = (
        "title: x\nsystem: {replicas: [{name: leader}, {name: f1}]}\n"
        "network: {links: {default: {delay: 10ms}}, base: BASE}\n"
        "workload: {arrivals: poisson(100/s), duration: 1s}\n"
        "faults:\n" + "  - delay: {at: 100ms, for: 100ms, by: 5ms}\n" * 3
    )
    assert load_text(text.replace("BASE", "{}"), "x.yaml", Path("."))
    with pytest.raises(SpecErrors, match="5 delay laws add up"):
        load_text(text.replace("BASE", "1ms"), "x.yaml", Path("."))


@pytest.mark.parametrize(
    ("base", "sentence"),
    [
        ("{ leader->f9: 1ms }", "'leader->f9' is neither default nor a link"),
        ("{ client: 1ms }", "'client' is neither default nor a link"),
        ("samples(none.csv)", "'none.csv' does not exist"),
        ("{ default: samples(none.csv) }", "'none.csv' does not exist"),
        ("5", "5"),
    ],
)
def test_what_it_cannot_be_is_said(base: str, sentence: str, tmp_path: Path) -> None:
    text = (
        "title: x\nsystem: {replicas: [{name: leader}, {name: f1}]}\n"
        f"network:\n  base: {base}\nworkload: {{arrivals: poisson(100/s), duration: 1s}}\n"
    )
    with pytest.raises(SpecErrors) as raised:
        load_text(text, "x.yaml", tmp_path)
    assert sentence in str(raised.value) and "x.yaml:4:" in raised.value.render()
