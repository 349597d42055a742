"""Remote calls: every policy does what it says, moves the right way, and is the same in both executors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lab.core import budgets, quantiles, rpc_state
from lab.core.backoff import BACKOFFS, JITTERS
from lab.core.draws import chain
from lab.engines import compiled, reference
from lab.engines.identity import Dice
from lab.engines.scenario import Scenario
from lab.history import ACKNOWLEDGED, REJECTED, UNKNOWN, History
from lab.model.effects import Keep, Outage
from lab.protocols.rpc import FINISH, HALF_OPEN, REQUEST, TIMEOUT, Rpc
from lab.protocols.rpc_parameters import ADAPTS, BALANCES, DEFAULTS, OVERFLOWS, PARAMETERS, problems
from lab.protocols.rpc_settings import Settings
from tests.protocols.worlds import LAWS, difference
from validation.world import MS, SECOND, Leg, workload, world

PLAIN = DEFAULTS | {"attempts": 1, "deadline_ns": 0, "timeout_ns": 100 * SECOND, "service_law": 0, "balance": 0}
FAST = {"base_ns": 1, "cap_ns": 1, "jitter": 0, "backoff": 0}  # retries at once


def scenario(
    changes: dict[str, int], *, rate: str = "poisson(100/s)", duration: str = "10s", servers: int = 1, keys: int = 1000,
    horizon_s: int = 60, **more: Any,
) -> Scenario:  # fmt: skip
    spikes = {"spikes": more.pop("spikes")} if "spikes" in more else {}
    params = PLAIN | changes
    assert problems(params, servers, keys) == []
    return world(
        Rpc, params, nodes=servers, horizon_ns=horizon_s * SECOND,
        workload=workload(rate, duration, keys=keys, **spikes), **more,
    )  # fmt: skip


def run(changes: dict[str, int], seed: int = 1, **more: Any) -> History:
    return compiled.run(scenario(changes, **more), seed)


def latencies_ms(history: History) -> np.ndarray[Any, Any]:
    operations = history.operations
    done = operations.outcome == ACKNOWLEDGED
    return np.asarray((operations.acknowledged_ns - operations.intended_ns)[done] / MS)


# Both executors


def random_world(number: int) -> tuple[Scenario, int]:
    """Return a world in which every policy takes part by chance, and its seed."""
    dice = Dice(7000 + number)
    is_hedging = dice.chance(40)
    servers = 1 + dice.below(5)
    params = DEFAULTS | {
        "clients": 1 + dice.below(4), "balance": dice.below(len(BALANCES)), "elsewhere": dice.below(2),
        "workers": 1 + dice.below(3), "queue_limit": dice.choice((0, 1, 5, 60)), "overflow": dice.below(2),
        "service_law": dice.below(3), "error_ppm": dice.choice((0, 100_000)), "propagate": dice.below(2),
        "slow_from_ns": 300 * MS, "slow_for_ns": dice.choice((0, 400 * MS)), "slow_servers": 1 + dice.below(4),
        "timeout_ns": dice.choice((20 * MS, 60 * MS)), "adaptive": dice.below(len(ADAPTS)),
        "timeout_min_ns": 5 * MS, "timeout_max_ns": 400 * MS, "deadline_ns": dice.choice((0, 90 * MS, SECOND)),
        "attempts": 1 + dice.below(5 if is_hedging else 9), "backoff": dice.below(2), "jitter": dice.below(4),
        "base_ns": 5 * MS, "cap_ns": 40 * MS, "budget": dice.below(len(budgets.BUDGETS)),
        "budget_ppm": dice.choice((0, 100_000, 1_500_000)), "budget_ttl_ns": SECOND, "budget_min": dice.below(3),
        "hedge_ns": 15 * MS * is_hedging, "hedge_quantile_ppm": 900_000 * (is_hedging and dice.chance(50)),
        "cancel": dice.below(2), "breaker_failures": dice.choice((0, 2, 6)), "breaker_open_ns": 70 * MS,
    }  # fmt: skip
    outages = []
    for _ in range(dice.below(3)):
        start = dice.below(1000)
        keep = dice.choice((None, Keep.DURABLE, Keep.NOTHING))
        outages.append(Outage(f"n{dice.below(servers)}", start * MS, (start + 1 + dice.below(500)) * MS, keep))
    legs = [Leg(dice.choice(LAWS), dice.choice((0, 20_000, 200_000)), dice.choice((0, 100_000))) for _ in range(3)]
    made = world(
        Rpc, params, nodes=servers, horizon_ns=2 * SECOND, outages=outages,
        workload=workload(f"poisson({dice.choice((50, 150, 400))}/s)", "1s", keys=60),
        leg=lambda source, target: legs[(7 * source + target) % 3],
    )  # fmt: skip
    assert problems(params, servers, 60) == []
    return made, dice.below(1 << 30)


def test_both_executors_agree_and_every_counter_is_reached() -> None:
    totals = dict.fromkeys(Rpc.counters, 0)
    for number in range(90):
        made, seed = random_world(number)
        assert difference(made, seed) == "", number
        for name, count in compiled.run(made, seed).counters.items():
            totals[name] += count
    assert all(totals.values()), {name for name, count in totals.items() if not count}


def test_nothing_is_left_under_way() -> None:
    """Books balance at the end: no attempt in flight, no outstanding, every operation ended once."""
    for number in range(60):
        made, seed = random_world(number)
        made = replace(made, horizon_ns=60 * SECOND)
        states: dict[str, list[list[int] | None]] = {}
        history = compiled.run(made, seed, states=states)
        client = len(made.names) - 1
        for field in ("flight", "outstanding", "active", "extras"):
            assert not np.any(states[field][client]), (number, field)
        assert HALF_OPEN not in np.asarray(states["breaker"][client]), "a probe always ends"
        counters, outcome = history.counters, history.operations.outcome
        assert counters["answered"] + counters["failed"] == len(history.operations)
        assert counters["answered"] == int(np.sum(outcome == ACKNOWLEDGED))
        assert counters["attempts"] == int(history.operations.attempts.sum())
        started = int(np.sum(history.operations.attempts > 0))
        assert counters["attempts"] == started + counters["retries"] + counters["hedges"]


def test_seeds_matter_and_repeat() -> None:
    made = scenario({"service_law": 1, "attempts": 3, "timeout_ns": 30 * MS, "deadline_ns": SECOND})
    first, again, other = (compiled.run(made, seed).digest() for seed in (1, 1, 2))
    assert first == again == reference.run(made, 1).digest()
    assert first != other


# Servers


def test_times_in_a_queue_are_exact() -> None:
    """Ten requests a second of 250 ms each, one worker, two places: every fate is known."""
    history = run({"service_ns": 250 * MS, "queue_limit": 2}, rate="constant(10/s)", duration="801ms")
    # Arrivals at 100 .. 800 ms; services end at 350, 600, 850, 1100, 1350 ms. Those of 500, 700 and 800 ms
    # find two others waiting.
    assert latencies_ms(history).tolist() == [250, 400, 550, 700, 750]
    assert history.operations.outcome.tolist() == [1, 1, 1, 1, REJECTED, 1, REJECTED, REJECTED]
    two = run({"service_ns": 250 * MS, "queue_limit": 2, "workers": 3}, rate="constant(10/s)", duration="801ms")
    assert latencies_ms(two).tolist() == [250] * 8


def test_a_full_queue_refuses_or_drops() -> None:
    changes = {"service_ns": 30 * MS, "queue_limit": 3, "timeout_ns": 500 * MS}
    refused, dropped = (run(changes | {"overflow": OVERFLOWS[rule]}) for rule in ("reject", "drop"))
    assert refused.counters["queue_overflow"] == refused.counters["refusals"] > 100
    assert set(refused.operations.outcome.tolist()) == {ACKNOWLEDGED, REJECTED}
    assert dropped.counters["queue_overflow"] == dropped.counters["timeouts"] > 100
    assert set(dropped.operations.outcome.tolist()) == {ACKNOWLEDGED, UNKNOWN}


def test_propagated_deadlines_spare_work_that_nobody_waits_for() -> None:
    overload = {"service_ns": 12 * MS, "queue_limit": 1000, "timeout_ns": 200 * MS, "cancel": 0}
    without, with_it = (run(overload | {"propagate": flag}) for flag in (0, 1))
    assert without.counters["deadline_dropped"] == 0
    assert without.counters["wasted"] > 300
    assert with_it.counters["deadline_dropped"] > 100
    assert with_it.counters["answered"] > 3 * without.counters["answered"]


def test_a_cancelled_request_leaves_the_queue_and_the_rest_keep_their_order() -> None:
    changes = {"service_ns": 300 * MS, "queue_limit": 9, "timeout_ns": 550 * MS}
    made = scenario(changes | {"cancel": 1}, rate="constant(10/s)", duration="801ms")
    trace: list[reference.TraceRow] = []
    history = reference.run(made, 1, trace=trace)
    finished = [row for row in trace if row.what == reference.TIMER and row.kind == FINISH]
    # Sent at 100 .. 800 ms, given up 550 ms later: the 4th at 950 ms, the 6th and 7th at 1150 and 1250 ms, all waiting.
    assert [row.time_ns // MS for row in finished] == [400, 700, 1000, 1300, 1600]
    assert [row.words[0] >> 6 for row in finished] == [0, 1, 2, 4, 7]
    assert (history.counters["answered"], history.counters["cancelled"], history.counters["wasted"]) == (2, 3, 3)
    assert run(changes | {"cancel": 0}, rate="constant(10/s)", duration="801ms").counters["served"] == 8


def test_slow_servers_are_slow_only_then_and_there() -> None:
    changes = {"service_ns": 2 * MS, "slow_from_ns": 2 * SECOND, "slow_for_ns": 3 * SECOND, "slow_permille": 3000}
    history = run(changes, rate="constant(10/s)")
    intended = history.operations.intended_ns
    expected = np.where((intended >= 2 * SECOND) & (intended < 5 * SECOND), 6, 2)
    assert latencies_ms(history).tolist() == expected.tolist()
    half = run(changes | {"slow_servers": 1, "balance": BALANCES["round_robin"]}, rate="constant(10/s)", servers=2)
    assert sorted(set(latencies_ms(half).tolist())) == [2, 6]
    assert 14 <= int(np.sum(latencies_ms(half) == 6)) <= 16


# Balancers


def test_balancers_rank_as_known() -> None:
    waits = {
        name: latencies_ms(
            run({"service_law": 1, "balance": number, "queue_limit": 1000}, servers=10, rate="poisson(850/s)")
        ).mean()
        for name, number in BALANCES.items()
    }
    assert waits["random"] > 1.2 * waits["round_robin"] > 1.2 * waits["two_choices"] > waits["least"], waits


def test_round_robin_takes_turns_and_another_server_is_tried() -> None:
    changes = {"balance": BALANCES["round_robin"], "error_ppm": 1_000_000, "attempts": 2} | FAST
    history = run(changes, servers=4, rate="constant(10/s)")
    sent = {link.target: link.sent for link in history.links if link.kind == "request"}
    assert sum(sent.values()) == 2 * len(history.operations)
    assert max(sent.values()) - min(sent.values()) <= 1
    down = {"attempts": 2, "timeout_ns": 50 * MS, "service_ns": MS} | FAST
    outages = [Outage("n0", 0, 60 * SECOND, Keep.DURABLE)]
    moved, stayed = (run(down | {"elsewhere": flag}, servers=2, outages=outages) for flag in (1, 0))
    assert moved.counters["failed"] == 0
    assert stayed.counters["failed"] > len(stayed.operations) / 6


# Retries, budgets, deadlines


def test_an_operation_ends_by_its_deadline() -> None:
    changes = {"attempts": 50, "timeout_ns": 30 * MS, "deadline_ns": 200 * MS, "base_ns": 7 * MS, "cap_ns": 7 * MS}
    outages = [Outage("n0", 0, 60 * SECOND, Keep.DURABLE)]
    made = scenario(changes | {"jitter": 0}, rate="constant(1/s)", duration="5500ms", outages=outages)
    trace: list[reference.TraceRow] = []
    history = reference.run(made, 1, trace=trace)
    assert history.counters["failed"] == history.counters["expired"] == len(history.operations) == 5
    # Attempts at 0, 37, 74, 111, 148 and 185 ms; the last is cut at 200 ms.
    assert history.operations.attempts.tolist() == [6] * 5
    ends = [row.time_ns for row in trace if row.what == reference.TIMER and row.kind == TIMEOUT]
    assert ends[5] == 1200 * MS


@pytest.mark.parametrize("name", ["grpc", "finagle", "envoy", "bucket"])
def test_every_budget_limits_retries_when_everything_fails(name: str) -> None:
    changes = {"error_ppm": 1_000_000, "attempts": 4, "workers": 1000, "budget_min": 0, "budget_ppm": 100_000} | FAST
    free = run(changes)
    limited = run(changes | {"budget": budgets.BUDGETS[name]})
    assert free.counters["retries"] == 3 * len(free.operations)
    assert free.counters["budget_denied"] == 0
    assert limited.counters["retries"] < 0.15 * len(limited.operations)
    assert limited.counters["budget_denied"] > 0.8 * len(limited.operations)
    spared = run(changes | {"budget": budgets.BUDGETS[name], "error_ppm": 10_000, "budget_min": 1})
    assert spared.counters["budget_denied"] == 0, "rare failures are all retried"


def test_budgets_are_kept_by_client_process() -> None:
    changes = {"error_ppm": 1_000_000, "attempts": 4, "budget": budgets.GRPC, "budget_ppm": 0, "service_ns": 0} | FAST
    one, ten = (run(changes | {"clients": clients}).counters["retries"] for clients in (1, 10))
    assert (one, ten) == (3, 30), "of 10 tokens an operation's four failures leave 6; the next leaves 5, not over half"


def collapse(budget: str, **more: int) -> History:
    """A second of ten-fold service time at 60 % load, three attempts of 200 ms."""
    changes = {
        "service_ns": 10 * MS, "service_law": 1, "queue_limit": 1000, "timeout_ns": 200 * MS, "attempts": 3,
        "slow_from_ns": 10 * SECOND, "slow_for_ns": 2 * SECOND, "cancel": 0, "budget": budgets.BUDGETS[budget],
        "budget_ppm": 100_000,
    }  # fmt: skip
    return run(changes | FAST | more, rate="poisson(60/s)", duration="60s", horizon_s=100)


def goodput(history: History, start_s: int, stop_s: int) -> float:
    """Return answers per operation intended in an interval."""
    intended = history.operations.intended_ns
    there = (intended >= start_s * SECOND) & (intended < stop_s * SECOND)
    return float(np.mean(history.operations.outcome[there] == ACKNOWLEDGED))


def test_retries_keep_a_collapse_alive_and_budgets_end_it() -> None:
    free = collapse("none")
    assert goodput(free, 2, 10) > 0.99
    assert goodput(free, 40, 60) < 0.05, "the trigger has been gone for 28 seconds"
    assert free.counters["attempts"] > 2 * len(free.operations)
    for budget in ("grpc", "finagle", "bucket"):
        assert goodput(collapse(budget), 40, 60) > 0.99, budget
    assert goodput(collapse("none", attempts=1), 40, 60) > 0.99
    assert goodput(collapse("none", slow_for_ns=0), 40, 60) > 0.99, "without a trigger nothing collapses"
    assert goodput(collapse("none", propagate=1), 40, 60) > goodput(free, 40, 60) + 0.3
    assert goodput(collapse("none", breaker_failures=5), 40, 60) > 0.9


# Hedges


def test_hedges_cut_the_tail_at_a_stated_cost() -> None:
    changes = {"service_law": 1, "workers": 1000, "attempts": 2}
    plain, hedged = (run(changes | {"hedge_ns": delay}, servers=3, rate="poisson(500/s)") for delay in (0, 30 * MS))
    assert plain.counters["hedges"] == 0
    cost = hedged.counters["hedges"] / len(hedged.operations)
    assert 0.03 < cost < 0.07, "e^-3"
    assert np.quantile(latencies_ms(hedged), 0.99) < 0.9 * np.quantile(latencies_ms(plain), 0.99)
    assert hedged.counters["attempts"] == len(hedged.operations) + hedged.counters["hedges"]
    assert hedged.counters["wasted"] == hedged.counters["hedges"]
    learnt = run(
        changes | {"hedge_ns": 200 * MS, "hedge_quantile_ppm": 950_000}, servers=3, rate="poisson(500/s)"
    ).counters["hedges"]
    assert 0.03 < learnt / len(plain.operations) < 0.07, "the delay finds the 95th percentile by itself"


def test_a_budget_limits_hedges_and_answers_cancel_the_rest() -> None:
    changes = {"service_law": 1, "attempts": 3, "hedge_ns": 5 * MS, "queue_limit": 500}
    free = run(changes, servers=2, rate="poisson(120/s)")
    held = run(changes | {"budget": budgets.BUCKET, "budget_ppm": 50_000}, servers=2, rate="poisson(120/s)")
    assert free.counters["hedges"] > 10 * held.counters["hedges"] > 0
    assert held.counters["budget_denied"] > 0
    assert free.counters["cancels"] > free.counters["cancelled"] > 50
    kept = run(changes | {"cancel": 0}, servers=2, rate="poisson(120/s)")
    assert kept.counters["cancelled"] == 0
    assert kept.counters["served"] > free.counters["served"] == free.counters["attempts"] - free.counters["cancelled"]


def test_a_hedge_wait_is_learnt_once_from_each_operation() -> None:
    """Also where the budget forbids the hedge itself: half of the operations outlast the median."""
    changes = {"service_law": 1, "workers": 1000, "attempts": 2, "hedge_ns": 7 * MS, "hedge_quantile_ppm": 500_000}
    history = run(changes | {"budget": budgets.BUCKET, "budget_ppm": 0, "budget_tokens": 0}, rate="poisson(500/s)")
    assert history.counters["hedges"] == 0
    assert 0.45 < history.counters["budget_denied"] / len(history.operations) < 0.55


def test_a_hedge_sent_early_puts_off_the_next() -> None:
    """A refused attempt is followed at once, and the wait begins again with the one that follows."""
    changes = {
        "service_ns": 100 * MS, "queue_limit": 0, "attempts": 4, "hedge_ns": 30 * MS,
        "balance": BALANCES["round_robin"], "elsewhere": 0,
    }  # fmt: skip
    leg = Leg(quantiles.constant(10 * MS))
    made = scenario(
        changes, rate="constant(20/s)", duration="101ms", servers=3, leg=lambda source, target: leg
    )  # fmt: skip
    trace: list[reference.TraceRow] = []
    reference.run(made, 1, trace=trace)
    messages = [row for row in trace if row.what == reference.MESSAGE and row.kind == REQUEST]
    requests = [row.time_ns // MS for row in messages if row.words[0] >> 6 == 1]
    # The second operation is sent at 100 ms and hedged at 130; that is refused at 150 and followed at once, so that the
    # next is due at 180, not at 160.
    assert requests == [110, 140, 160, 190]


# Breakers


def test_a_breaker_opens_probes_and_closes() -> None:
    changes = {"timeout_ns": 50 * MS, "breaker_failures": 3, "breaker_open_ns": 400 * MS}
    outages = [Outage("n0", 1_050 * MS, 2_050 * MS, Keep.DURABLE)]
    history = run(changes, rate="constant(10/s)", duration="4s", outages=outages)
    # Sent at 1.1, 1.2, 1.3 s, the third timeout is at 1.35 s. Probes at 1.8 s, which fails at 1.85 s, and at 2.3 s.
    assert history.counters["timeouts"] == 4
    assert history.counters["breaker_opened"] == 2
    assert history.counters["breaker_closed"] == 1
    assert history.counters["breaker_rejected"] == 4 + 4
    attempts = history.operations.attempts.tolist()
    assert attempts == [1] * 13 + [0] * 4 + [1] + [0] * 4 + [1] * 17
    assert (history.operations.outcome[13:17] == REJECTED).all()
    never = run(changes | {"breaker_failures": 0}, rate="constant(10/s)", duration="4s", outages=outages)
    assert never.counters["breaker_opened"] == never.counters["breaker_rejected"] == 0
    assert never.counters["timeouts"] == 10


# Estimators


def test_adaptive_timeouts_find_the_latency() -> None:
    leg = Leg(quantiles.normal(20 * MS, 2 * MS))
    for name, low_ms, high_ms in (("rfc6298", 45, 70), ("quantile", 43, 60)):
        made = scenario(
            {"adaptive": ADAPTS[name], "timeout_ns": 100 * MS, "service_ns": 0, "attempts": 3},
            duration="60s",
            leg=lambda source, target: leg,
        )
        states: dict[str, list[list[int] | None]] = {}
        history = compiled.run(made, 1, states=states)
        found = states["timeout_now"][1]
        assert found is not None
        assert low_ms * MS < found[0] < high_ms * MS, (name, found[0])
        assert history.counters["timeouts"] < 0.03 * len(history.operations)


def test_rfc_6298_by_hand() -> None:
    smoothed = variation = 0
    found = []
    for sample in (100, 100, 100, 200, 100, 100):
        variation = rpc_state.variation_ns(smoothed, variation, sample * MS)
        smoothed = rpc_state.smoothed_ns(smoothed, sample * MS)
        found.append(rpc_state.retransmit_ns(smoothed, variation, 0, SECOND) / MS)
    assert found == pytest.approx([300, 250, 212.5, 296.875, 261.71875, 233.59375], abs=1e-5)
    assert rpc_state.retransmit_ns(smoothed, variation, SECOND, 60 * SECOND) == SECOND


def test_laws_have_their_quantiles() -> None:
    draws = [chain(3, number) for number in range(20_000)]
    times = np.array([rpc_state.exponential_ns(10 * MS, draw) for draw in draws])
    expected = -10 * MS * np.log(np.array(draws) / 2**63)
    assert np.max(np.abs(times - expected)) < 5
    assert rpc_state.exponential_ns(1 << 33, 0) < 1 << 39
    times = np.array([rpc_state.lognormal_ns(10 * MS, 500_000, draw) for draw in draws]) / (10 * MS)
    assert np.log(times).mean() == pytest.approx(0, abs=0.012)
    assert np.log(times).std() == pytest.approx(0.5, rel=0.02)
    assert rpc_state.lognormal_ns(7 * MS, 0, draws[0]) == 7 * MS
    assert [rpc_state.pick(draw, 2, 0) for draw in draws[:50]] == [1] * 50
    assert {rpc_state.pick(draw, 4, 2) for draw in draws[:200]} == {0, 1, 3}


# Parameters


def test_parameters_have_defaults_in_range_and_contradictions_are_told() -> None:
    assert problems(DEFAULTS, 3, 1000) == []
    assert set(BACKOFFS.values()) | set(JITTERS.values()) == {0, 1, 2, 3}
    for name, parameter in PARAMETERS.items():
        assert parameter.meaning and parameter.unit, name
        told = problems(DEFAULTS | {name: parameter.most + 1}, 3, 1 << 40)
        assert name in [found for found, _ in told], name
    for changes, keys, name in (
        ({"queue_limit": 20}, 10, "queue_limit"), ({"clients": 20, "queue_limit": 1}, 10, "clients"),
        ({"budget": budgets.FINAGLE, "clients": 2, "queue_limit": 1}, 19, "clients"),
        ({"hedge_ns": 1, "attempts": 6}, 1000, "attempts"), ({"hedge_quantile_ppm": 1}, 1000, "hedge_quantile_ppm"),
        ({"timeout_min_ns": 2 * SECOND, "timeout_max_ns": SECOND}, 1000, "timeout_min_ns"),
        ({"base_ns": SECOND, "cap_ns": 1}, 1000, "cap_ns"),
    ):  # fmt: skip
        assert [found for found, _ in problems(DEFAULTS | changes, 3, keys)] == [name]
    assert [found for found, _ in problems(DEFAULTS, 5000, 1000)] == ["servers"]


def in_a_file(section: dict[str, Any]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return the parameters and problems of a section of an experiment file with three servers and 1000 keys."""
    experiment = SimpleNamespace(
        workload=SimpleNamespace(keys=1000, client=SimpleNamespace(deadline=2 * SECOND)),
        system=SimpleNamespace(names=("n0", "n1", "n2")),
    )
    settings = Settings.model_validate(section)
    return settings.parameters(experiment), settings.problems(experiment)


def test_an_experiment_file_sets_every_parameter() -> None:
    assert in_a_file({}) == (DEFAULTS, [])
    changed, told = in_a_file(
        {
            "clients": 3, "balance": "least", "elsewhere": "off", "cancel": "off",
            "server": {
                "workers": 2, "queue": 7, "overflow": "drop", "law": "lognormal", "service": "3ms", "sigma": "40%",
                "errors": "1%", "propagate": "on",
                "slow": {"at": "1s", "for": "2s", "permille": 5000, "servers": 1},
            },
            "timeout": {"initial": "90ms", "adaptive": "quantile", "least": "2ms", "most": "3s", "quantile": "95%"},
            "retry": {"attempts": 5, "backoff": "fixed", "jitter": "equal", "base": "1ms", "cap": "9ms"},
            "budget": {"kind": "finagle", "share": "10%", "tokens": 5, "window": "20s", "least": 1},
            "hedge": {"after": "10ms", "quantile": "90%"}, "breaker": {"failures": 4, "open_for": "5s"},
        }
    )  # fmt: skip
    assert told == []
    assert {name for name in DEFAULTS if changed[name] == DEFAULTS[name]} == {"deadline_ns"}
    assert changed["budget_tokens"] == 5000
    assert in_a_file({"server": {"queue": 1001}})[1][0][0] == "server.queue"
    assert in_a_file({"retry": {"attempts": 6}, "hedge": {"after": "1ms"}})[1][0][0] == "retry.attempts"


def test_the_page_in_docs_tells_every_parameter_and_counter() -> None:
    text = (Path(__file__).parents[2] / "docs" / "rpc.md").read_text()
    missing = [name for name in (*PARAMETERS, *Rpc.counters) if f"`{name}`" not in text]
    assert not missing
