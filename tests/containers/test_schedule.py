"""An experiment's faults as a timetable, and what is refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from lab.containers import execute
from lab.containers.errors import PlaneError
from lab.containers.images import Images
from lab.containers.labels import this_process
from lab.containers.links import used_pairs
from lab.containers.schedule import refusals, timetable
from lab.containers.session import Session
from lab.core import draws
from lab.core.fate import CUT, LOSS_PPM, TABLE_0
from lab.faults import FAULTS
from lab.model.effects import Keep
from lab.model.link import LinkFault, plan_links
from tests.containers.conftest import make_experiment

PARTITION = {"partition": {"at": "1s", "for": "2s", "groups": [["leader", "f1"], ["f2"]]}}
DROP = {"drop": {"at": "2s", "for": "2s", "share": "5%", "links": ["leader->f2", "leader->f1"]}}


def test_only_links_with_the_leader_carry_traffic() -> None:
    assert used_pairs(3) == [(0, 1), (1, 0), (0, 2), (2, 0)]


def test_boundaries_become_switches_of_the_links_that_change() -> None:
    table = timetable(make_experiment(PARTITION, DROP), 7)
    assert table.links.boundaries_ns == (0, 10**9, 2 * 10**9, 3 * 10**9, 4 * 10**9)
    changed = {
        switch.at_ns // 10**9: [link.name for link, _ in table.links.changes(switch.epoch)] for switch in table.switches
    }
    assert changed == {
        1: ["leader->f2", "f2->leader"],
        2: ["leader->f1", "leader->f2"],
        3: ["leader->f2", "f2->leader"],
        4: ["leader->f1", "leader->f2"],
    }
    assert [(switch.begins, switch.ends) for switch in table.switches] == [
        ((0,), ()),
        ((1,), ()),
        ((), (0,)),
        ((), (1,)),
    ]


def test_each_row_knows_the_faults_that_act_in_it() -> None:
    table = timetable(make_experiment(PARTITION, DROP), 7)
    link = next(link for link in table.links.links if link.name == "leader->f2")
    assert [sorted(active) for active in link.faults] == [[], [0], [0, 1], [1]]
    assert link.row_of_epoch == (0, 1, 2, 3, 0)
    assert [row[CUT] for row in link.rows] == [0, 1, 1, 0]
    assert [row[LOSS_PPM] for row in link.rows] == [0, 0, 50_000, 50_000]


def test_equal_overlapping_faults_keep_rows_of_their_own() -> None:
    inner = {"partition": {"at": "1.5s", "for": "1s", "groups": [["leader", "f1"], ["f2"]]}}
    link = next(one for one in timetable(make_experiment(PARTITION, inner), 7).links.links if one.name == "leader->f2")
    assert [sorted(active) for active in link.faults] == [[], [0], [0, 1]]
    assert link.row_of_epoch == (0, 1, 2, 1, 0)


def test_rows_and_tables_are_those_of_the_simulator() -> None:
    delay = {"delay": {"at": "1s", "for": "1s", "by": "normal(mean=5ms, deviation=1ms)", "links": ["f1->leader"]}}
    experiment = make_experiment(delay, DROP)
    names = experiment.system.names
    faults = []
    for fault in experiment.faults:
        for s, source in enumerate(names):
            for t, target in enumerate(names):
                effect = fault.link_effect(source, target) if s != t else None
                if effect is not None:
                    faults.append(LinkFault(s, t, fault.start_ns, fault.stop_ns, effect))
    whole = plan_links(names, experiment.network, faults)
    links = timetable(experiment, 7).links
    assert links.boundaries_ns == whole.boundaries_ns
    for link in links.links:
        s, t = names.index(link.source), names.index(link.target)
        assert link.key == draws.chain(7, draws.LINK, s * 64 + t)
        for epoch, row in enumerate(link.row_of_epoch):
            ours, theirs = link.rows[row], whole.rows[epoch][s * whole.node_count + t]
            assert ours[:TABLE_0] == theirs[:TABLE_0]
            for mine, its in zip(ours[TABLE_0:], theirs[TABLE_0:], strict=True):
                assert (mine < 0) == (its < 0)
                assert mine < 0 or link.tables[mine] == whole.tables[its]


def test_a_fault_from_the_start_needs_no_switch_to_begin() -> None:
    table = timetable(make_experiment({"drop": {"at": "0s", "for": "1s", "share": "5%"}}), 7)
    assert [(switch.at_ns, switch.begins, switch.ends) for switch in table.switches] == [(10**9, (), (0,))]
    assert all(link.faults[0] == {0} for link in table.links.links)


def test_outages_and_modes_are_in_order_of_time() -> None:
    table = timetable(
        make_experiment(
            {"crash": {"at": "3s", "for": "1s", "node": "f1", "keep": "nothing"}},
            {"pause": {"at": "1s", "for": "1s", "node": "f1"}},
            {"set": {"at": "2s", "mode": "async"}},
        ),
        7,
    )
    assert [(one.fault, one.outage.keep) for one in table.outages_of("f1")] == [(1, None), (0, Keep.NOTHING)]
    assert [(one.fault, one.setting.value) for one in table.modes] == [(2, "async")]
    assert table.switches == ()


def test_a_node_stopped_twice_at_once_is_refused() -> None:
    faults = [{"crash": {"at": "1s", "for": "2s", "node": "f1"}}, {"pause": {"at": "2s", "for": "1s", "node": "f1"}}]
    (sentence,) = refusals(make_experiment(*faults), 7)
    assert sentence.startswith("f1 is stopped twice at 2s")


def test_too_many_laws_are_refused() -> None:
    delays = [{"delay": {"at": "1s", "for": "1s", "by": f"{n}ms"}} for n in range(1, 6)]
    (sentence,) = refusals(make_experiment(*delays), 7)
    assert "more than 4 delay laws" in sentence


def test_a_seed_out_of_range_is_refused() -> None:
    assert refusals(make_experiment(), 1 << 63)


def test_what_is_refused_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("the engine was asked")

    monkeypatch.setattr("lab.containers.stack.connect", never)
    monkeypatch.setattr(FAULTS["drop"], "containers", "this plane has no dice")
    session = Session("0" * 12, this_process())
    with pytest.raises(PlaneError, match="this plane has no dice") as refused:
        execute.run_once(make_experiment(DROP), 7, session=session, images=Images({}))
    assert refused.value.exit_code == 2
