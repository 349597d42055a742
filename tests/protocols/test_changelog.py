"""The simulated changelog, rule by rule, through whole runs with exact answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lab.engines import reference
from lab.engines.scenario import BudgetExceeded, prepare
from lab.history import ACKNOWLEDGED, REJECTED, History
from lab.spec.schema import Experiment

BASE: dict[str, Any] = {
    "title": "test",
    "system": {"mode": "quorum", "replicas": [{"name": "leader"}, {"name": "f1"}, {"name": "f2"}]},
    "network": {"links": {"default": {"delay": "10ms"}}},
    "workload": {"arrivals": "constant(50/s)", "duration": "2s", "keys": 10},
    "policy": {"timeout": "50ms", "retry": {"attempts": 3, "backoff": "fixed", "base": "20ms", "jitter": "none"}},
    "drain": "3s",
}


def run(seed: int = 1, **changes: Any) -> History:
    merged = {key: dict(value) if isinstance(value, dict) else value for key, value in BASE.items()}
    for key, value in changes.items():
        merged[key] = merged[key] | value if isinstance(value, dict) and key in merged else value
    return reference.run(prepare(Experiment.model_validate(merged)), seed)


def mode(name: str, **more: Any) -> History:
    return run(system={"mode": name}, **more)


def latencies_ms(history: History) -> np.ndarray:
    done = history.operations.acknowledged_ns
    return (done - history.operations.intended_ns)[done >= 0] / 1e6


def test_acknowledgement_latency_is_exact_for_each_mode() -> None:
    for name, links, expected_ms in [
        ("async", {}, 0), ("quorum", {}, 20), ("sync", {}, 20),
        ("quorum", {"leader->f2": {"delay": "30ms"}}, 20), ("sync", {"leader->f2": {"delay": "30ms"}}, 40),
    ]:  # fmt: skip
        history = mode(name, network={"links": {"default": {"delay": "10ms"}, **links}})
        assert set(latencies_ms(history)) == {expected_ms}, name
        assert len(latencies_ms(history)) == 99


def test_bounded_mode_waits_for_the_slowest_beyond_the_bound_only() -> None:
    cut = [{"partition": {"at": "500ms", "for": "1s", "groups": [["leader", "f1"], ["f2"]]}}]
    tight = mode("bounded", faults=cut, policy=BASE["policy"] | {"bound": 5, "reconcile_every": "100ms"})
    wide = mode("bounded", faults=cut, policy=BASE["policy"] | {"bound": 5000, "reconcile_every": "100ms"})
    assert latencies_ms(wide).max() == 0
    first_held = latencies_ms(tight)[:35]
    assert (first_held[:24] == 0).all()
    assert latencies_ms(tight).max() > 500


def test_apply_times_are_origin_time_plus_link_delay() -> None:
    history = run()
    accepted = dict(zip(history.accepted.sequence.tolist(), history.accepted.time_ns.tolist(), strict=True))
    for replica, sequence, time_ns in zip(
        history.applies.replica.tolist(),
        history.applies.sequence.tolist(),
        history.applies.time_ns.tolist(),
        strict=True,
    ):
        assert time_ns - accepted[sequence] == (0 if replica == 0 else 10_000_000)
    assert len(history.applies) == 3 * 99


def test_an_update_that_meets_a_cut_is_retried_then_left_to_reconciliation() -> None:
    cut = [{"partition": {"at": "0s", "for": "1s", "groups": [["leader", "f1"], ["f2"]]}}]
    one = {"workload": {"arrivals": "constant(2/s)", "duration": "600ms", "keys": 1}}
    history = run(faults=cut, policy=BASE["policy"] | {"reconcile_every": "400ms"}, **one)
    (repaired_ns,) = history.applies.time_ns[history.applies.replica == 2].tolist()
    # Accepted at 500 ms; attempts at 500, 570, 640 ms all meet the cut; exhausted at 690 ms. A digest every 400 ms
    # with a
    # phase of its own: the first after the heal leaves in [1 s, 1.4 s), and its repair arrives 20 ms later.
    assert 1_000_000_000 <= repaired_ns - 20_000_000 < 1_400_000_000
    other = run(seed=2, faults=cut, policy=BASE["policy"] | {"reconcile_every": "400ms"}, **one)
    assert other.applies.time_ns[other.applies.replica == 2].tolist() != [repaired_ns]
    assert history.counters["retries"] == 2
    assert history.counters["exhausted"] == 1
    assert history.counters["repairs"] == 1
    without = run(faults=cut, policy=BASE["policy"] | {"reconcile_every": "0s"}, **one)
    assert (without.applies.replica != 2).all(), "with no reconciliation it never arrives"


def test_a_retry_after_the_heal_arrives_at_the_exact_time() -> None:
    cut = [{"partition": {"at": "0s", "for": "600ms", "groups": [["leader", "f1"], ["f2"]]}}]
    one = {"workload": {"arrivals": "constant(2/s)", "duration": "600ms", "keys": 1}}
    history = run(faults=cut, policy=BASE["policy"] | {"reconcile_every": "0s"}, **one)
    # Attempts at 500 and 570 ms are cut; the heal is at 600 ms; the attempt of 640 ms arrives at 650 ms.
    assert history.applies.time_ns[history.applies.replica == 2].tolist() == [650_000_000]


def test_a_token_is_stored_once_however_often_the_client_sends_it() -> None:
    slow = {"links": {"default": {"delay": "300ms"}}}
    client = {"timeout": "100ms", "attempts": 4, "deadline": "5s"}
    history = run(network=slow, workload={"client": client}, policy=BASE["policy"] | {"timeout": "1s"})
    assert history.counters["duplicate_requests"] > 100
    assert sorted(history.accepted.token.tolist()) == list(range(99))
    assert (history.operations.attempts == 4).all()
    assert (history.operations.outcome == ACKNOWLEDGED).all()
    patient = {"client": client | {"timeout": "1s"}}
    once = run(network=slow, workload=patient, policy=BASE["policy"] | {"timeout": "1s"})
    assert once.counters["duplicate_requests"] == 0


def test_a_full_queue_refuses_or_defers() -> None:
    cut = [{"partition": {"at": "200ms", "for": "1500ms", "groups": [["leader", "f1"], ["f2"]]}}]
    policy = BASE["policy"] | {"retry": {"attempts": 50, "base": "200ms"}, "reconcile_every": "200ms"}
    refused = run(faults=cut, policy=policy | {"queue": {"limit": 5, "overflow": "reject"}})
    deferred = run(faults=cut, policy=policy | {"queue": {"limit": 5, "overflow": "defer"}})
    assert (refused.operations.outcome == REJECTED).sum() == refused.counters["rejected"] > 20
    assert refused.counters["deferred"] == 0
    assert deferred.counters["deferred"] > 20
    assert deferred.counters["rejected"] == 0
    for history in (refused, deferred):
        assert {final.digest for final in history.finals} == {history.truth_digest}


def test_the_retry_budget_denies_when_it_is_empty() -> None:
    cut = [{"partition": {"at": "0s", "for": "2s", "groups": [["leader", "f1"], ["f2"]]}}]
    retry = BASE["policy"]["retry"] | {"attempts": 50}
    free = run(faults=cut, policy=BASE["policy"] | {"retry": retry})
    tight = run(faults=cut, policy=BASE["policy"] | {"retry": retry | {"budget": "10%"}})
    assert free.counters["budget_denied"] == 0
    # 10 retries to begin with, and one in ten of 198 first transmissions.
    assert tight.counters["retries"] <= 10 + 20
    assert tight.counters["budget_denied"] > 50
    assert free.counters["retries"] > 5 * tight.counters["retries"]


def test_both_orderings_end_in_the_same_state_and_only_one_supersedes() -> None:
    jitter = [{"jitter": {"at": "0s", "for": "2s", "up_to": "200ms"}}]
    ends = {}
    for ordering in ("sequence", "key"):
        policy = BASE["policy"] | {"ordering": ordering, "timeout": "500ms"}
        history = run(faults=jitter, policy=policy, workload={"keys": 1})
        ends[ordering] = history
        assert {final.digest for final in history.finals} == {history.truth_digest}
    assert ends["sequence"].applies.superseded.sum() == 0
    assert ends["key"].applies.superseded.sum() > 0
    assert ends["sequence"].truth_digest == ends["key"].truth_digest


@pytest.mark.parametrize("keep", ["durable", "nothing"])
def test_a_crashed_follower_comes_back(keep: str) -> None:
    crash = [{"crash": {"at": "500ms", "for": "500ms", "node": "f2", "keep": keep}}]
    history = run(faults=crash, policy=BASE["policy"] | {"reconcile_every": "200ms"})
    assert {final.digest for final in history.finals} == {history.truth_digest}
    f2 = history.applies.replica == 2
    down = (history.applies.time_ns >= 500_000_000) & (history.applies.time_ns < 1_000_000_000)
    assert not (f2 & down).any()
    again = len(history.applies.token[f2]) - len(set(history.applies.token[f2].tolist()))
    assert history.losses == (((2, 500_000_000),) if keep == "nothing" else ())
    assert (again > 0) == (keep == "nothing")


def test_a_leader_that_loses_its_state_loses_acknowledged_updates_and_one_that_keeps_it_does_not() -> None:
    for keep, lost in (("durable", False), ("nothing", True)):
        crash = [{"crash": {"at": "1s", "for": "200ms", "node": "leader", "keep": keep}}]
        history = run(faults=crash)
        kept = set(history.accepted.token[history.accepted.time_ns >= 1_200_000_000].tolist())
        acknowledged = set(np.flatnonzero(history.operations.outcome == ACKNOWLEDGED).tolist())
        assert acknowledged
        assert (len({final.digest for final in history.finals}) > 1) == lost
        assert bool(history.losses) == lost
        assert (len(history.accepted) > len(set(history.accepted.sequence.tolist()))) == lost
        assert kept


def test_a_paused_node_is_late_and_loses_nothing() -> None:
    pause = [{"pause": {"at": "500ms", "for": "300ms", "node": "f2"}}]
    history = run(faults=pause)
    f2 = history.applies.time_ns[history.applies.replica == 2]
    assert not ((f2 >= 500_000_000) & (f2 < 800_000_000)).any()
    assert (f2 == 800_000_000).sum() >= 14
    assert len(f2) == 99


def test_a_mode_switch_releases_what_waits() -> None:
    cut = {"partition": {"at": "0s", "for": "2s", "groups": [["leader"], ["f1", "f2"]]}}
    client = {"client": {"timeout": "500ms", "attempts": 10, "deadline": "10s"}}
    stuck = run(faults=[cut], workload=client)
    switched = run(faults=[cut, {"set": {"at": "1s", "mode": "async"}}], workload=client)
    assert latencies_ms(stuck)[0] > 1500
    assert latencies_ms(switched)[0] == 980
    assert latencies_ms(switched)[60] == 0


def test_the_event_budget_stops_a_run_and_says_where() -> None:
    scenario = prepare(Experiment.model_validate(BASE))
    with pytest.raises(BudgetExceeded, match=r"over 100 events at \d+ ns, last at \w+"):
        reference.run(scenario, 1, events_max=100)
