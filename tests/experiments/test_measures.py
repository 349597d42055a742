"""Measures of other protocols on histories by hand, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lab.checkers import CHECKERS, check
from lab.history import History, LinkCount, Marks
from lab.metrics import METRICS, RunValue, run_values

from ..judgement.judgement_histories import Builder, column


def marks(names: tuple[str, ...], *rows: tuple[int, str, int, int, int]) -> Marks:
    """Return marks of (time_ns, what, replica, a, b)."""
    return Marks(
        names,
        replica=column([row[2] for row in rows]),
        what=column([names.index(row[1]) for row in rows]),
        a=column([row[3] for row in rows]),
        b=column([row[4] for row in rows]),
        time_ns=column([row[0] for row in rows]),
    )


def history(protocol: str, given: Marks | None = None, builder: Builder | None = None, **more: object) -> History:
    base = (builder or Builder()).build()
    return replace(base, protocol=protocol, marks=given or Marks(), **more)  # type: ignore[arg-type]


def value(found: History, name: str) -> RunValue:
    return METRICS[name].function(found)


RAFT = ("leads", "stepped_down")


def test_the_time_without_a_leader() -> None:
    # Horizon 1000: 0 leads from 100, crashes at 300; 1 leads from 400 (term 2), crashes at 650; 2 leads from 700 (term
    # 4); 1 steps down late at 800, which ends nothing; 2 steps down at 900.
    given = marks(
        RAFT, (100, "leads", 0, 1, 0), (400, "leads", 1, 2, 0), (700, "leads", 2, 4, 0), (800, "stepped_down", 1, 2, 0),
        (900, "stepped_down", 2, 4, 0),
    )  # fmt: skip
    found = history("raft", given, crashes=((0, 300, 350), (1, 650, 660)))
    # Without: [0, 100), [300, 400), [650, 700) and [900, 1000).
    assert value(found, "leaderless") == RunValue(100 + 100 + 50 + 100)
    assert value(found, "leader_first") == RunValue(100) and value(found, "term_max") == RunValue(4)
    assert check(CHECKERS["one_leader"], found).valid is True
    nobody = history("raft")
    assert value(nobody, "leaderless") == RunValue(1000) and value(nobody, "leader_first") == RunValue(1000, True)
    assert value(nobody, "term_max") == RunValue(None) and check(CHECKERS["one_leader"], nobody).valid is None


def test_an_older_term_does_not_take_over() -> None:
    given = marks(RAFT, (100, "leads", 0, 5, 0), (200, "leads", 1, 4, 0), (300, "stepped_down", 1, 4, 0))
    assert value(history("raft", given), "leaderless") == RunValue(100)


def test_reads() -> None:
    names = ("read", "read_done")
    given = marks(
        names, (10, "read", 3, 0, 1), (20, "read", 3, 1, 1), (30, "read_done", 3, 0, 1), (50, "read_done", 3, 1, 1),
        (60, "read", 3, 2, 1),
    )  # fmt: skip
    found = history("quorum", given)
    assert value(found, "stale_reads") == RunValue(0.5)  # version 1 is the write 0: fresh for 0, stale for 1
    assert value(found, "read_latency_p50") == RunValue(30)
    assert value(found, "read_latency_p99") == RunValue(1000 - 60, True)  # the third was never answered
    overlapping = replace(found, parameters={"read_quorum": 2, "write_quorum": 2, "replicas": 3})
    assert check(CHECKERS["fresh_reads"], overlapping).valid is False
    apart = replace(found, parameters={"read_quorum": 1, "write_quorum": 2, "replicas": 3})
    assert check(CHECKERS["fresh_reads"], apart).valid is True


def test_operations_that_read() -> None:
    # Operation 0 writes (version 1); 1 and 2 read when versions 1 and 0 were acknowledged; 3 reads after the write 3.
    given = marks(
        ("read_done", "asked"), (20, "asked", 3, 1, 1), (21, "asked", 3, 2, 0), (30, "read_done", 3, 1, 0),
        (40, "read_done", 3, 2, 0), (50, "read_done", 3, 3, 4), (60, "read_done", 3, 0, 1),
    )  # fmt: skip
    found = history("quorum", given, parameters={"read_quorum": 2, "write_quorum": 2, "replicas": 5, "copies": 3})
    assert value(found, "stale_reads") == RunValue(0.25)  # the read 1 alone
    answer = check(CHECKERS["fresh_reads"], found)
    assert answer.valid is False and answer.witness["token"] == 1 and answer.witness["stale"] == 1
    sloppy = replace(found, parameters={**found.parameters, "patience_ns": 1})
    assert check(CHECKERS["fresh_reads"], sloppy).valid is True
    assert check(CHECKERS["fresh_reads"], replace(found, parameters={**found.parameters, "copies": 4})).valid is True


def test_copies_that_stay_behind() -> None:
    # Three replicas, two copies: key 0 lives on 0 and 1, key 2 on 2 and 0. The write 2 is only attempted, 3 is a read.
    builder = Builder(replicas=("a", "b", "c"))
    for at_ns, key, acknowledged_ns in ((10, 0, 15), (20, 2, 25), (30, 0, None), (40, 0, 45)):
        builder.intend(at_ns, key, **({"acknowledged_ns": acknowledged_ns} if acknowledged_ns else {}))
    builder.apply(0, 1, 0, 12)
    builder.apply(0, 2, 1, 24)
    builder.apply(3, 1, 0, 44)  # the client's read
    names = ("asked", "kept", "gone_home")
    asked = (40, "asked", 3, 3, 1)
    known = {"replicas": 3, "copies": 2}
    found = history("quorum", marks(names, asked), builder, parameters=known)
    assert value(found, "stale_copies") == RunValue(0.5)  # key 0 at b, key 2 at c
    assert check(CHECKERS["acknowledged_kept"], found).valid is True
    wiped = replace(found, losses=((0, 30),))
    assert value(wiped, "stale_copies") == RunValue(1)
    answer = check(CHECKERS["acknowledged_kept"], wiped)
    assert answer.valid is False and answer.witness["lost"] == 2
    hints = ((13, "kept", 2, 0, 1), (26, "kept", 1, 1, 2))
    hinted = replace(wiped, marks=marks(names, *hints, asked))
    assert check(CHECKERS["acknowledged_kept"], hinted).valid is True  # what stand-ins keep is not lost …
    assert value(hinted, "stale_copies") == RunValue(1)  # … but nobody reads it at home
    handed = replace(wiped, marks=marks(names, *hints, (28, "gone_home", 2, 0, 1), asked))
    assert check(CHECKERS["acknowledged_kept"], handed).valid is False
    nothing = history("quorum", parameters=known)
    assert value(nothing, "stale_copies") == RunValue(None)
    assert check(CHECKERS["acknowledged_kept"], nothing).valid is None


def test_a_service_that_recovers() -> None:
    # Intended at 0, 100 … 1000: the last fifth is 800, 900 and 1000; the deadline is 200.
    builder = Builder()
    for at_ns in range(0, 1001, 100):
        waited_ns = {800: 200, 900: 201}.get(at_ns, 50)
        builder.intend(at_ns, **({"acknowledged_ns": at_ns + waited_ns} if 700 < at_ns < 1000 else {}))
    found = history("rpc", builder=builder, counters={"hedges": 22})
    assert value(found, "recovered") == RunValue(1 / 3)
    assert value(found, "hedge_share") == RunValue(2.0)
    assert value(history("rpc"), "recovered") == value(history("rpc"), "hedge_share") == RunValue(None)


def test_replicas_that_merge() -> None:
    # Keys 0, 0 and 1 are written at 100, 200 and 300. The first write of key 0 wins in the end, by its clock.
    builder = Builder(replicas=("a", "b"))
    for at_ns, key in ((100, 0), (200, 0), (300, 1)):
        builder.accepted.append((len(builder.accepted) + 1, builder.intend(at_ns, key), at_ns))
    for replica, token, time_ns in ((0, 0, 100), (1, 1, 200), (1, 2, 300), (0, 2, 400), (1, 0, 450)):
        builder.apply(replica, token + 1, token, time_ns)
    found = history("crdt_register", builder=builder)
    alike = tuple(replace(final, digest="same") for final in found.finals)
    found = replace(found, finals=alike)
    assert value(found, "lost_writes") == RunValue(0.5)
    assert value(found, "alike_after") == RunValue(150)
    apart = replace(found, finals=(replace(alike[0], digest="other"), alike[1]))
    assert value(apart, "alike_after") == RunValue(700, True)
    assert value(history("crdt_register"), "lost_writes") == RunValue(None)
    assert value(history("crdt_merkle"), "alike_after") == RunValue(None)


def test_spread_and_residue() -> None:
    builder = Builder(replicas=("a", "b", "c", "d"))
    for replica, time_ns in ((0, 100), (1, 150), (2, 400), (3, 450)):
        builder.apply(replica, 1, 0, time_ns)
    for replica, time_ns in ((0, 200), (2, 260), (3, 800)):
        builder.apply(replica, 2, 1, time_ns)
    found = replace(history("gossip", builder=builder), deadline_ns=0)
    assert value(found, "residue") == RunValue(1 / 8)
    assert value(found, "spread_p50") == RunValue(60)  # the slower of 50 and 60
    assert value(found, "spread_last") == RunValue(800, True)  # b never got the second, which began at 200
    assert check(CHECKERS["spread_complete"], found).valid is False
    assert check(CHECKERS["spread_complete"], replace(found, parameters={"stop": 1})).valid is True
    silent = replace(history("gossip"), deadline_ns=0)
    assert value(silent, "residue") == value(silent, "spread_p50") == RunValue(None)


def test_detection() -> None:
    names = ("suspected", "trusted")
    # Replica 2 is down in [200, 600). 0 notices at 300; 1 suspected it from 150, so it needs no time; 0 suspects 1 at
    # 700.
    given = marks(
        names, (150, "suspected", 1, 2, 0), (300, "suspected", 0, 2, 0), (650, "trusted", 0, 2, 0),
        (660, "trusted", 1, 2, 0), (700, "suspected", 0, 1, 0), (710, "trusted", 0, 1, 0),
    )  # fmt: skip
    found = history("heartbeat", given, crashes=((2, 200, 600),))
    assert value(found, "detection_time_p50") == RunValue(0) and value(found, "detection_time_max") == RunValue(100)
    assert value(found, "false_suspicions") == RunValue(2)
    late = history("heartbeat", marks(names, (610, "suspected", 0, 2, 0)), crashes=((2, 200, 600),))
    assert value(late, "detection_time_max") == RunValue(400, True)  # nobody noticed before it was back
    assert value(history("swim"), "detection_time_max") == RunValue(None)


def test_only_what_applies_is_measured() -> None:
    links = (LinkCount("a", "b", "note", 6, 5), LinkCount("client", "a", "put", 9, 9))
    found = history("raft", links=links, counters={"elections": 3})
    values = run_values(found)
    assert "convergence" not in values and "residue" not in values and "leaderless" in values
    assert values["count.elections"] == values["elections"] == RunValue(3)
    assert values["messages_per_replica"] == RunValue(2)
    assert "availability" not in run_values(replace(found, protocol="mesh", deadline_ns=0))


def test_marks_are_in_the_digest_only_where_there_are_some() -> None:
    plain = Builder().build()
    assert plain.digest() == replace(plain, protocol="raft", parameters={"a": 1}, crashes=((0, 1, 2),)).digest()
    one = replace(plain, marks=marks(RAFT, (1, "leads", 0, 1, 0)))
    other = replace(plain, marks=marks(RAFT, (1, "leads", 0, 2, 0)))
    assert len({plain.digest(), one.digest(), other.digest()}) == 3
    assert np.array_equal(one.marks.rows("leads"), [0]) and not len(one.marks.rows("unknown"))
