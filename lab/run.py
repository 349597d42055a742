"""Experiment × seeds × executor: run, judge each run, and keep what downstream needs. Nothing here knows how a plane
works inside.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lab import checkers, metrics
from lab.alarms.ringing import Ringing, ringings
from lab.checkers.validity import Validity
from lab.history import FaultRecord, History
from lab.metrics.estimate import UNDEFINED, Estimate, RunValue
from lab.pool import Pool, in_order, open_pool
from lab.protocols import PROTOCOLS, settings_of
from lab.spec.rules import parse_rule
from lab.spec.schema import Experiment
from lab.store import canonical_json

if TYPE_CHECKING:
    from lab.engines.scenario import Scenario

POOL_WORTH_S = 3.0  # below this much remaining work a pool costs more than it saves
CLUSTER_BLOCK = 10  # runs that are handed to a cluster at once, at least: each handing over takes some milliseconds
CURVE_RUNS_MAX = 40
CURVE_POINTS_MAX = 400
AUTO, REFERENCE, COMPILED = "auto", "reference", "compiled"
CHANGELOG = "changelog"  # the protocol whose leader's log is a ground truth to diverge from
EXECUTORS = (AUTO, REFERENCE, COMPILED)
Progress = Callable[[int, int], None]
Runner = Callable[[Experiment, int], History]


@dataclass(frozen=True, slots=True)
class RunRow:
    """One judged run, small enough to keep thousands: its measures, verdicts and digests, and its divergence curve."""

    seed: int
    values: dict[str, RunValue]
    fault_convergence: tuple[RunValue, ...]
    faults: tuple[FaultRecord, ...]
    validities: dict[str, Validity]
    curve_ns: tuple[int, ...]
    curve_share: tuple[float, ...]
    digest: str
    trace_hash: str
    event_count: int
    notes: tuple[str, ...]
    environment: dict[str, str]
    ringings: tuple[Ringing, ...] = ()


Judging = Callable[[History], RunRow]


@dataclass(slots=True)
class RunSet:
    """All runs of one experiment on one executor."""

    experiment: Experiment
    plane: str
    executor: str
    rows: list[RunRow] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def seeds(self) -> list[int]:
        """The seeds that were run, in order."""
        return [row.seed for row in self.rows]

    def measures(self) -> dict[str, Estimate]:
        """Return every measure over the runs."""
        return metrics.measures([row.values for row in self.rows])

    def measure(self, name: str) -> Estimate:
        """Return one measure: `metric` or `metric.aggregate`."""
        metric, aggregate = metrics.split_measure(name)
        undefined = RunValue(None)
        values = [row.values.get(metric, undefined) for row in self.rows]
        return metrics.summarise(values, aggregate, metrics.METRICS[metric].unit)

    def digest(self) -> str:
        """Return the SHA-256 over every run's digest and measures: equal sets of runs have equal digests."""
        parts = [
            (
                row.seed,
                row.digest,
                {name: [v.value, v.censored] for name, v in row.values.items() if not metrics.is_counter(name)},
            )
            for row in self.rows  # counters are in the digest of the history
        ]
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def units_of(protocol: str) -> dict[str, str]:
    """Return the unit of every measure that runs of a protocol have, its counters among them."""
    counters = PROTOCOLS[protocol][0].counters
    return metrics.measure_units(protocol, counters, has_client=settings_of(protocol).has_client)


def judge(history: History) -> RunRow:
    """Return the row of one run: every metric and every checker applied to its history."""
    has_truth = history.protocol == CHANGELOG
    curve: tuple[Any, Any] = metrics.divergence_curve(history) if has_truth else ((), ())
    times_ns, shares = curve
    keep = _thin(len(times_ns))
    return RunRow(
        seed=history.seed,
        values=metrics.run_values(history),
        fault_convergence=tuple(
            metrics.convergence_of(history, index) if has_truth else UNDEFINED for index in range(len(history.faults))
        ),
        faults=history.faults,
        validities=checkers.check_all(history),
        curve_ns=tuple(int(times_ns[index]) for index in keep),
        curve_share=tuple(float(shares[index]) for index in keep),
        digest=history.digest(),
        trace_hash=history.trace_hash,
        event_count=history.event_count,
        notes=history.notes,
        environment=history.environment,
    )


def _row(experiment: Experiment, history: History, judging: Judging) -> RunRow:
    """Return a run's row, with the alarms that rang where the experiment has any and the run is judged."""
    row = judging(history)
    if not experiment.measure.alarms or judging is not judge:
        return row
    return replace(row, ringings=ringings(history, [parse_rule(text) for text in experiment.measure.alarms]))


def measure(history: History) -> RunRow:
    """Return the row of one run with its measures alone, at a third of the cost of `judge`: for searches."""
    return RunRow(
        seed=history.seed,
        values=metrics.run_values(history),
        fault_convergence=(),
        faults=(),
        validities={},
        curve_ns=(),
        curve_share=(),
        digest="",
        trace_hash="",
        event_count=history.event_count,
        notes=(),
        environment=history.environment,
    )


def _thin(count: int) -> list[int]:
    """Return at most CURVE_POINTS_MAX indices spread over `count`, the first and last among them."""
    if count <= CURVE_POINTS_MAX:
        return list(range(count))
    step = (count - 1) / (CURVE_POINTS_MAX - 1)
    return sorted({round(index * step) for index in range(CURVE_POINTS_MAX)})


def simulate(experiment: Experiment, seed: int) -> History:
    """Run one seed on the reference executor."""
    from lab.engines import reference
    from lab.engines.scenario import prepare_seed

    return reference.run(prepare_seed(experiment, seed), seed)


def choose_executor(experiment: Experiment, wanted: str, say: Callable[[str], None] = lambda _: None) -> str:
    """Return the executor that runs an experiment: the one that is `wanted`, or for "auto" compiled where it lifts.

    Compiles now what is not on disk yet, saying so. Raise LiftError if "compiled" is wanted and the protocol cannot be.
    """
    if wanted == REFERENCE:
        return REFERENCE
    from lab.engines import compiled
    from lab.engines.scenario import prepare_seed

    try:
        compiled.load_for(prepare_seed(experiment, 1), say)
    except compiled.LiftError:
        if wanted == COMPILED:
            raise
        return REFERENCE
    return COMPILED


def _histories(experiment: Experiment, seeds: Sequence[int], executor: str) -> Iterator[History]:
    from lab.engines.scenario import prepare, prepare_seed
    from lab.spec.drawing import is_drawn

    if is_drawn(experiment):  # another scenario for every seed
        for seed in seeds:
            yield from _histories_of(prepare_seed(experiment, seed), [seed], executor)
        return
    yield from _histories_of(prepare(experiment), seeds, executor)


def _histories_of(scenario: Scenario, seeds: Sequence[int], executor: str) -> Iterator[History]:
    if executor == COMPILED:
        from lab.engines import compiled

        yield from compiled.histories(scenario, seeds)
        return
    from lab.engines import reference

    for seed in seeds:
        yield reference.run(scenario, seed)


def _judge_many(experiment: Experiment, seeds: Sequence[int], executor: str, judging: Judging) -> list[RunRow]:
    return [_row(experiment, history, judging) for history in _histories(experiment, seeds, executor)]


def run_simulated(
    experiment: Experiment,
    seeds: Sequence[int],
    *,
    executor: str = AUTO,
    workers: int | None = None,
    progress: Progress | None = None,
    judging: Judging = judge,
    pool: Pool | None = None,
) -> RunSet:
    """Run every seed on the simulator. Results depend neither on `executor` nor on `workers` (default: one a core).

    `judging` makes the row of a run: `judge`, or `measure` where only measures are needed. With a `pool` (a cluster)
    all runs are done there; else processes are started where enough work is left.
    """
    executor = choose_executor(experiment, executor)
    result = RunSet(experiment, "sim", executor)
    started = time.monotonic()
    if pool is not None:
        for row in _pooled(pool, experiment, seeds, executor, judging, CLUSTER_BLOCK):
            result.rows.append(row)
            _report(progress, len(result.rows), len(seeds))
        result.wall_s = time.monotonic() - started
        return result
    for number, history in enumerate(_histories(experiment, seeds, executor)):
        result.rows.append(_row(experiment, history, judging))
        _report(progress, number + 1, len(seeds))
        left = len(seeds) - number - 1
        if workers != 1 and (time.monotonic() - started) / (number + 1) * left > POOL_WORTH_S:
            left_seeds = seeds[number + 1 :]
            with closing(_run_pool(experiment, left_seeds, executor, workers or os.cpu_count() or 1, judging)) as rest:
                for row in rest:
                    result.rows.append(row)
                    _report(progress, len(result.rows), len(seeds))
            break
    result.wall_s = time.monotonic() - started
    return result


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


def _run_pool(
    experiment: Experiment, seeds: Sequence[int], executor: str, workers: int, judging: Judging
) -> Generator[RunRow]:
    with open_pool("processes", workers) as pool:
        yield from _pooled(pool, experiment, seeds, executor, judging)


def _pooled(
    pool: Pool, experiment: Experiment, seeds: Sequence[int], executor: str, judging: Judging, least: int = 1
) -> Generator[RunRow]:
    size = max(least, min(64, len(seeds) // (4 * pool.width)))
    blocks = (seeds[start : start + size] for start in range(0, len(seeds), size))
    for rows in in_order(pool, _judge_many, ((experiment, block, executor, judging) for block in blocks)):
        yield from rows


def run_with(
    runner: Runner,
    experiment: Experiment,
    seeds: Sequence[int],
    plane: str,
    executor: str,
    progress: Progress | None = None,
) -> RunSet:
    """Run every seed one after the other with `runner` (the container plane)."""
    from lab.spec.drawing import for_seed

    result = RunSet(experiment, plane, executor)
    started = time.monotonic()
    for seed in seeds:
        result.rows.append(_row(experiment, runner(for_seed(experiment, seed), seed), judge))
        _report(progress, len(result.rows), len(seeds))
    result.wall_s = time.monotonic() - started
    return result


def first_invalid(rows: Sequence[RunRow]) -> dict[str, Any]:
    """Return, per checker that was not satisfied, the first seed and reason: `{checker: (valid, seed, reason)}`."""
    found: dict[str, Any] = {}
    for row in rows:
        for name, validity in row.validities.items():
            known = found.get(name)
            if validity.valid is True or (known and (known[0] is False or validity.valid is None)):
                continue
            found[name] = (validity.valid, row.seed, validity.reason)
    return found
