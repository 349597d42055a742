"""Sections 3 and 6 of the contract, the leader: attempts, timeouts, backoff, budget."""

from __future__ import annotations

import itertools

import pytest

from lab.core.backoff import BACKOFFS, JITTERS, backoff_ns
from lab.core.draws import mix
from tests.conformance.benches import Workshop, payload
from tests.conformance.replicas import BASE_NS, MS, TIMEOUT_NS
from tests.conformance.test_acceptance import accepted, write
from tests.conformance.wires import StandIn, is_update

pytestmark = pytest.mark.replicas
# A loaded host wakes a process late, never early.
LATE_NS = 60 * MS


def gaps_ns(follower: StandIn) -> list[int]:
    """Return the times between the attempts that arrived."""
    times = [time_ns for time_ns, _ in follower.mailbox.timed(is_update)]
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def test_attempts_are_numbered_counted_and_end_at_the_limit(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, policy={"attempts": 3, "timeout_ns": 30 * MS, "base_ns": 5 * MS})
    write(bench.replica.client(), 1)
    state = bench.replica.counted("exhausted", 2)
    for follower in bench.followers:
        assert [update.attempt for update in follower.mailbox.all(is_update)] == [1, 2, 3]
    counters = state["counters"]
    assert (counters["retries"], counters["transmissions"], state["outstanding"]) == (4, 6, 0)
    frames = [4 + update.ByteSize() for follower in bench.followers for update in follower.mailbox.all(is_update)]
    assert counters["bytes"] == sum(frames)


def test_an_acknowledgement_ends_the_attempts(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, policy={"timeout_ns": 30 * MS, "base_ns": 5 * MS})
    write(bench.replica.client(), 1)
    bench.f1.mailbox.wait(is_update, 2)
    bench.f1.acknowledge(1)
    bench.replica.counted("exhausted", 1)
    assert bench.replica.until(lambda state: state["outstanding"] == 0)["counters"]["exhausted"] == 1
    assert len(bench.f2.mailbox.all(is_update)) == 4
    assert len(bench.f1.mailbox.all(is_update)) < 4


def test_an_acknowledgement_of_what_is_not_there_is_malformed(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, mode="async")
    bench.f1.acknowledge(1)
    bench.replica.counted("malformed", 1)
    write(bench.replica.client(), 1)
    assert len(bench.f1.mailbox.wait(is_update, 2)) == 2, "the early acknowledgement was not believed"


@pytest.mark.parametrize(
    ("backoff", "jitter"),
    [
        ("fixed", "none"),
        ("exponential", "none"),
        ("exponential", "full"),
        ("fixed", "equal"),
        ("fixed", "decorrelated"),
    ],
)
def test_waits_are_those_of_section_6(backoff: str, jitter: str, runtime: str, workshop: Workshop) -> None:
    policy = {"attempts": 4, "timeout_ns": 40 * MS, "base_ns": 50 * MS, "cap_ns": 150 * MS}
    bench = workshop.leader(runtime, seed=11, policy={**policy, "backoff": backoff, "jitter": jitter})
    write(bench.replica.client(), 1)
    for index, follower in enumerate(bench.followers, 1):
        follower.mailbox.wait(is_update, 4)
        wait_ns, expected = policy["base_ns"], []
        for attempt in (1, 2, 3):
            draw = mix(mix(mix(11, 1), index), attempt)
            kinds = (BACKOFFS[backoff], JITTERS[jitter])
            wait_ns = backoff_ns(*kinds, policy["base_ns"], policy["cap_ns"], attempt, wait_ns, draw)
            expected.append(policy["timeout_ns"] + wait_ns)
        for gap, wanted in zip(gaps_ns(follower), expected, strict=True):
            # Arrivals are a moment late themselves, so a gap may also be a little short.
            assert wanted - LATE_NS // 4 <= gap <= wanted + LATE_NS, (gaps_ns(follower), expected)


def test_retries_wait_at_least_timeout_and_backoff(runtime: str, workshop: Workshop) -> None:
    backs_off(workshop, runtime)


def backs_off(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """A leader whose followers say nothing waits between its attempts and ends them."""
    bench = workshop.leader(runtime, arguments=arguments, mode="async")
    write(bench.replica.client(), 1)
    bench.replica.counted("exhausted", 2, within_s=2)
    gaps = gaps_ns(bench.f1)
    assert len(gaps) == 3
    assert min(gaps) > TIMEOUT_NS + BASE_NS - LATE_NS // 4, gaps


def test_an_empty_budget_denies_retries(runtime: str, workshop: Workshop) -> None:
    stays_in_budget(workshop, runtime)


def stays_in_budget(workshop: Workshop, runtime: str, *arguments: str) -> None:
    """Ten retries are there at the start; each first transmission earns a tenth of one."""
    policy = {"budget_ppm": 100_000, "timeout_ns": 20 * MS, "base_ns": 5 * MS, "attempts": 50}
    bench = workshop.leader(runtime, arguments=arguments, mode="async", policy=policy)
    write(bench.replica.client(), 20)
    accepted(bench, 20)
    state = bench.replica.counted("budget_denied", 40, within_s=4)
    counters = state["counters"]
    assert (counters["retries"], counters["exhausted"], state["outstanding"]) == (10 + 4, 0, 0)
    assert counters["transmissions"] == 40 + counters["retries"]


def test_without_a_budget_nothing_is_denied(runtime: str, workshop: Workshop) -> None:
    policy = {"timeout_ns": 20 * MS, "base_ns": 5 * MS, "attempts": 3}
    bench = workshop.leader(runtime, mode="async", policy=policy)
    write(bench.replica.client(), 20)
    counters = bench.replica.counted("exhausted", 40)["counters"]
    assert (counters["budget_denied"], counters["retries"]) == (0, 80)


def test_a_repeated_write_does_not_start_a_second_series(runtime: str, workshop: Workshop) -> None:
    bench = workshop.leader(runtime, policy={"timeout_ns": 2000 * MS})
    client = bench.replica.client()
    for _ in range(3):
        client.write("t1", payload(1))
    bench.replica.counted("duplicate_requests", 2)
    state = bench.replica.until(lambda state: state["outstanding"] == 2)
    assert state["counters"]["transmissions"] == 2
