"""Measure 100,000 Raft elections on one core: `python -m benchmarks.elections [--json]`. Not a test: it prints times.

Five fresh followers, timeouts U[300, 600) ms, latencies U[30, 40) ms, until somebody leads. A run stops at a horizon,
not at an event, so that all go to a first horizon and those without a leader by then go again to a later one: a run to
an earlier horizon is the beginning of a longer one, and nothing of it is lost but its time.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import replace

import numpy as np

from lab.core.laws import parse_law
from lab.engines import compiled
from lab.engines.scenario import Scenario, bare
from lab.model.effects import LinkEffect
from lab.protocols.raft import Raft

MS = 1_000_000
ELECTIONS = 100_000
HORIZONS_NS = (500 * MS, 700 * MS, 1500 * MS, 20_000 * MS)
REPETITIONS = 7
TARGET_S = 0.5


def scenario(horizon_ns: int) -> Scenario:
    """Return five followers and nothing else: no workload, one law for every link."""
    params = {
        "election_ns": 300 * MS, "election_range_ns": 0, "heartbeat_ns": 150 * MS, "prevote": 0, "stable_after": 0,
        "client_timeout_ns": 1000 * MS, "client_attempts": 1,
    }  # fmt: skip
    law = LinkEffect(delay=parse_law("uniform(low=30ms, high=40ms)"))
    return bare(Raft, params, nodes=5, horizon_ns=horizon_ns, effects=[law])


def elect(count: int, first_seed: int) -> tuple[int, list[int]]:
    """Run that many elections on one thread until each has a leader; return (events, runs to each horizon)."""
    seeds = np.arange(first_seed, first_seed + count, dtype=np.int64)
    base = scenario(HORIZONS_NS[0])
    events, runs = 0, []
    for horizon_ns in HORIZONS_NS:
        if len(seeds) == 0:
            break
        found = compiled.run_many(replace(base, horizon_ns=horizon_ns, quiet_ns=horizon_ns), seeds, threads=1)
        events += int(found.event_count.sum())
        runs.append(len(seeds))
        seeds = seeds[found.counters["leaders"] == 0]
    if len(seeds):
        raise AssertionError(f"{len(seeds)} elections without a leader after {HORIZONS_NS[-1]} ns")
    return events, runs


def measure(repetitions: int = REPETITIONS, count: int = ELECTIONS) -> dict[str, object]:
    """Return wall and processor seconds (median and least) of fresh seeds each time; compilation is not counted."""
    elect(100, 0)
    walls, processor, events, runs = [], [], 0, [0]
    for number in range(1, repetitions + 1):
        wall, busy = time.perf_counter(), time.process_time()
        events, runs = elect(count, number * count)
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - busy)
    return {
        "elections": count,
        "raft_elections_100000_s": round(statistics.median(walls) * ELECTIONS / count, 3),
        "raft_elections_100000_best_s": round(min(walls) * ELECTIONS / count, 3),
        "raft_elections_100000_processor_s": round(statistics.median(processor) * ELECTIONS / count, 3),
        "events_an_election": round(events / count, 1),
        "ns_an_event": round(min(walls) * 1e9 / events, 1),
        "runs_to_each_horizon": runs,
        "target_s": TARGET_S,
    }


if __name__ == "__main__":
    measured = measure()
    if "--json" in sys.argv:
        print(json.dumps(measured, indent=2))
    else:
        print("\n".join(f"{name:<36} {value}" for name, value in measured.items()))
