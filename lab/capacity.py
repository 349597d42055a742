"""`lab capacity`: the highest rate at which everything that an experiment claims still holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

from lab.core.units import rate_text
from lab.run import RunSet
from lab.spec.schema import Experiment
from lab.suite import BASE
from lab.verdict import FAIL, PASS, judge_claims, verdict

PROBES_MAX = 24
RunVariant = Callable[[str, Experiment, Sequence[int]], RunSet]


class NotLoaded(ValueError):
    """The experiment has no rate that could be raised."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Probe:
    """One rate (events per 1,000 s), the verdict there, and what was violated or open, loudest first."""

    rate_millihertz: int
    verdict: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Capacity:
    """Probes in order of rate. `holds` is the highest rate that passed below the lowest that did not, or None;
    `fails` that lowest one, or None.
    """

    what: str
    probes: tuple[Probe, ...]
    holds: int | None
    fails: int | None
    seeds: int

    @property
    def is_monotone(self) -> bool:
        """Whether no rate passed above one that did not."""
        passed = [probe.verdict == PASS for probe in self.probes]
        return passed == sorted(passed, reverse=True)

    def sentence(self) -> str:
        """Return the finding in one sentence."""
        if self.holds is None:
            return f"{self.what}: not even {rate_text(self.probes[0].rate_millihertz)} holds."
        if self.fails is None:
            return f"{self.what}: at least {rate_text(self.holds)}; no rate that was tried fails."
        failing = next(probe for probe in self.probes if probe.rate_millihertz == self.fails)
        why = f": {failing.reasons[0]}" if failing.reasons else ""
        more = "" if self.is_monotone else " Some higher rate held by luck: more seeds are needed."
        verb = "is violated" if failing.verdict == FAIL else "is open"
        return f"{self.what}: {rate_text(self.holds)} holds, {rate_text(self.fails)} {verb}{why}.{more}"

    def as_json(self) -> dict[str, Any]:
        """Return the document of `lab capacity --json`; rates are a second."""
        return {
            "schema": "driftlab.capacity/1",
            "what": self.what,
            "holds": None if self.holds is None else self.holds / 1000,
            "fails": None if self.fails is None else self.fails / 1000,
            "monotone": self.is_monotone,
            "seeds": self.seeds,
            "probes": [
                {"rate": probe.rate_millihertz / 1000, "verdict": probe.verdict, "reasons": list(probe.reasons)}
                for probe in self.probes
            ],
        }


def at_rate(experiment: Experiment, spike: int | None, rate_millihertz: int) -> Experiment:
    """Return the experiment with its arrivals, or spike number `spike` (1 is the first), at that rate."""
    workload = experiment.workload
    if spike is None:
        if not workload.arrivals.rate_millihertz:
            raise NotLoaded("the experiment has no arrivals whose rate could be raised: write workload.arrivals")
        arrivals = type(workload.arrivals)(workload.arrivals.shape, rate_millihertz)
        changed = workload.model_copy(update={"arrivals": arrivals})
    else:
        if not 1 <= spike <= len(workload.spikes):
            raise NotLoaded(f"the experiment has {len(workload.spikes)} spikes; there is no number {spike}")
        spikes = list(workload.spikes)
        spikes[spike - 1] = spikes[spike - 1].model_copy(update={"rate": rate_millihertz})
        changed = workload.model_copy(update={"spikes": spikes})
    return experiment.model_copy(update={"workload": changed})


def find_capacity(
    experiment: Experiment,
    seeds: Sequence[int],
    run_variant: RunVariant,
    *,
    low: int,
    high: int,
    precision_ppm: int = 50_000,
    spike: int | None = None,
) -> Capacity:
    """Search between two rates (events per 1,000 s) by halving their ratio until it is within 1 + precision.

    Every probe runs the same seeds and judges every claim and checker, so a rate holds only if the replicas converge.
    The search takes for granted that a higher rate is harder; where the probes contradict that, the result says so.
    """
    probes: dict[int, Probe] = {}

    def holds(rate: int) -> bool:
        runs = {BASE: run_variant(rate_text(rate), at_rate(experiment, spike, rate), seeds)}
        results = judge_claims(runs, experiment.measure.claims, "")
        decided = verdict(results)
        wrong = sorted((one for one in results if one.holds is not True), key=lambda one: one.holds is None)
        texts = tuple(one.text + (f" ({one.reason})" if one.reason else "") for one in wrong)
        probes[rate] = Probe(rate, decided, texts)
        return decided == PASS

    best: int | None = low if holds(low) else None
    worst: int | None = low if best is None else high
    if best is not None and holds(high):
        best, worst = high, None
    while best is not None and worst is not None and worst * 1_000_000 > best * (1_000_000 + precision_ppm):
        middle = round(exp((log(best) + log(worst)) / 2))
        middle = middle // 1000 * 1000 if middle > 20_000 else middle  # whole events a second read better
        if middle in probes or len(probes) >= PROBES_MAX:
            break
        best, worst = (middle, worst) if holds(middle) else (best, middle)
    what = "highest rate" if spike is None else f"highest rate of spike {spike}"
    return Capacity(what, tuple(probes[rate] for rate in sorted(probes)), best, worst, len(seeds))
