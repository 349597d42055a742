"""Metrics: exact answers, equality with the plain reference, and what must not change them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from math import ceil

import judgement_reference as plain
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judgement_histories import Builder, fault, good, store

import lab.metrics.prepare as prepare_module
from lab.history import REJECTED, UNKNOWN, History
from lab.metrics import METRICS, RunValue, convergence_of, divergence_curve, is_counter, run_values

Measure = Callable[[History, int], RunValue]


def value(history: History, name: str) -> RunValue:
    return METRICS[name].function(history)


def two_nodes(delay_ns: int, writes: list[int], cut: tuple[int, int]) -> History:
    """Return two replicas with a constant delay; what the cut holds back is sent again at its heal."""
    builder = Builder(("leader", "f1"), horizon_ns=10_000)
    start_ns, stop_ns = cut
    for at_ns in writes:
        sent_ns = stop_ns if start_ns <= at_ns < stop_ns else at_ns
        builder.write(at_ns, [sent_ns + delay_ns])
    builder.faults.append(fault(start_ns, stop_ns))
    return builder.build()


CASES = [
    # The last update before the heal is sent at the heal: convergence is one delay.
    (two_nodes(20, [50, 150, 299], (100, 300)), 20),
    # Accepted exactly at the heal: it counts, and takes one delay.
    (two_nodes(20, [300], (100, 300)), 20),
    # Accepted one tick after the heal: it does not count.
    (two_nodes(20, [50, 301], (100, 300)), 0),
    # Nothing was held back; what was under way at the heal needs the rest of its delay.
    (two_nodes(20, [95], (96, 100)), 15),
    (two_nodes(20, [80], (99, 100)), 0),
    (two_nodes(20, [79], (99, 100)), 0),
]


@pytest.mark.parametrize(("history", "exact_ns"), CASES)
def test_convergence_is_exact_for_a_constant_delay(history: History, exact_ns: int) -> None:
    assert convergence_of(history, 0) == RunValue(exact_ns)
    assert value(history, "convergence") == RunValue(exact_ns)


def from_fault_start(history: History, index: int) -> RunValue:
    moved = dataclasses.replace(history.faults[index], stop_ns=history.faults[index].start_ns, start_ns=-1)
    return convergence_of(dataclasses.replace(history, faults=(moved,)), index)


def one_tick_late(history: History, index: int) -> RunValue:
    right = convergence_of(history, index).value
    return RunValue(None if right is None else right + 1)


def heal_excluded(history: History, index: int) -> RunValue:
    early = dataclasses.replace(history.faults[index], stop_ns=history.faults[index].stop_ns - 1)
    wrong = convergence_of(dataclasses.replace(history, faults=(early,)), index).value
    return RunValue(None if wrong is None else max(0, wrong - 1))


def tick_included(history: History, index: int) -> RunValue:
    late = dataclasses.replace(history.faults[index], stop_ns=history.faults[index].stop_ns + 1)
    wrong = convergence_of(dataclasses.replace(history, faults=(late,)), index).value
    return RunValue(None if wrong is None else wrong + 1 if wrong > 0 else 0)


@pytest.mark.parametrize("mutant", [from_fault_start, one_tick_late, heal_excluded, tick_included])
def test_the_exact_cases_catch_a_wrong_convergence(mutant: Measure) -> None:
    assert any(mutant(history, 0) != RunValue(exact_ns) for history, exact_ns in CASES)


def test_a_good_run_has_the_values_counted_by_hand() -> None:
    builder = good()
    builder.intend(450, 3, outcome=REJECTED)
    builder.intend(460, 3, outcome=UNKNOWN)
    builder.intend(470, 3, acknowledged_ns=671)
    builder.accept(6, 480)
    builder.apply(1, 5, 6, 480)
    builder.apply(2, 5, 6, 480)
    found = run_values(builder.build())
    assert found["count.transmissions"] == found["transmissions"] and found["count.retries"] == found["retries"]
    values = {name: (value.value, value.censored) for name, value in found.items() if not is_counter(name)}
    pairs = 3 * 8
    assert values == {
        "convergence": (10, False),
        "convergence_final": (0, False),
        "visibility_lag_p50": (10, False),
        "visibility_lag_p99": (160, False),
        "staleness_max": (160, False),
        "staleness_versions_max": (2, False),
        # f2 lacks key 1 over [150, 310), key 2 over [250, 310); every update lags 10 at f1.
        "divergence_max": (3 / pairs, False),
        "divergence_area": (pytest.approx((2 * 10 + 10 + 160 + 10 + 60 + 2 * 10) / pairs / 1e9), False),
        "amplification": (12 / 10, False),
        "transmissions": (12, False),
        "retries": (4, False),
        "repairs": (2, False),
        "bytes_sent": (1200, False),
        "availability": (4 / 7, False),
        "acknowledge_latency_p50": (0, False),
        "acknowledge_latency_p99": (201, True),
        "lost_acknowledged": (0, False),
        "duplicate_effects": (0, False),
        "order_violations": (0, False),
        "out_of_order_deliveries": (0, False),
        "digest_unequal": (0, False),
        "operations": (7, False),
        "rejected": (1, False),
        "unknown": (1, False),
    }


def test_the_divergence_curve_is_exact() -> None:
    builder = Builder(("leader", "f1"), key_count=2, horizon_ns=100)
    builder.write(10, [30], key=0)
    builder.write(20, [30], key=1)
    builder.write(50, [None], key=1)
    times_ns, share = divergence_curve(builder.build())
    assert times_ns.tolist() == [0, 10, 20, 30, 50]
    assert share.tolist() == [0, 0.25, 0.5, 0, 0.25]
    assert value(builder.build(), "divergence_area") == RunValue(pytest.approx((2.5 + 5 + 12.5) / 1e9), censored=True)


def test_a_switch_and_a_run_without_faults_have_no_convergence() -> None:
    builder = good()
    builder.faults = [fault(100, 100, kind="set")]
    assert value(builder.build(), "convergence") == RunValue(None)
    builder.faults = []
    assert value(builder.build(), "convergence") == RunValue(None)


def test_nothing_accepted_before_the_heal_is_not_convergence_in_no_time() -> None:
    assert convergence_of(two_nodes(20, [500], (100, 300)), 0) == RunValue(None)


def test_the_worst_fault_counts_and_each_can_be_asked_for() -> None:
    builder = good()
    builder.faults.append(fault(390, 405))
    history = builder.build()
    assert [convergence_of(history, index).value for index in range(2)] == [10, 5]
    assert value(history, "convergence") == RunValue(10)


def test_what_never_arrives_is_censored_and_never_dropped() -> None:
    builder = good()
    builder.write(290, [295, None], key=4)
    found = run_values(builder.build())
    assert found["convergence"] == RunValue(700, censored=True)
    assert found["convergence_final"] == RunValue(600, censored=True)
    assert found["staleness_max"] == RunValue(710, censored=True)
    assert found["visibility_lag_p99"] == RunValue(710, censored=True)
    assert found["visibility_lag_p50"] == RunValue(10)
    assert found["divergence_area"].censored


def test_a_fault_that_did_not_heal_is_censored() -> None:
    builder = good()
    builder.faults = [fault(100, 300, healed=False)]
    assert value(builder.build(), "convergence") == RunValue(700, censored=True)


def test_final_convergence_needs_equal_digests_and_every_answer() -> None:
    builder = good()
    assert not value(builder.build(), "convergence_final").censored
    builder.digests["f2"] = "00"
    assert value(builder.build(), "convergence_final") == RunValue(600, censored=True)
    builder = good()
    builder.silent = {"f2"}
    assert value(builder.build(), "convergence_final") == RunValue(600, censored=True)
    assert value(builder.build(), "digest_unequal") == RunValue(None)


def test_a_replica_that_lost_its_state_must_take_everything_again() -> None:
    builder = good()
    builder.losses = [(1, 200)]
    assert value(builder.build(), "convergence") == RunValue(700, censored=True)
    builder.apply(1, 1, 0, 330, superseded=1)
    builder.apply(1, 2, 1, 320)
    history = builder.build()
    assert value(history, "convergence") == RunValue(30)
    assert value(history, "staleness_max") == RunValue(330 - 50)
    assert value(history, "duplicate_effects") == RunValue(0)
    assert value(history, "order_violations") == RunValue(0)


def test_a_leader_without_memory_has_lost_what_was_acknowledged() -> None:
    builder = good()
    builder.losses = [(0, 300)]
    assert value(builder.build(), "lost_acknowledged") == RunValue(3)
    builder = good()
    builder.accept(builder.intend(500, 5, acknowledged_ns=510), 505, sequence=2)  # reuses the place of token 1
    assert value(builder.build(), "lost_acknowledged") == RunValue(1)
    builder = good()
    builder.prefixes["leader"] = 3
    assert value(builder.build(), "lost_acknowledged") == RunValue(1)


def test_missing_counters_are_not_zero() -> None:
    builder = good()
    builder.counters = {}
    names = ("amplification", "transmissions", "retries", "repairs", "bytes_sent", "out_of_order_deliveries")
    assert all(value(builder.build(), name) == RunValue(None) for name in names)


def test_an_empty_run_has_no_invented_values() -> None:
    found = run_values(Builder().build())
    for name, metric in METRICS.items():
        if not metric.applies("changelog"):
            assert name not in found
        elif metric.unit in ("ns", "ratio") or name == "availability":
            assert found[name].value is None, name
    assert found["divergence_max"] == RunValue(0)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Any history at all: lost, repeated, reused and unknown updates, losses of state, ties in time."""
    builder = Builder(
        ("leader", "f1", "f2")[: draw(st.integers(2, 3))],
        key_count=draw(st.integers(1, 3)),
        horizon_ns=24,
        deadline_ns=6,
    )
    times = st.integers(0, 24)
    for _ in range(draw(st.integers(1, 6))):
        acknowledged = draw(st.sampled_from([-1, 3, 12]))
        builder.intend(
            draw(st.integers(0, 5)), draw(st.integers(0, builder.key_count - 1)), acknowledged_ns=acknowledged
        )
    tokens = st.integers(0, len(builder.operations) - 1)
    sequences = st.integers(1, 4)
    for at_ns in sorted(draw(st.lists(times, max_size=6))):
        sequence = draw(st.one_of(st.just(len(builder.accepted) + 1), sequences))
        token = draw(tokens)
        builder.accepted.append((sequence, token, at_ns))
        for replica in range(len(builder.replicas)):
            for applied_ns in draw(st.lists(st.integers(at_ns, 24), max_size=2)):
                builder.apply(replica, sequence, token, applied_ns, draw(st.integers(0, 1)))
    for _ in range(draw(st.integers(0, 3))):
        builder.apply(draw(st.integers(0, 1)), draw(sequences), draw(tokens), draw(times))
    builder.losses = draw(st.lists(st.tuples(st.integers(0, len(builder.replicas) - 1), times), max_size=3))
    for start_ns in draw(st.lists(st.integers(0, 20), max_size=2)):
        builder.faults.append(fault(start_ns, start_ns + draw(st.integers(0, 4))))
    return builder.build()


@settings(max_examples=400, deadline=None)
@given(histories())
def test_metrics_equal_the_plain_reference(history: History) -> None:
    times_ns, share = divergence_curve(history)
    for at_ns in range(history.horizon_ns + 1):
        step = int(np.searchsorted(times_ns, at_ns, side="right")) - 1
        assert share[step] == pytest.approx(plain.divergence(history, at_ns)), at_ns
    for index in range(len(history.faults)):
        exact = plain.convergence(history, index)
        assert convergence_of(history, index) == (RunValue(None) if exact is None else RunValue(*exact))
    age, versions, endless = plain.staleness(history)
    if len(history.accepted):
        assert value(history, "staleness_max") == RunValue(age, endless)
        assert value(history, "staleness_versions_max") == RunValue(versions)
    assert value(history, "duplicate_effects").value == plain.repeated(history)[0]
    assert value(history, "order_violations").value == plain.repeated(history)[1]
    assert value(history, "lost_acknowledged").value == plain.lost(history)


@settings(max_examples=200, deadline=None)
@given(histories(), st.sampled_from([0.5, 0.99]))
def test_lag_quantiles_equal_the_plain_reference(history: History, q: float) -> None:
    came, bounds = plain.lags(history)
    found = value(history, f"visibility_lag_p{round(q * 100)}")
    n = len(came) + len(bounds)
    if n == 0:
        assert found == RunValue(None)
        return
    rank = ceil(n * q)
    if rank <= len(came):
        assert found == RunValue(came[rank - 1])
    else:
        assert found == RunValue(sorted(came + bounds)[rank - 1], censored=True)


def plain_values(history: History) -> dict[str, RunValue]:
    return run_values(history)


@settings(max_examples=100, deadline=None)
@given(histories())
def test_names_do_not_matter(history: History) -> None:
    names = {name: f"other-{name}" for name in history.replicas}
    finals = tuple(dataclasses.replace(final, replica=names[final.replica]) for final in history.finals)
    renamed = dataclasses.replace(history, replicas=tuple(names.values()), finals=finals)
    assert run_values(renamed) == run_values(history)


@settings(max_examples=100, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_the_interleaving_of_replicas_in_the_table_does_not_matter(history: History, luck: object) -> None:
    order = np.argsort(history.applies.replica, kind="stable")
    applies = history.applies
    moved = type(applies)(*(getattr(applies, name)[order] for name in applies.__slots__))
    assert run_values(dataclasses.replace(history, applies=moved)) == run_values(history)


@settings(max_examples=100, deadline=None)
@given(histories(), st.integers(1, 5))
def test_keys_never_written_change_divergence_by_the_denominator_alone(history: History, extra: int) -> None:
    wider = run_values(dataclasses.replace(history, key_count=history.key_count + extra))
    for name, found in run_values(history).items():
        if name.startswith("divergence") and found.value is not None:
            scaled = found.value * history.key_count / (history.key_count + extra)
            assert wider[name] == RunValue(pytest.approx(scaled), found.censored)
        else:
            assert wider[name] == found


@settings(max_examples=100, deadline=None)
@given(histories())
def test_twice_the_time_is_twice_the_time(history: History) -> None:
    operations, applies = history.operations, history.applies
    never = operations.acknowledged_ns < 0
    slow = dataclasses.replace(
        history,
        horizon_ns=history.horizon_ns * 2,
        deadline_ns=history.deadline_ns * 2,
        operations=dataclasses.replace(
            operations,
            intended_ns=operations.intended_ns * 2,
            acknowledged_ns=np.where(never, -1, operations.acknowledged_ns * 2),
        ),
        accepted=dataclasses.replace(history.accepted, time_ns=history.accepted.time_ns * 2),
        applies=dataclasses.replace(applies, time_ns=applies.time_ns * 2),
        faults=tuple(dataclasses.replace(f, start_ns=f.start_ns * 2, stop_ns=f.stop_ns * 2) for f in history.faults),
        losses=tuple((replica, at_ns * 2) for replica, at_ns in history.losses),
    )
    fast = run_values(history)
    for name, found in run_values(slow).items():
        factor = 2 if METRICS[name].unit in ("ns", "share_seconds") else 1
        before = fast[name].value
        assert found == RunValue(None if before is None else pytest.approx(before * factor), fast[name].censored), name


def test_the_kept_arrays_never_leak_into_another_history() -> None:
    first, second = good().build(), store(3)
    alone = run_values(store(3))
    run_values(first)
    assert prepare_module.prepare(first) is prepare_module.prepare(first)
    assert run_values(second) == alone
    assert run_values(first) == run_values(good().build())


def test_rows_after_the_horizon_do_not_count() -> None:
    builder = good()
    builder.write(350, [360, 2000], key=4)
    assert value(builder.build(), "convergence_final").censored
    assert value(builder.build(), "staleness_max") == RunValue(650, censored=True)


def test_one_censored_fault_censors_the_worst() -> None:
    builder = good()
    builder.write(500, [510, None], key=4)
    builder.faults.append(fault(450, 600))
    history = builder.build()
    assert [convergence_of(history, index).censored for index in range(2)] == [False, True]
    assert value(history, "convergence") == RunValue(400, censored=True)


def test_a_loss_at_the_heal_counts_from_the_heal() -> None:
    builder = good()
    builder.losses = [(2, 310), (1, 300)]
    for sequence in (1, 2, 3):
        builder.apply(1, sequence, sequence - 1, 340 + sequence)
    # f2 loses its state only after the heal, when it had converged; f1 loses it at the heal and has to start again.
    assert value(builder.build(), "convergence") == RunValue(43)


def test_a_loss_at_the_horizon_is_a_loss() -> None:
    builder = good()
    builder.losses = [(0, 1000), (1, 1000)]
    assert value(builder.build(), "lost_acknowledged") == RunValue(4)
    assert value(builder.build(), "convergence_final").censored


def test_a_key_that_was_wrong_and_lost_is_right_again() -> None:
    builder = Builder(("leader", "f1"), key_count=2, horizon_ns=100)
    builder.write(10, [10], key=0)
    builder.apply(1, 9, builder.intend(0, 1), 20)  # never accepted
    builder.losses = [(1, 50)]
    times_ns, share = divergence_curve(builder.build())
    # From 50 on key 1 is right by being empty, and key 0 is missing.
    assert times_ns.tolist() == [0, 20] and share.tolist() == [0, 0.25]


def test_an_answer_at_the_deadline_is_in_time() -> None:
    builder = Builder(deadline_ns=200)
    builder.intend(10, acknowledged_ns=210)
    builder.intend(10, acknowledged_ns=211)
    assert value(builder.build(), "availability") == RunValue(0.5)
