"""Scenarios of the changelog protocol for comparisons: its retry and release rules, everything else out of the way."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from lab.core.backoff import BACKOFFS
from lab.engines.scenario import Scenario
from lab.protocols.changelog import MODES, ORDER_KEY, OVERFLOW_REJECT, Changelog, Settings
from lab.spec.schema import Experiment
from validation.world import IDEAL, MS, SECOND, Leg, workload, world

FOREVER_NS = 1 << 55


@lru_cache(maxsize=1)
def defaults() -> dict[str, int]:
    """Return the parameters of an experiment that says nothing about them."""
    document = {
        "title": "defaults", "system": {"mode": "sync", "replicas": [{"name": "leader"}, {"name": "f1"}]},
        "network": {}, "workload": {"arrivals": "constant(1/s)", "duration": "1s"},
    }  # fmt: skip
    return Settings().parameters(Experiment.model_validate(document))


def replicated(
    *,
    followers: int,
    mode: str,
    leg: Callable[[int, int], Leg],
    arrivals: str,
    duration: str,
    horizon_ns: int,
    timeout_ns: int = FOREVER_NS,
    attempts: int = 1,
    backoff: str = "fixed",
    base_ns: int = 0,
    budget_ppm: int = -1,
    keys: int = 1,
) -> Scenario:
    """Return a leader with followers; the client waits for ever and nothing is reconciled."""
    chosen = {
        "mode": MODES[mode], "ordering": ORDER_KEY, "timeout_ns": timeout_ns, "attempts": attempts,
        "backoff": BACKOFFS[backoff], "jitter": 0, "base_ns": base_ns, "cap_ns": 1 << 60, "budget_ppm": budget_ppm,
        "queue_limit": 1 << 20, "overflow": OVERFLOW_REJECT, "reconcile_every_ns": 0,
        "client_timeout_ns": FOREVER_NS, "client_attempts": 1, "client_deadline_ns": FOREVER_NS,
    }  # fmt: skip
    params = {**defaults(), **chosen}
    assert len(params) == len(defaults())
    nodes = followers + 1
    return world(
        Changelog, params, nodes=nodes, horizon_ns=horizon_ns, workload=workload(arrivals, duration, keys=keys),
        leg=lambda source, target: leg(source, target) if max(source, target) < nodes else IDEAL,
    )  # fmt: skip


def lossy(update_ppm: int, ack_ppm: int) -> Callable[[int, int], Leg]:
    """Return links without delay that lose updates and acknowledgements with these shares."""
    return lambda source, target: Leg(loss_ppm=update_ppm if source == 0 else ack_ppm)


def one_follower(
    *,
    attempts: int,
    loss_ppm: int,
    ack_loss_ppm: int,
    updates: int,
    budget_ppm: int = -1,
    followers: int = 1,
    mode: str = "sync",
    backoff: str = "fixed",
) -> Scenario:
    """Return updates far apart whose attempts are judged at once and repeated after 10 ms (doubling if exponential)."""
    fixed = backoff == "fixed"
    return replicated(
        followers=followers, mode=mode, leg=lossy(loss_ppm, ack_loss_ppm), arrivals="constant(10/s)",
        duration=f"{100 * updates + 1}ms", horizon_ns=(updates + 100) * SECOND // 10 + (1 << 42),
        timeout_ns=10 * MS if fixed else 1, attempts=attempts, backoff=backoff, base_ns=0 if fixed else 10 * MS,
        budget_ppm=budget_ppm,
    )  # fmt: skip
