"""The table of fidelity: for each kind of fault, simulator against containers on the same experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lab.calibration.compare import ACKNOWLEDGE_LIMIT, Compared, Values, compare
from lab.calibration.model import NetworkModel
from lab.calibration.worlds import Case
from lab.history import ACKNOWLEDGED, History
from lab.metrics import convergence_of
from lab.metrics.estimate import RunValue
from lab.metrics.prepare import NEVER_APPLIED, prepare
from lab.spec.schema import Experiment

SIMULATED_SEEDS = 10_000_000  # simulated runs count up from here: their luck is not that of the containers
INSIDE, OUTSIDE, UNKNOWN = "inside", "outside", "not measured"
RunOne = Callable[[Experiment, int], History]
RunMany = Callable[[Experiment, Sequence[int]], Iterable[History]]


@dataclass(slots=True)
class Observed:
    """What runs of one plane showed: acknowledgement latencies and convergences in ns, pooled over runs."""

    latencies: list[Values] = field(default_factory=list)
    convergences: list[float] = field(default_factory=list)
    unacknowledged: int = 0
    censored: int = 0  # convergences that the end of the run cut: they count at the cut

    def take(self, history: History, moments_ns: Sequence[int]) -> None:
        """Add a run: each fault's convergence, or at each moment how far the slowest replica is behind."""
        operations = history.operations
        done = operations.outcome == ACKNOWLEDGED
        self.latencies.append((operations.acknowledged_ns[done] - operations.intended_ns[done]).astype(np.float64))
        self.unacknowledged += int(np.count_nonzero(~done))
        found = [convergence_of(history, index) for index in range(len(history.faults))]
        found += [behind(history, moment_ns) for moment_ns in moments_ns]
        known = [(one.value, one.censored) for one in found if one.value is not None]
        self.convergences += [value for value, _ in known]
        self.censored += sum(censored for _, censored in known)

    @property
    def latency(self) -> Values:
        """All latencies (ns)."""
        return np.concatenate(self.latencies) if self.latencies else np.empty(0)

    @property
    def convergence(self) -> Values:
        """All convergences (ns)."""
        return np.array(self.convergences, dtype=np.float64)


def behind(history: History, moment_ns: int) -> RunValue:
    """Return how long after a moment every replica has all that was accepted by then (ns), at least 0: convergence
    where nothing failed. Cut at the horizon.
    """
    prepared = prepare(history)
    counted = prepared.accepted_ns <= moment_ns
    if not counted.any():
        return RunValue(None)
    latest_ns = int(prepared.first_since_ns(moment_ns)[:, counted].max())
    if latest_ns == NEVER_APPLIED:
        return RunValue(float(history.horizon_ns - moment_ns), censored=True)
    return RunValue(float(max(0, latest_ns - moment_ns)))


def as_it_was(experiment: Experiment, history: History) -> Experiment:
    """Return the experiment with each lasting fault at the time at which it really began and ended."""
    faults = [
        fault.model_copy(update={"at": max(0, record.start_ns), "for_": max(1, record.stop_ns - record.start_ns)})
        for fault, record in zip(experiment.faults, history.faults, strict=True)
    ]
    return experiment.model_copy(update={"faults": faults})


@dataclass(slots=True)
class Row:
    """One kind of fault in one mode, on both planes."""

    kind: str
    mode: str
    runs: int
    invalid: list[str]  # why runs could not be judged; they are left out
    begun_late_ns: int  # medians over all episodes, measured against asked
    ended_late_ns: int
    convergence: Compared | None
    latency: Compared | None
    censored: int
    unacknowledged: int

    @property
    def limits(self) -> dict[str, bool | None]:
        """Whether the row is within each limit; None where nothing was measured."""
        convergence, latency = self.convergence, self.latency
        return {
            "convergence_median": convergence.median_inside if convergence else None,
            "convergence_ks": convergence.ks_inside if convergence else None,
            "acknowledgement_ks": latency.ks_inside if latency else None,
        }

    @property
    def verdict(self) -> str:
        """`inside` every limit, `outside` one of them, or `not measured`."""
        found = list(self.limits.values())
        if False in found:
            return OUTSIDE
        return UNKNOWN if None in found else INSIDE

    def as_json(self) -> dict[str, Any]:
        """Return one entry of `rows`."""
        return {
            "kind": self.kind, "mode": self.mode, "verdict": self.verdict, "limits": self.limits,
            "runs": self.runs, "invalid": self.invalid,
            "begun_late_ns": self.begun_late_ns, "ended_late_ns": self.ended_late_ns,
            "convergence": self.convergence.as_json() if self.convergence else None,
            "acknowledgement": self.latency.as_json() if self.latency else None,
            "censored": self.censored, "unacknowledged": self.unacknowledged,
        }  # fmt: skip


@dataclass(slots=True)
class Gathered:
    """What the runs of a case on containers showed, and the experiments as they really were."""

    case: Case
    real: Observed = field(default_factory=Observed)
    worlds: list[Experiment] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    late: list[tuple[int, int]] = field(default_factory=list)  # ns: begun, ended


def gather(case: Case, seeds: Sequence[int], run: RunOne) -> Gathered:
    """Run a case on containers."""
    found = Gathered(case)
    for seed in seeds:
        history = run(case.experiment, seed)
        if history.invalid:
            found.invalid.append(f"seed {seed}: {history.invalid}")
            continue
        found.real.take(history, case.moments_ns)
        found.worlds.append(as_it_was(case.experiment, history))
        found.late += [
            (record.start_ns - fault.start_ns, record.stop_ns - fault.stop_ns)
            for fault, record in zip(case.experiment.faults, history.faults, strict=True)
        ]
    return found


def row(found: Gathered, model: NetworkModel, simulate: RunMany, simulated_runs: int) -> Row:
    """Simulate what was run on containers, and compare.

    The simulator is given the measured links, and the times at which faults really began and ended, those of each run
    on containers in turn. So the row judges what follows from a fault, not how punctually it was switched.
    """
    case, real, simulated = found.case, found.real, Observed()
    for number, world in enumerate(found.worlds):
        share = range(SIMULATED_SEEDS + number, SIMULATED_SEEDS + simulated_runs, len(found.worlds))
        for history in simulate(model.on(world), share):
            simulated.take(history, case.moments_ns)
    begun, ended = (int(np.median([pair[side] for pair in found.late])) if found.late else 0 for side in (0, 1))
    return Row(
        kind=case.kind, mode=case.mode, runs=len(found.worlds), invalid=found.invalid,
        begun_late_ns=begun, ended_late_ns=ended,
        convergence=compare(real.convergence, simulated.convergence),
        latency=compare(real.latency, simulated.latency, ACKNOWLEDGE_LIMIT),
        censored=real.censored + simulated.censored, unacknowledged=real.unacknowledged,
    )  # fmt: skip
