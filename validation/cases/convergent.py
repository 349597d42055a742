"""Replicated data types: lost updates by skewed clocks, the cost of Merkle trees, and that replicas end up right."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from math import comb, erfc
from typing import Any

from lab.core import quantiles
from lab.engines import compiled
from lab.model.effects import Keep, Outage
from lab.protocols import crdt_register, crdt_set
from lab.protocols.crdt_counter import CrdtCounter
from lab.protocols.crdt_merkle import CrdtMerkle
from lab.protocols.crdt_register import CrdtRegister
from lab.protocols.crdt_set import CrdtSet
from validation.case import Case, Estimate, exact, mean, seeds, share
from validation.world import MS, SECOND, Leg, between, constant, workload, world

GROUP = "convergent"
REPLICAS = 5
OTHER = 1 - 1 / REPLICAS  # chance that the second write goes to another replica
GAP_MS = 100

# Clocks


def hidden(
    law: int, skew_ms: int, drift_ppm: int, gap_ms: int, clock: int, target: float, key: int, runs: int
) -> Estimate:
    """Return the share of second writes, `gap_ms` after the first one, that the first one hides."""
    params = {
        "keys": 1, "period_ns": 0, "full_every": 1, "eager": 1, "clock": clock, "skew_law": law,
        "skew_ns": skew_ms * MS, "drift_ppm": drift_ppm,
    }  # fmt: skip
    scenario = world(
        CrdtRegister, params, nodes=REPLICAS, horizon_ns=3 * gap_ms * MS, leg=between(REPLICAS, Leg(constant(MS))),
        workload=workload(f"constant({1000 / gap_ms:g}/s)", f"{2 * gap_ms + 1}ms", keys=1),
    )  # fmt: skip
    found = compiled.run_many(scenario, seeds(key, runs))
    assert (found.operations == 2).all()
    return share(int(found.counters["hidden"].sum()), runs, target)


def uniform_loss(gap: float) -> float:
    """P(A - B > gap) for offsets A, B uniform in [-1, 1]."""
    return (2 - gap) ** 2 / 8 if gap < 2 else 0.0


def normal_loss(gap: float) -> float:
    """P(A - B > gap) for offsets A, B normal with deviation 1."""
    return erfc(gap / 2) / 2


def _clocks() -> list[Case]:
    text = "register protocol, {} replicas, wall clocks with offset {}; share of writes hidden by one {} ms earlier"
    cases = []
    for law, name, formula, slack in (
        (crdt_register.UNIFORM, "U[-s, s]", uniform_loss, 0.0),
        (crdt_register.NORMAL, "N(0, s^2)", normal_loss, 0.0004),
    ):
        for ratio in (0.5, 1.0, 2.0) if slack else (0.5, 1.0, 1.5):
            target = OTHER * formula(ratio)
            told = text.format(REPLICAS, name, GAP_MS) + ("; slack for a sum of 64 uniform draws" if slack else "")
            cases.append(
                Case(
                    f"LWW offsets {name}, writes {ratio:g} s apart: lost", GROUP, told,
                    "difference of two offsets, times P(another replica)",
                    partial(hidden, law, round(GAP_MS / ratio), 0, GAP_MS, crdt_register.WALL, target), target,
                    full=400_000, small=8000, slack=slack,
                )
            )  # fmt: skip
    cases += [
        Case(
            "LWW drift U[-.5, .5], writes at t and 2t: lost", GROUP,
            "register protocol, wall clocks without offset; share of writes hidden by the one before",
            "P(R > 1 + 2R') = 1/16, times P(another replica)",
            partial(hidden, crdt_register.UNIFORM, 0, 500_000, GAP_MS, crdt_register.WALL, OTHER / 16), OTHER / 16,
            full=400_000, small=8000,
        ),
        Case(
            "hybrid clocks, offsets N(0, s^2), writes 1 s apart: lost", GROUP,
            "register protocol, hybrid clocks; writes hidden by one that their replica knew", "none may be",
            partial(hidden, crdt_register.NORMAL, GAP_MS, 0, GAP_MS, crdt_register.HYBRID, 0.0), 0.0,
            full=400_000, small=8000,
        ),
    ]  # fmt: skip
    return cases


# Merkle trees


def expected_hashes(keys: int, different: int) -> float:
    """Return the mean hashes sent to find `different` of `keys` (a power of two) random keys: the root's, then two for
    every place that differs.
    """
    total, level = 1.0, 1
    while level < keys:
        total += 2 * level * (1 - comb(keys - keys // level, different) / comb(keys, different))
        level *= 2
    return total


def synchronised(what: str, keys: int, different: int, whole: int, key: int, runs: int) -> Estimate:
    """Return a mean counter of one synchronisation of two replicas that differ in so many random keys."""
    params = {
        "keys": keys, "period_ns": 100 * MS, "whole": whole, "rounds": 1, "starters": 1, "preload": different,
    }  # fmt: skip
    scenario = world(
        CrdtMerkle, params, nodes=2, horizon_ns=SECOND, leg=between(2, Leg(constant(MS))),
        workload=workload("constant(1/s)", "1ms", keys=keys),
    )  # fmt: skip
    return mean(compiled.run_many(scenario, seeds(key, runs)).counters[what])


def _trees() -> list[Case]:
    text = "Merkle protocol, two replicas, {} of {} random keys differ, one synchronisation; {}"
    cases = [
        Case(
            f"Merkle tree over {keys} keys, {different} differ: hashes", GROUP,
            text.format(different, keys, "hashes sent"), "occupancy of subtrees (hypergeometric law)",
            partial(synchronised, "hashes", keys, different, 0), expected_hashes(keys, different), full=full,
            small=small,
        )
        for keys, different, full, small in (
            (1024, 1, 2000, 50), (1024, 10, 20_000, 300), (1024, 100, 20_000, 300), (32_768, 50, 2000, 50),
        )
    ]  # fmt: skip
    rows = [
        ("merges", "keys repaired", 1024, 10, 0, 10), ("bytes", "bytes by tree", 1024, 1, 0, 8 + 10 * 24 + 2 * 16),
        ("bytes", "bytes by sending all", 1024, 1, 1, 16 * 1024), ("hashes", "hashes of equal trees", 1024, 0, 0, 1),
    ]  # fmt: skip
    cases += [
        Case(
            f"Merkle tree over {keys} keys, {different} differ: {name}", GROUP, text.format(different, keys, name),
            "count", partial(synchronised, what, keys, different, whole), target, full=1000, small=50,
        )
        for what, name, keys, different, whole, target in rows
    ]  # fmt: skip
    return cases


# Convergence

KEYS = 12
States = dict[str, list[list[int] | None]]
GOSSIP = {"period_ns": 50 * MS}
OUTAGES = (
    Outage("n1", 1500 * MS, 4 * SECOND, Keep.DURABLE), Outage("n3", 500 * MS, 900 * MS, Keep.DURABLE),
)  # fmt: skip


def _counter_error(counters: dict[str, int], rows: dict[str, list[list[int]]], truth: list[int]) -> int:
    expected = counters["increments"] - counters["decrements"]
    return sum(sum(up) - sum(down) != expected for up, down in zip(rows["up"], rows["down"], strict=True))


def _set_error(counters: dict[str, int], rows: dict[str, list[list[int]]], truth: list[int]) -> int:
    added = [[state == crdt_set.ADDED for state in row] for row in rows["state"]]
    return sum(row != added[0] for row in added)


def _last_write_error(counters: dict[str, int], rows: dict[str, list[list[int]]], truth: list[int]) -> int:
    return sum(row != truth for row in rows["version"])


Judge = Callable[[dict[str, int], dict[str, list[list[int]]], list[int]], int]


@lru_cache(maxsize=1)
def _rough() -> Leg:
    return Leg(quantiles.exponential(20 * MS), 200_000, 100_000)


def wrong_replicas(protocol: Any, params: dict[str, int], judge: Judge, key: int, runs: int) -> Estimate:
    """Return how many replicas are wrong after 5 s of operations with loss, duplicates, reordering and crashes, and 15
    s without operations.
    """
    scenario = world(
        protocol, params, nodes=REPLICAS, horizon_ns=20 * SECOND, outages=OUTAGES,
        leg=between(REPLICAS, _rough()), workload=workload("poisson(20/s)", "5s", keys=KEYS),
    )  # fmt: skip
    wrong = 0
    for seed in seeds(key, runs):
        states: States = {}
        history = compiled.run(scenario, seed, states=states)
        rows = {name: [row for row in column[:REPLICAS] if row is not None] for name, column in states.items()}
        truth = [0] * KEYS
        for token in sorted(history.accepted.token.tolist()):
            truth[history.operations.key[token]] = token + 1
        wrong += judge(history.counters, rows, truth)
    return exact(wrong)


def _registers(full_every: int, clock: int = crdt_register.HYBRID) -> dict[str, int]:
    return {
        **GOSSIP, "keys": KEYS, "full_every": full_every, "eager": 0, "clock": clock,
        "skew_law": crdt_register.NORMAL, "skew_ns": SECOND, "drift_ppm": 200,
    }  # fmt: skip


def _tree(whole: int) -> dict[str, int]:
    return {**GOSSIP, "keys": KEYS, "whole": whole, "rounds": 0, "starters": 0, "preload": 3}


def _elements(full_every: int) -> dict[str, int]:
    return {**GOSSIP, "full_every": full_every, "remove_ppm": 400_000, "collect_after_ns": SECOND}


def _convergence() -> list[Case]:
    text = "{}, 5 replicas, 20 % loss, 10 % duplicates, Exp(20 ms) delays, two crashes; replicas wrong at the end"
    variants = (("state-based", 1), ("deltas", 0))
    rows: list[tuple[str, Any, dict[str, int], Judge]] = []
    for name, every in variants:
        counter = {**GOSSIP, "full_every": every, "decrease_ppm": 300_000}
        rows += [
            (f"PN-counter, {name}", CrdtCounter, counter, _counter_error),
            (f"G-counter, {name}", CrdtCounter, {**counter, "decrease_ppm": 0}, _counter_error),
            (f"OR-set, {name}", CrdtSet, _elements(every), _set_error),
            (f"LWW registers with hybrid clocks, {name}", CrdtRegister, _registers(every), _last_write_error),
        ]
    rows += [
        ("keys by Merkle tree", CrdtMerkle, _tree(0), _last_write_error),
        ("keys by sending all", CrdtMerkle, _tree(1), _last_write_error),
    ]
    return [
        Case(
            f"{name}: replicas wrong", GROUP, text.format(name), "strong eventual consistency (Shapiro et al. 2011)",
            partial(wrong_replicas, protocol, params, judge), 0.0, full=500, small=8,
        )
        for name, protocol, params, judge in rows
    ]  # fmt: skip


CASES = [*_clocks(), *_trees(), *_convergence()]
CONTROLS = [
    Case(
        "control: offsets half as large", GROUP, "offsets of s/2 held against the losses of s", "normal law",
        partial(hidden, crdt_register.NORMAL, GAP_MS // 2, 0, GAP_MS, crdt_register.WALL, OTHER * normal_loss(1)),
        OTHER * normal_loss(1), full=8000, small=8000, slack=0.0004, flaw="better clocks",
    ),
    Case(
        "control: wall clocks for hybrid ones", GROUP, "wall clocks held against no losses", "none may be",
        partial(hidden, crdt_register.NORMAL, GAP_MS, 0, GAP_MS, crdt_register.WALL, 0.0), 0.0, full=8000, small=8000,
        flaw="another clock",
    ),
    Case(
        "control: one difference more", GROUP, "11 differences held against the hashes of 10", "hypergeometric law",
        partial(synchronised, "hashes", 1024, 11, 0), expected_hashes(1024, 10), full=300, small=300,
        flaw="one more key differs",
    ),
    Case(
        "control: last write by wall clocks", GROUP, "skewed wall clocks held against the last write", "oracle",
        partial(wrong_replicas, CrdtRegister, _registers(1, crdt_register.WALL), _last_write_error), 0.0, full=8,
        small=8, flaw="clocks 1 s off",
    ),
]  # fmt: skip
