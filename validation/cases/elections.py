"""Elections of Raft: split votes in closed form and whole elections against the dissertation's AvailSim."""

from __future__ import annotations

from functools import lru_cache, partial
from math import comb

import numpy as np

from lab.core import quantiles
from lab.engines import compiled
from lab.model.effects import Keep, Outage
from lab.protocols.raft import Raft
from validation.case import Case, Estimate, mean, seeds, share
from validation.world import MS, SECOND, Leg, Table, between, constant, world

GROUP = "elections"
THESIS = "Ongaro 2014, Consensus: Bridging Theory and Practice, section 9.2"


def split_share(n: int, s: int, latency: float) -> float:
    """Return the chance of a split vote: `s` of `n` servers run, one-way latency in units of the timeout range.

    The vote splits if the (s - n//2 + 1)-th timeout comes within the latency of the first (dissertation, 9.2.1).
    """
    least = s - n // 2
    return sum(comb(s, k) * latency**k * (1 - latency) ** (s - k) for k in range(least, s + 1))


def raft(
    servers: int, failed: int, delay: Table, election_ns: int, range_ns: int, heartbeat_ns: int, horizon_ns: int
) -> dict[str, object]:
    """Return the arguments of `world` for a cluster whose last `failed` servers never run."""
    params = {
        "election_ns": election_ns, "election_range_ns": range_ns, "heartbeat_ns": heartbeat_ns, "prevote": 0,
        "stable_after": 17, "client_timeout_ns": SECOND, "client_attempts": 1,
    }  # fmt: skip
    silent = [Outage(f"n{node}", 0, horizon_ns + 1, Keep.DURABLE) for node in range(servers - failed, servers)]
    return {
        "params": params, "nodes": servers, "horizon_ns": horizon_ns, "outages": silent,
        "leg": between(servers, Leg(delay)),
    }  # fmt: skip


def split(n: int, s: int, delay: Table, target: float, key: int, runs: int) -> Estimate:
    """Return the share of first terms that end without a leader; timeouts are uniform over 1 s."""
    arguments = raft(n, n - s, delay, 10 * SECOND, SECOND, 5 * SECOND, 13 * SECOND)
    counted = compiled.run_many(world(Raft, **arguments), seeds(key, runs)).counters["leaders"]  # type: ignore[arg-type]
    return share(int(np.count_nonzero(counted == 0)), runs, target)


@lru_cache(maxsize=16)
def whole(
    failed: int, low_ms: int, high_ms: int, election_ms: int, heartbeat_ms: int, key: int, runs: int
) -> np.ndarray:
    """Return rows (ms at which the lasting leader took office, its term) of elections among 5 fresh followers."""
    delay = quantiles.uniform(low_ms * MS, high_ms * MS) if low_ms < high_ms else constant(low_ms * MS)
    horizon_ns = 60 * election_ms * MS
    arguments = raft(5, failed, delay, election_ms * MS, 0, heartbeat_ms * MS, horizon_ns)
    counters = compiled.run_many(world(Raft, **arguments), seeds(key, runs)).counters  # type: ignore[arg-type]
    assert (counters["stable"] == 1).all()
    return np.stack([counters["stable_ns"] / MS, counters["stable_terms"]], axis=1)


@lru_cache(maxsize=4)
def earliest(s: int, key: int, runs: int) -> np.ndarray:
    """Return when the first of `s` fresh servers times out, in timeout ranges after the least timeout.

    All `s` run and messages take no time, so that the first to time out takes office at once.
    """
    arguments = raft(s, 0, constant(0), SECOND, SECOND, SECOND // 2, 3 * SECOND) | {"leg": None}
    params = {**arguments.pop("params"), "stable_after": 1}  # type: ignore[dict-item]
    counters = compiled.run_many(world(Raft, params, **arguments), seeds(key, runs)).counters  # type: ignore[arg-type]
    assert (counters["stable"] == 1).all()
    return np.asarray(counters["stable_ns"] / SECOND - 1)


def earliest_mean(s: int, key: int, runs: int) -> Estimate:
    """Return the mean of `earliest`."""
    return mean(earliest(s, key, runs))


def earliest_below(s: int, t: float, target: float, key: int, runs: int) -> Estimate:
    """Return the share of first timeouts before t."""
    return share(int(np.count_nonzero(earliest(s, key, runs) < t)), runs, target)


def beyond(failed: int, limit_ms: float, target: float, key: int, runs: int) -> Estimate:
    """Return the share of whole elections (latency U[30,40] ms) that take longer than a limit."""
    found = whole(failed, 30, 40, 300, 150, key, runs)[:, 0]
    return share(int(np.count_nonzero(found > limit_ms)), runs, target)


def took_office(failed: int, low: int, high: int, election: int, beat: int, key: int, runs: int) -> Estimate:
    """Return the mean time to the lasting leader, ms."""
    return mean(whole(failed, low, high, election, beat, key, runs)[:, 0])


def in_one_term(
    failed: int, low: int, high: int, election: int, beat: int, target: float, key: int, runs: int
) -> Estimate:
    """Return the share of elections decided in the first term."""
    terms = whole(failed, low, high, election, beat, key, runs)[:, 1]
    return share(int(np.count_nonzero(terms == 1)), runs, target)


def _splits() -> list[Case]:
    text = "raft protocol, {} of {} servers run, one-way latency {} of the timeout range; first terms without a leader"
    fixed = [
        (5, 4, 0.01), (5, 4, 0.1), (5, 4, 0.2), (5, 3, 0.1), (5, 3, 0.2), (5, 5, 0.1), (3, 2, 0.1), (7, 6, 0.2),
        (9, 7, 0.2), (9, 6, 0.2), (9, 5, 0.1), (9, 5, 0.2),
    ]  # fmt: skip
    cases = [
        Case(
            f"Raft split vote n={n} s={s} latency {latency}", GROUP, text.format(s, n, latency),
            THESIS + ", closed form",
            partial(split, n, s, constant(round(latency * SECOND)), split_share(n, s, latency)),
            split_share(n, s, latency), full=200_000, small=4000,
        )
        for n, s, latency in fixed
    ]  # fmt: skip
    for n, s, target in ((5, 4, 0.1640), (5, 3, 0.3863), (5, 5, 0.0605), (9, 5, 0.5568)):
        delay = quantiles.uniform(SECOND // 10, SECOND // 5)
        cases.append(
            Case(
                f"Raft split vote n={n} s={s} latency U[.1,.2]", GROUP, text.format(s, n, "U[.1,.2]"),
                THESIS + ", recomputed", partial(split, n, s, delay, target), target, full=200_000, small=4000,
                target_error=0.0005,
            )
        )  # fmt: skip
    return cases


def _whole() -> list[Case]:
    rows = [
        (0, 30, 40, 300, 150, 428.95, 0.24, 0.9748), (1, 30, 40, 300, 150, 468.3, 0.45, 0.9078),
        (2, 30, 40, 300, 150, 620.9, 1.1, 0.6892), (0, 35, 35, 300, 150, 424.6, 0.2, 0.9868),
        (1, 35, 35, 300, 150, 458.3, 0.4, 0.9305), (2, 35, 35, 300, 150, 618.0, 1.06, 0.6892),
        (0, 2, 5, 100, 50, 123.9, 0.05, 0.9958), (1, 2, 5, 100, 50, 130.9, 0.09, 0.9687),
        (2, 2, 5, 100, 50, 147.0, 0.16, 0.8974),
    ]  # fmt: skip
    text = "raft protocol, 5 fresh followers, {} of them silent, latency U[{},{}] ms, timeouts U[{},{}] ms; "
    cases = []
    for failed, low, high, election, beat, target, error, one in rows:
        told = text.format(failed, low, high, election, 2 * election)
        name = f"Raft election, {failed} silent, latency U[{low},{high}]"
        arguments = (failed, low, high, election, beat)
        cases += [
            Case(
                f"{name}: mean ms", GROUP, told + "when the lasting leader took office",
                THESIS + ", AvailSim recomputed",
                partial(took_office, *arguments), target, full=100_000, small=4000, target_error=error,
                slack=0.05,
            ),
            Case(
                f"{name}: decided in one term", GROUP, told + "share of elections decided in term 1",
                THESIS + (", closed form" if low == high else ", AvailSim recomputed"),
                partial(in_one_term, *arguments, one), one, full=100_000, small=4000,
                target_error=0.00005 if low == high else (one * (1 - one) / 100_000) ** 0.5,
            ),
        ]  # fmt: skip
    published = ((0, 430.0), (1, 468.7), (2, 631.6))
    cases += [
        Case(
            f"Raft election, {failed} silent: the published mean", GROUP,
            text.format(failed, 30, 40, 300, 600) + "against the dots of the figure, 2.5 % allowed",
            THESIS + ", figure of simulated elections", partial(took_office, failed, 30, 40, 300, 150), target,
            full=100_000, small=4000, slack=0.025 * target, confidence="B",
        )
        for failed, target in published
    ]  # fmt: skip
    return cases


def _timeouts() -> list[Case]:
    text = "raft protocol, {} servers, messages without delay: the first to time out leads; {}"
    cases = []
    for servers in (3, 4, 5, 9):
        cases.append(
            Case(
                f"Raft earliest of {servers} timeouts: mean", GROUP, text.format(servers, "mean, in timeout ranges"),
                THESIS + ": 1 / (s + 1)", partial(earliest_mean, servers), 1 / (servers + 1), full=200_000, small=4000,
            )
        )  # fmt: skip
    for servers, t in ((3, 0.2), (5, 0.1), (5, 0.3)):
        target = 1 - (1 - t) ** servers
        cases.append(
            Case(
                f"Raft earliest of {servers} timeouts: before {t:g}", GROUP,
                text.format(servers, f"share within {t:g} of the timeout range"), THESIS + ": 1 - (1 - t)^s",
                partial(earliest_below, servers, t, target), target, full=200_000, small=4000,
            )
        )  # fmt: skip
    return cases


def _quantiles() -> list[Case]:
    rows = [
        (0, (409.3, 488.5, 826, 981)), (1, (423.1, 567.7, 1002, 1418)), (2, (463.9, 1030, 1843, 2695)),
    ]  # fmt: skip
    return [
        Case(
            f"Raft election, {failed} silent, latency U[30,40]: beyond {name}", GROUP,
            f"raft protocol, 5 fresh followers, {failed} of them silent; share of elections over {limit:g} ms,"
            f" the {name} recomputed from 100 000 elections",
            THESIS + ", AvailSim recomputed", partial(beyond, failed, limit, left), left, full=100_000, small=4000,
            target_error=(left * (1 - left) / 100_000) ** 0.5,
        )
        for failed, limits in rows
        for name, left, limit in zip(("p50", "p90", "p99", "p99.9"), (0.5, 0.1, 0.01, 0.001), limits, strict=True)
    ]  # fmt: skip


CASES = [*_splits(), *_timeouts(), *_whole(), *_quantiles()]
CONTROLS = [
    Case(
        "control: latency doubled", GROUP, "latency .2 held against the target of .1", THESIS,
        partial(split, 5, 4, constant(SECOND // 5), split_share(5, 4, 0.1)), split_share(5, 4, 0.1), full=4000,
        small=4000, flaw="latency doubled",
    ),
    Case(
        "control: earliest of 4 for 5", GROUP, "4 servers held against the earliest timeout of 5", THESIS,
        partial(earliest_mean, 4), 1 / 6, full=4000, small=4000, flaw="one server fewer",
    ),
    Case(
        "control: p99 of one silent for none", GROUP, "1 silent server held against the p99 of none", THESIS,
        partial(beyond, 1, 826, 0.01), 0.01, full=4000, small=4000, target_error=0.0003,
        flaw="one more server silent",
    ),
    Case(
        "control: one server fewer", GROUP, "1 silent server held against the target of none", THESIS,
        partial(took_office, 1, 30, 40, 300, 150), 428.95, full=4000, small=4000, target_error=0.24,
        flaw="one more server silent",
    ),
]  # fmt: skip
