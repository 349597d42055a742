"""Measurements of `lab bench`: rates, ratios, growth, compilation, memory, and a sweep."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from lab.engines import compiled, reference
from lab.engines.bench import worlds
from lab.engines.bench.baselines import heapq_mesh, simpy_mesh
from lab.engines.compiled.kernel import memory
from lab.engines.compiled.layout import Block, first_room
from lab.engines.scenario import Scenario

SCHEMA = "driftlab.bench/1"
WORLDS: dict[str, Callable[[], Scenario]] = {
    "mesh16": lambda: worlds.mesh(16, 1000),
    "gossip1000": lambda: worlds.gossip(1000, 2000),
    "changelog10": worlds.changelog,
    "changelog10_all": worlds.changelog_all,
}
SWEEP_RUNS = 10_000
RUNS_MIN = 6  # the first run of a large world also finds out how much room it needs


def _rate(work: Callable[[int], int], seed: int) -> float:
    """Return events per second of one piece of work."""
    started = time.perf_counter()
    events = work(seed)
    return events / (time.perf_counter() - started)


def _batch(scenario: Scenario, runs: int, threads: int = 1) -> Callable[[int], int]:
    """Return work that runs `runs` fresh seeds: repeated seeds flatter by some 20 percent."""

    def work(seed: int) -> int:
        seeds = range(seed * runs, (seed + 1) * runs)
        return int(compiled.run_many(scenario, seeds, threads=threads).event_count.sum())

    return work


def _runs_for(scenario: Scenario, events: int) -> int:
    return max(2, events // max(1, int(compiled.run_many(scenario, [1], threads=1).event_count[0])))


def _interleaved(works: dict[str, Callable[[int], int]], repetitions: int) -> dict[str, list[float]]:
    """Return the rates of each work, one repetition of all after the other."""
    rates: dict[str, list[float]] = {name: [] for name in works}
    for seed in range(1, repetitions + 1):
        for name, work in works.items():
            rates[name].append(_rate(work, seed))
    return rates


def _ratio(rates: dict[str, list[float]], over: str, under: str) -> float:
    """Return the median of the ratios within repetitions: both sides met the same load of the machine."""
    return statistics.median(a / b for a, b in zip(rates[over], rates[under], strict=True))


def speed(repetitions: int, events: int) -> dict[str, Any]:
    """Return events per second of each world on one thread, and the ratios to other ways of doing the same."""
    made = {name: make() for name, make in WORLDS.items()}
    for scenario in made.values():
        compiled.load_for(scenario)
    works: dict[str, Callable[[int], int]] = {
        name: _batch(scenario, _runs_for(scenario, events)) for name, scenario in made.items()
    }
    small = worlds.mesh(16, 300)
    works["heapq"] = lambda seed: heapq_mesh(16, small.horizon_ns, seed)
    works["simpy"] = lambda seed: simpy_mesh(16, small.horizon_ns, seed)
    works["reference"] = lambda seed: reference.run(small, seed).event_count
    works["reference_changelog"] = lambda seed: reference.run(made["changelog10"], seed).event_count
    rates = _interleaved(works, repetitions)
    return {
        "events_per_second": {name: round(statistics.median(rates[name])) for name in WORLDS},
        "events_per_second_best": {name: round(max(rates[name])) for name in WORLDS},
        "baseline_events_per_second": {
            name: round(statistics.median(rates[name]))
            for name in ("heapq", "simpy", "reference", "reference_changelog")
        },
        "ratios": {
            "compiled_over_heapq": round(_ratio(rates, "mesh16", "heapq"), 2),
            "compiled_over_reference": round(_ratio(rates, "mesh16", "reference"), 1),
            "compiled_over_reference_changelog": round(_ratio(rates, "changelog10", "reference_changelog"), 1),
            "compiled_over_idiomatic_simpy": round(_ratio(rates, "mesh16", "simpy"), 1),
        },
    }


def threads_speedup(repetitions: int, events: int) -> float:
    """Return the rate of two threads over that of one, median of interleaved pairs."""
    scenario = worlds.changelog()
    runs = _runs_for(scenario, events)
    works = {"one": _batch(scenario, runs), "two": _batch(scenario, runs, threads=2)}
    return round(_ratio(_interleaved(works, repetitions), "two", "one"), 2)


def growth(sizes: tuple[int, ...], events: int) -> dict[str, float]:
    """Return ns per event of gossip with that many nodes."""
    found = {}
    for nodes in sizes:
        scenario = worlds.gossip(nodes, 2000 if nodes < 50_000 else 1000)
        runs = min(2000, max(RUNS_MIN, _runs_for(scenario, events)))
        found[str(nodes)] = round(1e9 / max(_rate(_batch(scenario, runs), seed) for seed in (1, 2, 3)), 1)
    return found


def pending_growth(periods_us: tuple[int, ...]) -> dict[str, float]:
    """Return ns per event of a mesh of 16 by the events pending at once: the shorter the period, the more."""
    from dataclasses import replace

    found = {}
    for period_us in periods_us:
        scenario = worlds.mesh(16, max(100, min(1000, period_us)))
        scenario = replace(scenario, params=scenario.params._replace(period_ns=period_us * 1000))
        runs = min(500, _runs_for(scenario, 500_000))
        pending = int(compiled.run_many(scenario, [1], threads=1).pending_peak[0])
        found[str(pending)] = round(1e9 / max(_rate(_batch(scenario, runs), seed) for seed in (1, 2, 3)), 1)
    return found


def memory_use() -> dict[str, float]:
    """Return bytes per pending event and per node of gossip."""
    small, large = (
        Block(scenario, compiled.load_for(scenario).lifted, first_room(scenario), 1)
        for scenario in (worlds.gossip(1000, 100), worlds.gossip(2000, 100))
    )
    event = 8 * (memory.RECORD + 1 + 2)
    state = 8 * len(large.lifted.groups[0].names)
    queue = event * (large.room.queue - small.room.queue) + 8 * (large.ring - small.ring)
    rest = 8 * (len(large.words) - len(small.words)) - queue
    return {"pending_event_bytes": event, "node_state_bytes": state, "node_bytes": round(rest / 1000 + state, 1)}


COMPILE = """
import time
started = time.perf_counter()
import numba, numpy
from lab.engines import compiled
from lab.protocols.{module} import {name}
ready = time.perf_counter()
made = compiled.load({name})
print(time.perf_counter() - ready, ready - started)
"""


def compile_time(module: str, name: str) -> dict[str, float]:
    """Return seconds to have a protocol ready in a new process: compiled, and from disk; without and with imports."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "DRIFTLAB_CACHE": folder}
        command = [sys.executable, "-c", COMPILE.format(module=module, name=name)]
        times = []
        for _ in range(2):
            printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            times.append([float(word) for word in printed.split()])
    return {"cold": round(times[0][0], 2), "disk": round(times[1][0], 2), "imports": round(times[1][1], 2)}


def sweep(runs: int) -> float:
    """Return seconds of `runs` measured runs of the changelog on two threads, in the executor."""
    scenario = worlds.changelog()
    compiled.run_many(scenario, [0], measures=True)
    started = time.perf_counter()
    compiled.run_many(scenario, range(runs), threads=2, measures=True)
    return round(time.perf_counter() - started, 2)


def document(*, quick: bool = False) -> dict[str, Any]:
    """Measure everything and return the document of `lab bench --json`; `quick` leaves out what takes long."""
    repetitions, events = (3, 300_000) if quick else (9, 2_000_000)
    result: dict[str, Any] = {"schema": SCHEMA, "machine": machine(), **speed(repetitions, events)}
    result["threads_speedup"] = threads_speedup(repetitions, 5 * events)
    result["compile_s"] = compile_time("changelog", "Changelog")
    result["compile_s_by_protocol"] = (
        {}
        if quick
        else {module: compile_time(module, name) for module, name in (("mesh", "Mesh"), ("gossip", "Gossip"))}
    )
    result["growth_ns_per_event"] = growth((10, 100, 1000) if quick else (10, 100, 1000, 10_000, 100_000), events // 2)
    result["pending_ns_per_event"] = pending_growth((1000, 100) if quick else (10_000, 1000, 100, 10, 1))
    result["memory"] = memory_use()
    runs = SWEEP_RUNS // 10 if quick else SWEEP_RUNS
    result["sweep_runs"] = runs
    result["sweep_s"] = sweep(runs)
    result["sweep_10000_s"] = round(result["sweep_s"] * SWEEP_RUNS / runs, 2)
    return result


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    import numba
    import numpy

    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numba": numba.__version__,
        "numpy": numpy.__version__,
    }


def lines(result: dict[str, Any]) -> list[str]:
    """Return the document as lines for a terminal."""
    text = ["events per second, one thread, median (best):"]
    for name, value in result["events_per_second"].items():
        text.append(f"  {name:<18} {value / 1e6:6.1f} M ({result['events_per_second_best'][name] / 1e6:.1f} M)")
    for name, value in result["baseline_events_per_second"].items():
        text.append(f"  {name:<18} {value / 1e6:6.2f} M")
    text.append("ratios: " + ", ".join(f"{name} {value}" for name, value in result["ratios"].items()))
    text.append(f"two threads over one: {result['threads_speedup']}")
    text.append(f"compile: {result['compile_s']['cold']} s cold, {result['compile_s']['disk']} s from disk")
    for key, title in (("growth_ns_per_event", "nodes"), ("pending_ns_per_event", "pending events")):
        text.append(f"ns per event by {title}: " + ", ".join(f"{n}: {ns}" for n, ns in result[key].items()))
    text.append("memory: " + ", ".join(f"{name} {value}" for name, value in result["memory"].items()))
    text.append(f"sweep of {result['sweep_runs']} changelog runs on two threads: {result['sweep_s']} s")
    return text
