"""Blue-green rollouts: what is refused, what is verified, and a promotion that is made, or not made at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import docker
import pytest

from lab.checkers import CHECKERS
from lab.containers import collect, green, reaper
from lab.containers.collect import Events
from lab.containers.execute import needed_images, run_once
from lab.containers.images import Images
from lab.containers.schedule import refusals, timetable
from lab.containers.session import Session
from lab.engines.refusals import NotSimulated
from lab.engines.scenario import prepare
from lab.faults import FAULTS
from lab.history import ACKNOWLEDGED, History
from lab.metrics import METRICS
from lab.metrics.divergence import divergence_curve
from tests.containers.conftest import make_experiment
from tests.judgement.judgement_histories import good

BUSY_TRIES = 3  # a run whose load could not be kept up is no run; others may be using this machine


def to_rust(at: str = "1s", **others: Any) -> dict[str, Any]:
    return {"blue_green": {"at": at, "nodes": ["f1", "f2"], "runtime": "rust", "schema_version": 2, **others}}


def problems(**parameters: Any) -> list[str]:
    fault = FAULTS["blue_green"].model_validate({"at": "1s", "nodes": ["f1"], "runtime": "rust", **parameters})
    return [sentence for _, sentence in fault.problems(("leader", "f1", "f2"))]


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"nodes": ["f1", "leader"]}, "leader leads"),
        ({"nodes": ["f1", "f1"]}, "named twice"),
        ({"nodes": ["f3"]}, "not a replica"),
        ({"runtime": None}, "nothing would be replaced"),
    ],
)
def test_contradictions_are_told(parameters: dict[str, Any], sentence: str) -> None:
    assert problems() == []
    assert sentence in problems(**parameters)[0]


def test_all_nodes_switch_at_the_end_of_the_warm_phase() -> None:
    experiment = make_experiment(to_rust(warm="2s"), followers=("go", "go"))
    ((fault, outages),) = timetable(experiment, 7).promotions().items()
    assert fault == 0 and refusals(experiment, 7) == []
    assert [(one.outage.node, one.outage.start_ns, one.warm_ns) for one in outages] == [
        ("f1", 3 * 10**9, 2 * 10**9),
        ("f2", 3 * 10**9, 2 * 10**9),
    ]
    assert {"go", "rust"} <= needed_images(experiment)
    replaced = make_experiment({"replace": {"at": "1s", "node": "f1", "runtime": "rust"}})
    assert timetable(replaced, 7).promotions() == {}


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"crash": {"at": "3.2s", "for": "1s", "node": "f2"}}, "f2 is stopped twice"),
        (to_rust("2s", warm="2s"), "a second replica is prepared beside f1"),
        ({"crash": {"at": "1.5s", "for": "1s", "node": "f2"}}, ""),  # the one in place may fail while it is there
        (to_rust("3.5s", warm="1s"), ""),
    ],
)
def test_overlaps_are_refused(other: dict[str, Any], sentence: str) -> None:
    found = refusals(make_experiment(to_rust(warm="2s"), other), 7)
    assert sentence in " ".join(found) and bool(found) == bool(sentence)


def test_the_simulator_refuses_it() -> None:
    with pytest.raises(NotSimulated, match="one store each"):
        prepare(make_experiment(to_rust()))


def test_blocks_keep_to_the_window_the_limit_and_the_size_of_a_request() -> None:
    small = [{"sequence": str(number), "payload": "00"} for number in range(1, 2502)]
    assert [len(block) for block in green.blocks(small, 4096)] == [1000, 1000, 501]
    assert [len(block) for block in green.blocks(small[:10], 4)] == [4, 4, 2]
    large = [{"sequence": str(number), "payload": "0" * 600_000} for number in range(1, 4)]
    assert [len(block) for block in green.blocks(large, 4096)] == [1, 1, 1]
    assert list(green.blocks([], 4096)) == []


def test_a_loaded_replica_must_be_what_the_header_says() -> None:
    header, entries = green.parse_snapshot(
        '{"prefix":1,"prefix_hash":5,"digest":"ab"}\n{"sequence":"1","payload":""}\n'
    )
    assert len(entries) == 1
    assert green.difference(header, {"prefix": 1, "prefix_hash": 5, "digest": "ab", "mode": "sync"}) == ""
    for name, value in (("prefix", 0), ("prefix_hash", 6), ("digest", "ac")):
        assert name in green.difference(header, header | {name: value})
    for text in ("", "[]", '{"error":"no"}'):
        with pytest.raises(ValueError):
            green.parse_snapshot(text)


def test_what_was_prepared_is_dated_to_the_moment_it_took_the_place() -> None:
    """Blue applied 1..3 and ended, green came with 1..2: 3 is not there until it is applied again."""
    seen = collect.Seen(make_experiment(), 7, None, 0, None, {}, [(1, 50)], [(1, 50)])  # type: ignore[arg-type]
    rows = [(1, "start", 0, -1), *((10 * s, "applied", s, s - 1) for s in (1, 2, 3)), (60, "start", 2, -1)]
    seen.events = {"f1": Events([*rows, (70, "applied", 3, 2)])}
    found = collect._with_unreported(seen, "f1", {1: 0, 2: 1, 3: 2})
    assert [row[::2] for row in found if row[1] == "applied"] == [(10, 1), (20, 2), (30, 3), (51, 1), (51, 2), (70, 3)]
    assert "prepared beside it" in seen.notes[0]
    seen.swaps = []  # the control: without a swap it is the same store
    found = collect._with_unreported(seen, "f1", {1: 0, 2: 1, 3: 2})
    assert len([row for row in found if row[1] == "applied"]) == 4


def test_what_came_along_with_another_store_was_never_lacking() -> None:
    """f1 has 1..4 at 410, loses it at 500 and has 1..3 of another store at once; 4 comes at 530."""
    builder = good()
    builder.losses = [(1, 500)]
    for sequence, at_ns in ((1, 501), (2, 501), (3, 501), (4, 530)):
        builder.apply(1, sequence, sequence - 1, at_ns)
    lost = builder.build()
    swapped = replace(lost, swaps=lost.losses)
    staleness, curve = METRICS["staleness_max"].function, divergence_curve
    assert staleness(lost).value == 501 - 50, "the control: a life that begins with nothing"
    assert staleness(swapped).value == 310 - 150, "f2's during the partition: f1 lacked only 4, for 530 - 400"
    at_500 = {
        one: float(share[(times <= 500).sum() - 1])
        for one, (times, share) in ((False, curve(lost)), (True, curve(swapped)))
    }
    assert at_500[True] < at_500[False]
    # Judged alike but for the moment of the swap.
    assert CHECKERS["duplicate_effects"].function(swapped).valid is True


@pytest.fixture
def run(client: docker.DockerClient, session: Session, images: Images) -> Any:
    def once() -> History:
        experiment = make_experiment(to_rust("50ms", warm="1800ms"), followers=("go", "go"), duration="2.4s")
        for _ in range(BUSY_TRIES):
            history = run_once(experiment, 7, session=session, images=images)
            if "too busy" not in history.invalid and not any("in time" in note for note in history.notes):
                break
        assert reaper.find(client, session.id) == [], "something of the run is left"
        assert history.invalid == ""
        assert {final.digest for final in history.finals} == {history.truth_digest}, history.notes
        assert {final.prefix for final in history.finals} == {len(history.accepted)}
        return history

    return once


@pytest.mark.containers
@pytest.mark.timeout(120)
def test_warmed_replicas_take_the_places_at_once(run: Any) -> None:
    history = run()
    assert [(fault.bit, fault.healed) for fault in history.faults] == [(1, True)], history.notes
    assert sorted(replica for replica, _ in history.losses) == [1, 2]
    assert sorted(replica for replica, _, _ in history.crashes) == [1, 2]
    assert (history.operations.outcome == ACKNOWLEDGED).mean() > 0.95
    assert sum("entries loaded and verified" in note for note in history.notes) == 2
    # What was loaded was not sent again: the new life of each begins with it.
    for replica, loss_ns in history.losses:
        mine = history.applies.time_ns[history.applies.replica == replica]
        assert (mine == loss_ns + 1).sum() > 0


@pytest.mark.containers
@pytest.mark.timeout(120)
def test_a_green_one_that_is_not_verified_is_not_switched_in(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: one of the two says that it stored an entry which it never got."""
    ask = green.Green._ask

    def forgetful(self: green.Green, method: str, port: int, path: str, body: Any = None) -> dict[str, Any]:
        if self.node != "f2" or path != "/repair":
            return ask(self, method, port, path, body)
        stored = ask(self, method, port, path, {"entries": body["entries"][:-1]})["stored"]
        return {"stored": stored + 1}

    monkeypatch.setattr(green.Green, "_ask", forgetful)
    history = run()
    assert [(fault.bit, fault.healed) for fault in history.faults] == [(0, True)]
    assert history.losses == () and history.crashes == ()
    (told,) = [note for note in history.notes if "nothing was switched" in note]
    assert "green f2: it is not what the leader's snapshot says: its prefix is" in told
    assert CHECKERS["faults_bit"].function(history).valid is None, "a fault that left no evidence decides nothing"
