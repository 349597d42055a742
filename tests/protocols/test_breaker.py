"""The simulated circuit breaker, through whole runs, with controls and on both executors."""

from __future__ import annotations

from typing import Any

import pytest

from lab.engines import compiled, reference
from lab.engines.scenario import prepare
from lab.history import History
from lab.spec.document import fingerprint, resolved
from lab.spec.schema import Experiment
from tests.protocols.test_changelog import BASE, run

CUT = {"partition": {"at": "200ms", "for": "1500ms", "groups": [["leader", "f1"], ["f2"]]}}
POLICY = BASE["policy"] | {"reconcile_every": "200ms"}


def broken(seed: int = 1, failures: int | None = 5, open_for: str = "300ms", **changes: Any) -> History:
    """Run a cut of f2 with a breaker."""
    policy = POLICY | {"breaker": {"failures": failures, "open_for": open_for}} | changes.pop("policy", {})
    return run(seed, faults=[CUT], policy=policy, **changes)


def test_an_open_breaker_spares_retries_and_reconciliation_brings_the_rest() -> None:
    free, guarded = broken(failures=None), broken()
    assert free.counters["breaker_opened"] == free.counters["breaker_rejected"] == 0
    assert guarded.counters["breaker_opened"] > 0
    assert guarded.counters["breaker_rejected"] > 30
    assert guarded.counters["retries"] < free.counters["retries"] / 3
    for history in (free, guarded):
        assert {final.digest for final in history.finals} == {history.truth_digest}


def test_times_are_exact() -> None:
    one = {"arrivals": "constant(2/s)", "duration": "1600ms", "keys": 1}
    cut = [{"partition": {"at": "0s", "for": "1100ms", "groups": [["leader", "f1"], ["f2"]]}}]
    policy = POLICY | {"reconcile_every": "0s", "breaker": {"failures": 2, "open_for": "400ms"}}
    history = run(faults=cut, policy=policy, workload=one)
    # Written at 500, 1000 and 1500 ms. The first: attempts at 500 and 570 ms time out at 550 and 620 ms, which opens
    # the breaker. The second comes 380 ms later, too early; the third is the probe, and arrives after the heal.
    assert history.counters["breaker_opened"] == 1
    assert history.counters["breaker_rejected"] == 2
    assert history.counters["retries"] == 1
    assert (history.applies.replica != 2).all(), "the third arrives, but behind what was held back"
    assert history.counters["out_of_order"] == 1
    late = run(faults=cut, policy=policy | {"breaker": {"failures": 2, "open_for": "380ms"}}, workload=one)
    assert late.counters["breaker_opened"] == 2, "the second write is the probe now, and meets the cut"


def test_an_acknowledgement_closes_it_and_first_attempts_flow_again() -> None:
    history = broken()
    assert history.counters["breaker_rejected"] < 90, "it does not stay open after the heal"
    never = broken(open_for="60s")
    assert never.counters["breaker_opened"] == 1
    assert never.counters["breaker_rejected"] > history.counters["breaker_rejected"]


def test_without_loss_a_breaker_changes_nothing() -> None:
    quiet = [run(policy=POLICY | {"breaker": {"failures": failures}}) for failures in (None, 1, 5)]
    assert len({(history.trace_hash, history.event_count) for history in quiet}) == 1
    assert all(history.counters["breaker_rejected"] == 0 for history in quiet)


@pytest.mark.parametrize("failures", [1, 3, 20])
def test_both_executors_agree(failures: int) -> None:
    for seed in (1, 2, 3):
        faults = [CUT, {"drop": {"at": "0s", "for": "2s", "links": "all", "share": "20%"}}]
        policy = POLICY | {"breaker": {"failures": failures, "open_for": "150ms"}}
        scenario = prepare(Experiment.model_validate(BASE | {"faults": faults, "policy": policy}))
        interpreted, lifted = reference.run(scenario, seed), compiled.run(scenario, seed)
        assert interpreted.counters["breaker_opened"] > 0
        assert interpreted.digest() == lifted.digest()


def test_a_breaker_is_read_from_the_file_and_an_absent_one_changes_no_fingerprint() -> None:
    plain = Experiment.model_validate(BASE)
    assert plain.policy.breaker.failures is None
    assert "breaker" not in resolved(plain)["policy"]
    with_breaker = Experiment.model_validate(BASE | {"policy": BASE["policy"] | {"breaker": {"failures": 5}}})
    assert with_breaker.policy.breaker.open_for == 1_000_000_000
    assert resolved(with_breaker)["policy"]["breaker"] == {"failures": 5, "open_for": "1s"}
    assert fingerprint(plain) != fingerprint(with_breaker)
