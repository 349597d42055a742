"""The reference executor against what can be computed by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from lab.core.laws import parse_law
from lab.engines import reference
from lab.engines.context import ProtocolMistake
from lab.engines.reference import TraceRow
from lab.engines.scenario import BudgetExceeded, bare
from lab.model.effects import Keep, LinkEffect, Outage
from lab.protocols.mesh import NOTE, Mesh
from tests.engines.worlds import MS, scenario

FIRST_WRITE_NS = 100 * MS


def messages(trace: list[TraceRow], kind: int) -> list[TraceRow]:
    return [row for row in trace if row.what == reference.MESSAGE and row.kind == kind]


def applied_ns(changes: dict[str, object], replica: int) -> list[int]:
    history = reference.run(scenario(**changes), 1)
    return [
        int(at) for at, node in zip(history.applies.time_ns, history.applies.replica, strict=True) if node == replica
    ]


def test_constant_delays_give_exact_times() -> None:
    history = reference.run(scenario(), 1)
    assert history.operations.intended_ns.tolist() == [FIRST_WRITE_NS * (i + 1) for i in range(9)]
    assert history.accepted.time_ns.tolist() == history.operations.intended_ns.tolist()
    for follower in (1, 2):
        assert applied_ns({}, follower) == [FIRST_WRITE_NS * (i + 1) + 10 * MS for i in range(9)]
    # A quorum of three needs one follower: there and back.
    assert (history.operations.acknowledged_ns - history.operations.intended_ns).tolist() == [20 * MS] * 9


@pytest.mark.parametrize(("start", "stop", "first_ns"), [(100, 200, 210), (99, 100, 110), (101, 150, 110)])
def test_a_partition_is_half_open(start: int, stop: int, first_ns: int) -> None:
    """Cut in [start, stop): a message sent at 100 ms is lost if 100 is in it; the next UPDATE is sent at 200 ms."""
    fault = {"partition": {"at": f"{start}ms", "for": f"{stop - start}ms", "groups": [["leader"], ["f1"]]}}
    policy = {"timeout": "1s", "reconcile_every": "0s", "ordering": "key"}
    times = applied_ns({"faults": [fault], "policy": policy}, 1)
    assert times[0] == first_ns * MS


def test_one_way_partitions_cut_one_way() -> None:
    fault = {"partition": {"at": "0s", "for": "1s", "groups": [["f1"], ["leader"]], "direction": "one_way"}}
    history = reference.run(scenario(faults=[fault]), 1)
    cut = {(count.source, count.target) for count in history.links if count.cut}
    assert cut == {("f1", "leader")}


def test_a_pause_defers_and_loses_nothing() -> None:
    fault = {"pause": {"at": "105ms", "for": "200ms", "node": "f1"}}
    assert applied_ns({"faults": [fault]}, 1)[:4] == [305 * MS, 305 * MS, 310 * MS, 410 * MS]


def test_a_crash_discards_timers_and_what_arrives_or_is_sent_meanwhile() -> None:
    fault = {"crash": {"at": "105ms", "for": "100ms", "node": "f1"}}
    policy = {"timeout": "1s", "reconcile_every": "0s", "ordering": "key"}
    history = reference.run(scenario(faults=[fault], policy=policy), 1)
    updates = next(row for row in history.links if (row.target, row.kind) == ("f1", "update"))
    # The write at 100 ms arrives at a node that is down; the one at 200 ms finds no connection, though it is back soon.
    assert (updates.down, updates.lost) == (2, 0)
    trace: list[TraceRow] = []
    period = {"reconcile_every": "60ms", "timeout": "1s"}
    reference.run(scenario(faults=[fault], policy=period), 1, trace=trace)
    ticks = [row.time_ns for row in trace if row.what == reference.TIMER and row.node == 1 and row.kind == 3]
    assert not [at for at in ticks if 105 * MS <= at < 205 * MS]
    after = [at for at in ticks if at >= 205 * MS]
    assert set(np.diff(after)) == {60 * MS}, "one chain of timers after the restart, not two"


@pytest.mark.parametrize(("keep", "lost"), [("durable", 0), ("nothing", 1)])
def test_keep_nothing_wipes(keep: str, lost: int) -> None:
    fault = {"crash": {"at": "950ms", "for": "10ms", "node": "f1", "keep": keep}}
    policy = {"reconcile_every": "0s", "timeout": "30ms"}
    history = reference.run(scenario(faults=[fault], policy=policy), 1)
    assert history.losses == (((1, 950 * MS),) if lost else ())
    assert (history.finals[1].digest != history.truth_digest) == bool(lost)


def test_overlapping_crashes_hold_a_node_until_the_last_one_ends() -> None:
    faults = [
        {"crash": {"at": "100ms", "for": "200ms", "node": "f1"}},
        {"crash": {"at": "150ms", "for": "400ms", "node": "f1"}},
    ]
    trace: list[TraceRow] = []
    reference.run(scenario(faults=faults), 1, trace=trace)
    handled = [row.time_ns for row in trace if row.node == 1 and row.what in (reference.MESSAGE, reference.TIMER)]
    assert not [at for at in handled if 100 * MS <= at < 550 * MS]


def _pair(**changes: object) -> list[TraceRow]:
    """Return the trace of two nodes that send a note every 10 ms with a delay of 1 ms."""
    effects = [LinkEffect(delay=parse_law("1ms"))]
    trace: list[TraceRow] = []
    world = bare(Mesh, {"period_ns": 10 * MS}, nodes=2, horizon_ns=200 * MS, effects=effects)
    reference.run(replace(world, **changes), 3, trace=trace)  # type: ignore[arg-type]
    return trace


def test_serving_takes_time_and_the_inbox_is_bounded() -> None:
    plain = [row.time_ns for row in messages(_pair(), NOTE) if row.node == 1]
    served = [row.time_ns for row in messages(_pair(service_ns=4 * MS), NOTE) if row.node == 1]
    assert [at - 4 * MS for at in served] == plain[: len(served)]
    slow = [row.time_ns for row in messages(_pair(service_ns=25 * MS), NOTE) if row.node == 1]
    assert set(np.diff(slow)) == {25 * MS}
    world = bare(Mesh, {"period_ns": 10 * MS}, nodes=2, horizon_ns=200 * MS, service_ns=25 * MS, inbox_limit=1)
    (link,) = reference.run(world, 3).links
    assert link.overflow > 0
    assert link.delivered + link.overflow <= link.sent


def test_bursts_depend_on_time_alone() -> None:
    """With all lost in the bad state and nothing in the good one, the message does not matter."""
    from lab.engines.scenario import Bursts

    bursts = Bursts(30 * MS, 30 * MS, 0, 1_000_000)
    world = bare(Mesh, {"period_ns": 1 * MS}, nodes=2, horizon_ns=2000 * MS, bursts=bursts)
    trace: list[TraceRow] = []
    (link,) = reference.run(world, 5, trace=trace).links
    assert 0.3 < link.lost / link.sent < 0.7
    times = sorted({row.time_ns for row in messages(trace, NOTE)})
    silent = [later - earlier for earlier, later in pairwise(times) if later - earlier > 10 * MS]
    assert len(silent) > 10, "losses come in bursts"


def test_a_budget_stops_a_run() -> None:
    with pytest.raises(BudgetExceeded, match=r"over 50 events at \d+ ns, last at "):
        reference.run(scenario(), 1, events_max=50)


def test_a_send_to_nowhere_is_a_mistake() -> None:
    world = bare(Mesh, {"period_ns": 1 * MS}, nodes=1, horizon_ns=10 * MS)
    with pytest.raises((ProtocolMistake, IndexError)):
        reference.run(replace(world, params=world.params._replace(period_ns=-5)), 1, strict=True)


def test_an_outage_from_the_start_starts_a_node_once() -> None:
    world = bare(
        Mesh, {"period_ns": 10 * MS}, nodes=2, horizon_ns=100 * MS, outages=[Outage("n1", 0, 20 * MS, Keep.DURABLE)]
    )
    trace: list[TraceRow] = []
    reference.run(world, 1, trace=trace)
    assert sum(row.what == 0 and row.node == 1 for row in trace) == 0
    assert set(np.diff([row.time_ns for row in trace if row.what == reference.TIMER and row.node == 1])) == {10 * MS}
