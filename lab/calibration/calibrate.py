"""A calibration from beginning to end: probes, the network model, and, if wanted, the table."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np

from lab import __version__
from lab.calibration import table
from lab.calibration.legs import FORWARD, Times, legs, retry_lateness
from lab.calibration.model import NetworkModel, of_legs, summary
from lab.calibration.worlds import (
    FAST_NS,
    RETRY_BACKOFF_NS,
    RETRY_TIMEOUT_NS,
    SECOND_NS,
    Base,
    Case,
    Probe,
    cases,
    leg_probes,
    retry_probe,
)
from lab.history import Column, History
from lab.spec.schema import Experiment

SCHEMA = "driftlab.calibration/1"
Progress = Callable[[str, int, int], None]


class CalibrationError(RuntimeError):
    """Nothing usable was measured. The exit code is that of something needed that is missing."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: seconds of a probe, rounds of probes, runs of a case, episodes in a run, simulated runs."""

    probe_s: int = 20
    probes: int = 2
    runs: int = 3
    episodes: int = 20
    simulated: int = 200


QUICK = Effort(probe_s=4, probes=1, runs=1, episodes=4, simulated=8)


@dataclass(slots=True)
class Probed:
    """What one run on containers showed."""

    history: History
    times: Times
    service_ns: Mapping[str, float]


class Stack(Protocol):
    """Where experiments really run. `failed` says why runs had to be repeated."""

    failed: list[str]

    def probe(self, experiment: Experiment, seed: int) -> Probed:
        """Run a seed and return its history with the moments of its operations."""

    def run(self, experiment: Experiment, seed: int) -> History:
        """Run a seed."""


@contextmanager
def containers(experiments: Sequence[Experiment], say: Callable[[str], None]) -> Iterator[Stack]:
    """Open a session on the container plane. Raise PlaneError as it does, before anything starts."""
    from lab.calibration.observe import service_ns, times_of
    from lab.containers.collect import Seen
    from lab.containers.errors import PlaneError
    from lab.containers.execute import Plane, open_session, refuse

    for experiment in experiments:
        refuse(experiment, 0)

    @dataclass(slots=True)
    class Real:
        plane: Plane
        failed: list[str] = field(default_factory=list)

        def once_more(self, experiment: Experiment, seed: int) -> History:
            """Run a seed; where that fails, once more: a quarter of an hour must not be lost to one start."""
            try:
                return self.plane.run_once(experiment, seed)
            except PlaneError as error:
                self.failed.append(str(error))
                return self.plane.run_once(experiment, seed)

        def probe(self, experiment: Experiment, seed: int) -> Probed:
            seen: list[tuple[Seen, Mapping[str, str]]] = []
            self.plane.observe = lambda one, metrics: seen.append((one, metrics))
            try:
                history = self.once_more(experiment, seed)
            finally:
                self.plane.observe = None
            return Probed(history, times_of(seen[-1][0]), service_ns(seen[-1][1]))

        def run(self, experiment: Experiment, seed: int) -> History:
            return self.once_more(experiment, seed)

    with open_session(experiments[0], say) as plane:
        yield Real(plane)


@dataclass(slots=True)
class Measured:
    """What the probes gathered, and the environment of the last run."""

    parts: dict[str, list[Column]] = field(default_factory=dict)
    retry_late: list[Column] = field(default_factory=list)
    switch_late: list[int] = field(default_factory=list)
    service_ns: dict[str, list[float]] = field(default_factory=dict)
    invalid: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def takes(self, probed: Probed) -> bool:
        """Note a run; return whether it may be used."""
        self.environment = probed.history.environment
        if probed.history.invalid:
            self.invalid.append(probed.history.invalid)
        return not probed.history.invalid


@dataclass(slots=True)
class Calibration:
    """One calibration in work. Rounds of probes are spread among the cases, so that a drift of the machine meets
    both.
    """

    base: Base
    stack: Stack
    effort: Effort
    first_seed: int
    progress: Progress
    measured: Measured = field(default_factory=Measured)
    done: int = 0
    total: int = 0

    def gather(self, kinds: Sequence[str]) -> list[table.Gathered]:
        """Make all runs on containers. Raise CalibrationError if no probe can be used."""
        chosen = cases(self.base, self.effort.episodes, kinds) if kinds else []
        seeds = [range(self.first_seed, self.first_seed + _runs(case, self.effort)) for case in chosen]
        rounds = self.effort.probes
        places = [number * len(chosen) // max(1, rounds - 1) for number in range(rounds)]
        probes = leg_probes(self.base, self.effort.probe_s * SECOND_NS)
        self.total = rounds * (len(probes) + 1) + sum(map(len, seeds))
        found = []
        for place in range(len(chosen) + 1):
            for number in (number for number in range(rounds) if places[number] == place):
                self._probes(probes, self.first_seed + number)
            if place < len(chosen):
                found.append(table.gather(chosen[place], seeds[place], self._run))
        if not self.measured.parts:
            raise CalibrationError(f"no probe can be used: {'; '.join(dict.fromkeys(self.measured.invalid))}")
        return found

    def _step(self) -> None:
        self.done += 1
        self.progress("calibration: runs on containers", self.done, self.total)

    def _run(self, experiment: Experiment, seed: int) -> History:
        history = self.stack.run(experiment, seed)
        self._step()
        return history

    def _probes(self, probes: Sequence[Probe], seed: int) -> None:
        found, retry = self.measured, retry_probe(self.base, self.effort.probe_s * SECOND_NS)
        for probe in probes:
            probed = self.stack.probe(probe.experiment, seed)
            self._step()
            if not found.takes(probed):
                continue
            asked = {name: probe.asked_ns(name) for name in self.base.names[1:]}
            for leg, column in legs(probed.times, asked, probe.slow).items():
                found.parts.setdefault(leg, []).append(column)
            for name, value in probed.service_ns.items():
                found.service_ns.setdefault(name, []).append(value)
        probed = self.stack.probe(retry, seed)
        self._step()
        if found.takes(probed) and found.parts:
            _timers(found, probed, retry)


def _runs(case: Case, effort: Effort) -> int:
    """Return how many runs a case has: with crashes half the episodes fit in one."""
    return 2 * effort.runs if case.kind == "crash" else effort.runs


def _timers(found: Measured, probed: Probed, retry: Experiment) -> None:
    for name, applied in probed.times.applied.items():
        base_ns = int(np.median(np.concatenate(found.parts[f"{FORWARD}.{name}"])))
        period_ns = RETRY_TIMEOUT_NS + RETRY_BACKOFF_NS
        found.retry_late.append(retry_lateness(probed.times.accepted, applied, FAST_NS, base_ns, period_ns))
    for fault, record in zip(retry.faults, probed.history.faults, strict=True):
        found.switch_late += [record.start_ns - fault.start_ns, record.stop_ns - fault.stop_ns]


def machine() -> str:
    """Return the kind of this machine in words."""
    return f"{os.cpu_count()} cores ({platform.machine()}), {platform.system()}"


def facts(measured: Measured, command: str, effort: Effort, base: Base) -> dict[str, Any]:
    """Return what must be known to trust the numbers, and the summaries of all but the rows of the table."""
    images = {name.removeprefix("image."): value for name, value in measured.environment.items() if "image." in name}
    late = np.concatenate(measured.retry_late) if measured.retry_late else np.empty(0, dtype=np.int64)
    forward = {name: parts for name, parts in measured.parts.items() if name.startswith(f"{FORWARD}.")}
    return {
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "engine": measured.environment.get("engine", "unknown"),
        "images": images,
        "version": __version__,
        "effort": asdict(effort),
        "system": {"replicas": dict(base.replicas), "wire": base.wire, "arrivals": base.arrivals},
        "followers": {name.partition(".")[2]: summary(np.concatenate(parts)) for name, parts in forward.items()},
        "retry_late": summary(late),
        "switch_late": summary(np.array(measured.switch_late, dtype=np.int64)),
        "service_ns": {name: float(np.mean(values)) for name, values in measured.service_ns.items()},
        "invalid": measured.invalid,
    }


def simulated(experiment: Experiment, seeds: Sequence[int]) -> Iterable[History]:
    """Yield the histories of an experiment in the simulator."""
    from lab.engines import compiled
    from lab.engines.scenario import prepare

    yield from compiled.histories(prepare(experiment), seeds)


def calibrate(
    base: Base, stack: Stack, effort: Effort, *, first_seed: int, kinds: Sequence[str], command: str, folder: str,
    progress: Progress, simulate: table.RunMany = simulated,
) -> tuple[NetworkModel, dict[str, Any]]:  # fmt: skip
    """Return the network model and the document of `lab calibrate --json`; without `kinds` there is no table."""
    work = Calibration(base, stack, effort, first_seed, progress)
    gathered = work.gather(kinds)
    model = of_legs(work.measured.parts, folder)
    document = {"schema": SCHEMA, **facts(work.measured, command, effort, base), "folder": folder}
    document["failed"] = list(stack.failed)
    document["legs"] = {leg: summary(values) for leg, values in model.samples.items()}
    rows = [table.row(one, model, simulate, effort.simulated) for one in gathered]
    return model, {**document, "rows": [row.as_json() for row in rows]}
