"""From logs, states and counts to a history."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from lab.containers.collect import Events, Seen, history, parse_events
from lab.containers.conduct import Interval
from lab.containers.drive import Driver, key_name, payload
from lab.containers.evidence import acted
from lab.containers.schedule import timetable
from lab.containers.toxiproxy import RowCounts, ToxicState
from lab.core.changelog_state import state_digest
from lab.history import Accepted
from lab.model.workload import Operation
from tests.containers.conftest import make_experiment

T0 = 1_000_000_000_000


def line(at: int, event: str, **fields: Any) -> bytes:
    return json.dumps({"t": T0 + at, "e": event, **fields}).encode() + b"\n"


def seen(*faults: dict[str, Any], count: int = 3) -> Seen:
    experiment = make_experiment(*faults, followers=("go",))
    driver = Driver([Operation(n * 10, n % 2) for n in range(count)], experiment.workload.client, 7)
    driver.t0_ns = T0
    return Seen(experiment, 7, timetable(experiment, 7), T0, driver, {}, [])


def state(sequence: int, **counters: int) -> dict[str, Any]:
    return {"digest": "d", "prefix": sequence, "last_sequence": sequence, "waiting": 0, "counters": counters}


def test_events_are_parsed_and_a_cut_line_is_survived() -> None:
    data = line(-5, "start", incarnation=1, prefix=0) + line(1, "applied", seq=1, token="0")
    data += b'{"t":1000000000003,"e":"app' + line(9, "start", incarnation=2, prefix=2) + b"garbage\n"
    events = parse_events(data)
    assert [row[1:] for row in events.rows] == [("start", 0, -1), ("applied", 1, 0), ("start", 2, -1)]
    assert events.broken == 2


def test_times_count_from_the_start_and_faults_keep_their_measured_times() -> None:
    one = seen({"crash": {"at": "1s", "for": "1s", "node": "f1"}})
    one.events = {
        "leader": parse_events(
            line(-9, "start", prefix=0) + line(15, "accepted", seq=1, token="1") + line(16, "applied", seq=1, token="1")
        ),
        "f1": parse_events(line(-9, "start", prefix=0) + line(25, "superseded", seq=1, token="1")),
    }
    one.states = {"leader": state(1, retries=5, bytes=9), "f1": state(1, acks_sent=2)}
    one.first_counters = {"leader": {"retries": 1}, "f1": {}}
    one.earlier_counters = {"acks_sent": 3}
    one.intervals = {0: Interval(T0 + 1_001_000_000, T0 + 2_300_000_000)}
    one.running, one.enabled = frozenset({"leader", "f1"}), {"leader->f1": True, "f1->leader": True}
    result = history(one)
    assert result.invalid == ""
    assert result.accepted.time_ns.tolist() == [15] and result.accepted.token.tolist() == [1]
    assert np.stack([result.applies.replica, result.applies.time_ns, result.applies.superseded]).T.tolist() == [
        [0, 16, 0],
        [1, 25, 1],
    ]
    assert result.counters == {"retries": 4, "bytes": 9, "acks_sent": 5}
    (fault,) = result.faults
    assert (fault.start_ns, fault.stop_ns, fault.bit, fault.healed) == (1_001_000_000, 2_300_000_000, 1, True)
    assert result.quiet_ns == 2_500_000_000


def test_effects_unreported_before_a_kill_are_dated_to_the_restart() -> None:
    one = seen()
    leader = b"".join(line(n, "accepted", seq=n, token=str(n - 1)) for n in (1, 2, 3))
    follower = line(-9, "start", prefix=0) + line(5, "applied", seq=1, token="0") + line(50, "start", prefix=2)
    one.events = {
        "leader": parse_events(line(-9, "start", prefix=0) + leader),
        "f1": parse_events(follower + line(60, "applied", seq=3, token="2")),
    }
    result = history(one)
    assert list(zip(result.applies.sequence.tolist(), result.applies.time_ns.tolist(), strict=True)) == [
        (1, 5),
        (2, 50),
        (3, 60),
    ]
    assert any("before it reported 1 effects" in note for note in result.notes)


def test_holes_make_a_run_invalid() -> None:
    one = seen()
    one.events = {"leader": parse_events(line(1, "accepted", seq=1, token="0")), "f1": Events()}
    one.states = {"leader": state(4), "f1": state(0)}
    assert "ends at sequence 1, its state at 4" in history(one).invalid
    assert "does not begin with its start" in history(one).invalid


def test_a_foreign_token_makes_a_run_invalid() -> None:
    one = seen()
    one.events = {"leader": parse_events(line(-1, "start", prefix=0) + line(1, "accepted", seq=1, token="77"))}
    assert "no operation of this run wrote" in history(one).invalid


def test_the_truth_is_the_highest_sequence_of_a_key_and_the_last_to_use_it() -> None:
    from lab.containers.collect import truth_digest

    one = seen(count=4)
    table = np.array([[1, 0, 1], [2, 1, 2], [3, 2, 3], [1, 3, 9], [3, 0, 10]], dtype=np.int64)
    digest = truth_digest(Accepted(table[:, 0], table[:, 1], table[:, 2]), one.driver)
    expected = {key_name(0): (3, payload(Operation(0, 0), 0, 7)), key_name(1): (2, payload(Operation(0, 1), 1, 7))}
    assert digest == state_digest(expected)


def toxic(row: int, *rows: RowCounts) -> ToxicState:
    return ToxicState(row=row, rows=rows, connections=1, malformed=0, queued=0, queue_dropped=2)


def test_a_fault_bit_where_rows_in_force_during_it_counted() -> None:
    one = seen({"partition": {"at": "1s", "for": "1s", "groups": [["leader"], ["f1"]]}})
    one.toxics_before = {
        name: toxic(0, RowCounts(frames=2, delivered=2), RowCounts()) for name in ("leader->f1", "f1->leader")
    }
    one.toxics = {
        "leader->f1": toxic(0, RowCounts(frames=12, delivered=12), RowCounts(frames=7, cut=7)),
        "f1->leader": toxic(1, RowCounts(frames=2, delivered=2), RowCounts(frames=1, cut=1)),
    }
    result = history(one)
    (fault,) = result.faults
    assert fault.bit == 8 and not fault.healed  # f1->leader still has the row of the fault in force
    assert [(link.sent, link.delivered, link.cut, link.overflow) for link in result.links] == [
        (17, 10, 7, 2),
        (1, 0, 1, 2),
    ]


def test_evidence_of_delay_is_every_copy_that_was_delayed() -> None:
    row = RowCounts(frames=10, duplicated=2, lost=3, delay_ns_total=5)
    assert acted("delayed", row) == 9 and acted("lost", row) == 3
    assert acted("delayed", RowCounts(frames=10)) == 0
