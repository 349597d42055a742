"""Failure detectors: both executors agree, crashes are found in time, living nodes are not suspected without cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.stats import norm

from lab.core import quantiles
from lab.engines import compiled, reference
from lab.engines.compiled.lift import lift
from lab.engines.context import MESSAGE, TIMER, TraceRow
from lab.engines.identity import Dice
from lab.engines.scenario import Scenario
from lab.model.effects import Keep, Outage
from lab.protocols import form, heartbeat, phi_accrual, swim
from lab.protocols.form import Context, Vector, volatile
from lab.protocols.heartbeat import Heartbeat
from lab.protocols.phi_accrual import PhiAccrual
from lab.protocols.swim import Swim
from tests.protocols import worlds
from tests.protocols.worlds import difference
from validation.world import MS, SECOND, Leg, Table, between, world

NODES = 6
CRASH_NS = 5 * SECOND
PERIOD = 100 * MS


def heartbeats(timeout_ms: int) -> dict[str, int]:
    return {"period_ns": PERIOD, "timeout_ns": timeout_ms * MS}


def accrual(phi: float, window: int = 100) -> dict[str, int]:
    return {
        "period_ns": PERIOD, "threshold_milliphi": round(1000 * phi), "window": window,
        "interval_max_ns": 2 * SECOND, "deviation_min_ns": MS, "pause_ns": 0,
    }  # fmt: skip


def members(suspicion_ms: int = 600, rumours: int = 3, helpers: int = 3, order: int = 0) -> dict[str, int]:
    return {
        "period_ns": 2 * PERIOD, "direct_ns": 60 * MS, "helpers": helpers, "suspicion_ns": suspicion_ms * MS,
        "rumours": rumours, "spread": 3, "order": order,
    }  # fmt: skip


DETECTORS: list[tuple[Any, dict[str, int]]] = [
    (Heartbeat, heartbeats(300)), (PhiAccrual, accrual(8)), (Swim, members()),
]  # fmt: skip


def cluster(
    protocol: Any,
    params: dict[str, int],
    *,
    outages: tuple[Outage, ...] = (),
    loss_ppm: int = 0,
    delay: Table | None = None,
    seconds: int = 20,
    nodes: int = NODES,
) -> Scenario:
    leg = Leg(delay or quantiles.constant(10 * MS), loss_ppm)
    return world(protocol, params, nodes=nodes, horizon_ns=seconds * SECOND, leg=between(nodes, leg), outages=outages)


def facts(scenario: Scenario, seed: int) -> list[tuple[int, int, int, bool]]:
    """Return rows (time, observer, member, whether it is suspected)."""
    marks = compiled.run(scenario, seed).marks
    rows = marks.rows("suspected", "trusted")
    suspected = marks.what[rows] == marks.names.index("suspected")
    columns = (marks.time_ns[rows], marks.replica[rows], marks.a[rows], suspected)
    return list(zip(*(column.tolist() for column in columns), strict=True))


# Both executors


def _parameters(dice: Dice, protocol: Any) -> dict[str, int]:
    if protocol is Heartbeat:
        return {"period_ns": 20 * MS, "timeout_ns": (15 + dice.below(80)) * MS}
    if protocol is PhiAccrual:
        return {
            "period_ns": 20 * MS, "threshold_milliphi": 300 + dice.below(9000), "window": 2 + dice.below(20),
            "interval_max_ns": dice.choice((40, 500)) * MS, "deviation_min_ns": dice.below(3) * MS,
            "pause_ns": dice.below(2) * 10 * MS,
        }  # fmt: skip
    return {
        "period_ns": 30 * MS, "direct_ns": 10 * MS, "helpers": dice.below(4), "suspicion_ns": dice.choice((0, 50)) * MS,
        "rumours": dice.below(4), "spread": dice.below(4), "order": dice.below(2),
    }  # fmt: skip


def case(protocol: Any, number: int) -> tuple[Scenario, int]:
    """Return a random scenario of a protocol and its seed, a pure function of the number."""
    dice = Dice(number)
    nodes = 1 + dice.below(7)
    scenario = world(
        protocol, _parameters(dice, protocol), nodes=nodes, horizon_ns=SECOND,
        outages=worlds._outages(dice, nodes, 1000), **worlds._links(dice),
    )  # fmt: skip
    if dice.chance(20):
        scenario = replace(scenario, service_ns=MS, inbox_limit=8)
    return scenario, dice.below(1 << 30)


@pytest.mark.parametrize("protocol", [Heartbeat, PhiAccrual, Swim])
def test_both_executors_agree(protocol: Any) -> None:
    for number in range(25):
        assert difference(*case(protocol, number)) == "", number
    totals = dict.fromkeys(("lost", "duplicated", "down"), 0)
    for number in range(25):
        for link in compiled.run(*case(protocol, number)).links:
            for what in totals:
                totals[what] += getattr(link, what)
    assert all(totals.values()), totals  # else agreement would prove little


def test_windows_of_different_lengths_run_side_by_side() -> None:
    """The vector of samples has the length that the parameters of a run say, also where they change between runs."""
    scenarios = [cluster(PhiAccrual, accrual(2, window), loss_ppm=100_000, seconds=4) for window in (3, 40)]
    runs = compiled.run_many(scenarios[0], [7], policies=[scenario.params for scenario in scenarios], threads=1)
    hashes = [f"{value & 0xFFFFFFFFFFFFFFFF:016x}" for value in runs.trace_hash.tolist()]
    assert hashes == [reference.run(scenario, 7).trace_hash for scenario in scenarios]


# All of them


@pytest.mark.parametrize(("protocol", "params"), DETECTORS, ids=["heartbeat", "phi", "swim"])
def test_nobody_is_suspected_without_faults(protocol: Any, params: dict[str, int]) -> None:
    for seed in range(10):
        history = compiled.run(cluster(protocol, params, delay=quantiles.uniform(5 * MS, 15 * MS)), seed)
        assert history.counters["suspicions"] == 0
        assert len(history.marks) == 0


@pytest.mark.parametrize(("protocol", "params"), DETECTORS, ids=["heartbeat", "phi", "swim"])
@pytest.mark.parametrize("back", [False, True])
def test_everyone_finds_a_crash_and_a_return(protocol: Any, params: dict[str, int], back: bool) -> None:
    stop_ns = 10 * SECOND if back else 30 * SECOND
    outage = Outage("n2", CRASH_NS, stop_ns, Keep.DURABLE)
    for seed in range(10):
        found = facts(cluster(protocol, params, outages=(outage,)), seed)
        told = {observer: is_suspected for _, observer, member, is_suspected in found if member == 2}
        assert told == dict.fromkeys((0, 1, 3, 4, 5), not back)
        about_others = [row for row in found if row[2] != 2]
        assert not about_others
        first = [time for time, _, _, is_suspected in found if is_suspected]
        assert min(first) > CRASH_NS
        assert len(first) == NODES - 1


@pytest.mark.parametrize(("protocol", "params"), DETECTORS, ids=["heartbeat", "phi", "swim"])
def test_suspicions_and_returns_are_what_the_fields_say(protocol: Any, params: dict[str, int]) -> None:
    scenario = cluster(protocol, params, outages=(Outage("n2", CRASH_NS, 30 * SECOND, Keep.DURABLE),), loss_ppm=250_000)
    states: dict[str, list[list[int] | None]] = {}
    compiled.run(scenario, 3, states=states)
    last = {(observer, member): suspected for _, observer, member, suspected in facts(scenario, 3)}
    held = states["known" if protocol is Swim else "suspected"]
    for observer in (0, 1, 3, 4, 5):
        row = held[observer]
        assert row is not None
        for member in range(NODES):
            is_held = row[member] % 4 != swim.ALIVE if protocol is Swim else bool(row[member])
            assert is_held == last.get((observer, member), False)


# Fixed timeout


def test_a_heartbeat_detector_finds_a_crash_between_its_bounds() -> None:
    scenario = cluster(Heartbeat, heartbeats(300), outages=(Outage("n2", CRASH_NS, 30 * SECOND, Keep.DURABLE),))
    after = [time - CRASH_NS for seed in range(50) for time, *_ in facts(scenario, seed)]
    assert min(after) > (10 + 300 - 100) * MS
    assert max(after) <= (10 + 300) * MS
    assert max(after) - min(after) > 80 * MS  # the phase of the beats decides


def test_a_short_timeout_suspects_the_living() -> None:
    """The control of the bounds: a timeout below the period is always wrong, one of two lost beats sometimes."""
    always = compiled.run(cluster(Heartbeat, heartbeats(90)), 1).counters
    assert always["suspicions"] > 0.9 * always["beats"]
    sometimes = compiled.run(cluster(Heartbeat, heartbeats(250), loss_ppm=200_000), 1).counters
    assert 0 < sometimes["suspicions"] < 0.1 * sometimes["beats"]
    assert sometimes["returns"] > 0.9 * sometimes["suspicions"]
    assert sometimes["suspected_ns"] > sometimes["returns"] * 50 * MS


# phi-accrual


def test_the_integer_tail_is_within_its_bound() -> None:
    detector = PhiAccrual()
    z = np.linspace(0, 37, 2001)
    found = np.array([detector.tail_of(round(1e6 * value)) for value in z]) / 1e6
    truth = -norm.logsf(z) / np.log(10)
    assert np.abs(found - truth).max() < 0.0013
    assert (np.diff(found) > 0).all()
    values = [10**6, 2 * 10**6 - 1, 2 * 10**6, 123_456_789, 2**45]
    assert np.abs([detector.log10_of(v) / 1e6 - np.log10(v / 1e6) for v in values]).max() < 1e-5
    assert [detector.root(value) for value in (0, 1, 3, 4, 2**62 - 1, 10**18)] == [0, 1, 1, 2, 2**31 - 1, 10**9]


def test_the_quantile_inverts_the_tail() -> None:
    detector = PhiAccrual()
    for phi_ppm in (400_000, 1_000_000, 3_000_000, 8_000_000, 16_000_000):
        z = detector.quantile_of(phi_ppm)
        assert detector.tail_of(z - 1) < phi_ppm <= detector.tail_of(z)
        assert z / 1e6 == pytest.approx(norm.isf(10 ** (-phi_ppm / 1e6)), abs=0.003)


def test_the_timeout_is_that_of_the_last_intervals() -> None:
    """Every timer follows from the arrivals before it, computed here in floating point."""
    scenario = cluster(PhiAccrual, accrual(3, window=20), delay=quantiles.exponential(30 * MS), nodes=2, seconds=30)
    trace: list[TraceRow] = []
    reference.run(scenario, 2, trace=trace)
    arrivals = [row.time_ns for row in trace if row.what == MESSAGE and row.node == 0]
    expiries = {row.words[1]: row.time_ns for row in trace if row.what == TIMER and row.node == 0 and row.kind == 2}
    compared = 0
    for heard in range(30, len(arrivals)):
        intervals = np.diff(arrivals[heard - 21 : heard]) / 1e9
        expected = intervals.mean() + norm.isf(1e-3) * intervals.std(ddof=1)
        if heard in expiries:
            assert (expiries[heard] - arrivals[heard - 1]) / 1e9 == pytest.approx(expected, abs=2e-4)
            compared += 1
    assert compared > 200


def test_phi_adapts_to_the_link_where_a_fixed_timeout_does_not() -> None:
    calm, rough = quantiles.constant(10 * MS), quantiles.normal(150 * MS, 40 * MS)
    fixed = [compiled.run(cluster(Heartbeat, heartbeats(200), delay=law, seconds=60), 1) for law in (calm, rough)]
    learnt = [compiled.run(cluster(PhiAccrual, accrual(6), delay=law, seconds=60), 1) for law in (calm, rough)]
    assert fixed[0].counters["suspicions"] == 0
    assert fixed[1].counters["suspicions"] > 20 * max(1, learnt[1].counters["suspicions"])
    assert learnt[0].counters["suspicions"] == 0


def test_a_higher_threshold_is_slower_and_more_often_right() -> None:
    false, late = [], []
    for phi in (1.0, 2.0, 4.0):
        rough = quantiles.normal(100 * MS, 20 * MS)
        scenario = cluster(PhiAccrual, accrual(phi), delay=rough, seconds=60)
        false.append(compiled.run(scenario, 1).counters["suspicions"])
        crashed = replace(scenario, outages=(Outage("n2", CRASH_NS, 70 * SECOND, Keep.DURABLE),))
        # After the crash the last suspicion of each observer is the one that stays.
        last = {observer: time for time, observer, member, suspected in facts(crashed, 1) if member == 2 and suspected}
        late.append(np.mean(list(last.values())) - CRASH_NS)
    assert false[0] > 3 * false[1] > 9 * false[2]
    assert late == sorted(late)


def test_long_intervals_are_not_taken() -> None:
    outages = (Outage("n1", CRASH_NS, CRASH_NS + 4 * SECOND, None),)  # n1 stands still for 4 s
    states: dict[str, list[list[int] | None]] = {}
    scenario = cluster(PhiAccrual, accrual(8), outages=outages, nodes=2, seconds=12)
    compiled.run(scenario, 1, states=states)
    assert max(states["interval_us"][0] or []) < 200_000
    compiled.run(replace(scenario, params=scenario.params._replace(interval_max_ns=10 * SECOND)), 1, states=states)
    assert max(states["interval_us"][0] or []) > 3_900_000


# SWIM


@pytest.mark.parametrize("order", [0, 1])
def test_rumours_tell_everyone_sooner_than_own_probes(order: int) -> None:
    def last_ns(rumours: int) -> float:
        outage = Outage("n2", CRASH_NS, 60 * SECOND, Keep.DURABLE)
        scenario = cluster(Swim, members(rumours=rumours, order=order), outages=(outage,), seconds=40, nodes=16)
        return float(np.mean([facts(scenario, seed)[-1][0] - CRASH_NS for seed in range(20)]))

    assert last_ns(3) < 0.5 * last_ns(0)


def test_probing_in_turn_bounds_the_time_to_a_probe() -> None:
    """Within n - 1 periods each node has probed everyone, so nobody's own suspicion comes later."""
    outage = Outage("n2", CRASH_NS, 60 * SECOND, Keep.DURABLE)
    scenario = cluster(Swim, members(rumours=0, order=1, suspicion_ms=0), outages=(outage,), seconds=40, nodes=16)
    worst = max(facts(scenario, seed)[-1][0] for seed in range(10)) - CRASH_NS
    assert worst <= (16 - 1 + 1) * 2 * PERIOD
    random = cluster(Swim, members(rumours=0, order=0, suspicion_ms=0), outages=(outage,), seconds=40, nodes=16)
    assert max(facts(random, seed)[-1][0] for seed in range(10)) - CRASH_NS > worst


def test_a_node_that_stood_still_refutes_its_suspicion() -> None:
    pause = Outage("n2", CRASH_NS, CRASH_NS + 500 * MS, None)
    deaths = []
    for suspicion_ms in (2000, 0):
        scenario = cluster(Swim, members(suspicion_ms), outages=(pause,))
        runs = compiled.run_many(scenario, range(20), threads=1).counters
        deaths.append(int(runs["deaths"].sum()))
        assert runs["refutations"].sum() > 10
        for seed in range(5):
            last = {(row[1], row[2]): row[3] for row in facts(scenario, seed)}
            assert not any(last.values())  # everyone is trusted in the end
    assert deaths[0] == 0
    assert deaths[1] > 20


def test_suspicion_and_helpers_protect_the_living_from_loss() -> None:
    found = {}
    for suspicion_ms, helpers in ((0, 0), (0, 3), (2000, 3)):
        scenario = cluster(Swim, members(suspicion_ms, helpers=helpers), loss_ppm=100_000)
        found[suspicion_ms, helpers] = int(compiled.run_many(scenario, range(10), threads=1).counters["deaths"].sum())
    assert found[0, 0] > 5 * found[0, 3] > 0
    assert found[2000, 3] <= found[0, 3] // 5


def test_rumours_are_bounded() -> None:
    """A node sends what it learnt of a member at most spread * bits times; a message holds three rumours at most."""
    outage = Outage("n2", CRASH_NS, 60 * SECOND, Keep.DURABLE)
    for rumours in (0, 1, 3):
        counters = compiled.run(cluster(Swim, members(rumours=rumours), outages=(outage,)), 1).counters
        bits, changes = 3, 2  # of 6 nodes; n2 is suspected, then dead
        about_dead = counters["messages"] - 2 * counters["probes"]  # what is not a ping or its ack may tell n2 so
        assert counters["rumours"] <= NODES * changes * 3 * bits + abs(about_dead)
        assert bool(counters["rumours"]) == bool(rumours)
        assert counters["rumours"] <= rumours * counters["messages"]


def test_an_ack_that_comes_a_period_late_answers_nothing() -> None:
    """Round trips of 300 ms in periods of 200 ms: every probe fails, though acks arrive in every period."""
    params = members(rumours=0, helpers=0)
    counters = compiled.run(cluster(Swim, params, delay=quantiles.constant(150 * MS)), 1).counters
    assert counters["failed"] >= counters["probes"] - 2 * NODES > 0


# In an experiment file


@pytest.mark.parametrize(("module", "protocol"), [(heartbeat, Heartbeat), (phi_accrual, PhiAccrual), (swim, Swim)])
def test_settings_give_the_parameters(module: Any, protocol: Any) -> None:
    settings = module.Settings()
    parameters = settings.parameters(None)
    assert list(parameters) == list(protocol.parameters)
    assert settings.problems(None) == []
    history = compiled.run(cluster(protocol, parameters), 1)
    assert history.counters["suspicions"] == 0


@pytest.mark.parametrize(
    ("module", "values", "key"),
    [
        (heartbeat, {"period": "1s", "timeout": "1s"}, "timeout"),
        (phi_accrual, {"interval_max": "61s"}, "interval_max"),
        (phi_accrual, {"period": "2s"}, "interval_max"),
        (swim, {"ack_timeout": "1s"}, "ack_timeout"),
    ],
)
def test_contradictions_are_named(module: Any, values: dict[str, str], key: str) -> None:
    assert [name for name, _ in module.Settings(**values).problems(None)] == [key]


def test_samples_need_a_window() -> None:
    with pytest.raises(compiled.LiftError, match="samples are nodes x the parameter window"):
        lift(Windowless)


@form.protocol
class Windowless:
    parameters: ClassVar[tuple[str, ...]] = ()
    counters: ClassVar[tuple[str, ...]] = ()
    kinds: ClassVar[Mapping[int, str]] = {}
    timers: ClassVar[Mapping[int, str]] = {}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    heard: Vector[int] = volatile("samples")

    def on_start(self, ctx: Context) -> None: ...
    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None: ...
    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None: ...
    def on_operation(self, ctx: Context, token: int, key: int) -> None: ...
    def on_set(self, ctx: Context, setting: int, value: int) -> None: ...
