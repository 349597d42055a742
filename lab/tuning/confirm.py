"""Confirmation: the proposal against the current settings on fresh seeds, paired, with intervals. Only these numbers
are printed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lab.metrics import METRICS, holm, paired_difference, paired_p_value, split_measure
from lab.metrics.estimate import UNDEFINED, Estimate
from lab.run import RunSet
from lab.spec.schema import Tune
from lab.tuning.candidate import Candidate, evaluate, in_scenario_text, losses
from lab.tuning.resample import RESAMPLES, Values, bounds, floors, log_losses, objective, p_value, seed_draws
from lab.tuning.robust import ScenarioRuns, parts_of

GAIN, NO_GAIN, INSUFFICIENT = "gain", "no_gain", "insufficient"
CONFIDENCE = 0.95
WORTH = 0.01  # a gain below one percent is none
WIDE = 0.25  # an interval wider than this, and around 0, says too little
PAIRS_MIN = 10


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What fresh seeds say. `gain` is 1 - score as a share, with a 95 % interval over resampled seed pairs.

    `needed` is how many fresh seeds would probably be enough, where there were not.
    """

    status: str
    sentence: str
    gain: Estimate
    p_value: float | None
    objectives: list[tuple[str, Estimate, Estimate, Estimate]]
    broken: list[str]
    needed: int | None = None


def confirm(current: Candidate, proposed: Candidate, tune: Tune, seed: int) -> Confirmation:
    """Judge two candidates whose `runs` are on the same fresh seeds."""
    assert current.runs is not None and proposed.runs is not None
    evaluate(current, current, tune)
    evaluate(proposed, current, tune)
    gain, p = relative_gain(current.runs, proposed.runs, tune.minimise, seed)
    objectives = [
        (
            measure,
            objective_of(current.runs, measure, seed),
            objective_of(proposed.runs, measure, seed),
            objective_change(current.runs, proposed.runs, measure, seed),
        )
        for measure in tune.minimise
    ]
    status, sentence, needed = _decide(gain, current, proposed, gain.n)
    return Confirmation(status, sentence, gain, p, objectives, proposed.broken, needed)


def _decide(gain: Estimate, current: Candidate, proposed: Candidate, pairs: int) -> tuple[str, str, int | None]:
    if proposed is current:
        return NO_GAIN, "Nothing that was tried is better than the current settings: keep them.", None
    if not proposed.feasible:
        text = f"On fresh seeds the best setting found breaks {proposed.broken[0]}: keep the current settings."
        return NO_GAIN, text, None
    if gain.value is None or gain.low is None or gain.high is None:
        text = "An objective cannot be told on the fresh seeds (runs did not converge): raise drain or seeds."
        return INSUFFICIENT, text, None
    if pairs < PAIRS_MIN:
        return INSUFFICIENT, f"Only {pairs} pairs of runs: at least {PAIRS_MIN} are needed.", PAIRS_MIN
    interval = f"{gain.low:.0%} to {gain.high:.0%}, {pairs} fresh seeds"
    if gain.low > 0 and gain.value >= WORTH:
        return GAIN, f"The proposed settings lower the objectives by {gain.value:.0%} ({interval}).", None
    if gain.high - gain.low > WIDE and gain.high > WORTH:
        needed = math.ceil(pairs * ((gain.high - gain.low) / WIDE) ** 2)
        text = (
            f"The gain lies between {gain.low:.0%} and {gain.high:.0%}: not enough evidence; "
            f"about {needed} seeds would narrow it ({needed - pairs} more)."
        )
        return INSUFFICIENT, text, needed
    text = (
        f"No gain shown: between {gain.low:.0%} and {gain.high:.0%} on {pairs} fresh seeds. Keep the current settings."
    )
    return NO_GAIN, text, None


def relative_gain(
    current: RunSet, proposed: RunSet, measures: Sequence[str], seed: int
) -> tuple[Estimate, float | None]:
    """Return (1 - geometric mean of objective ratios with its interval, two-sided p-value of "no difference").

    Both sets of runs must be on the same seeds, in the same order; seeds are resampled in pairs.
    """
    assert current.seeds == proposed.seeds, "settings are compared on the same seeds"
    count = len(current.rows)
    method = f"paired bootstrap of seeds, {RESAMPLES} resamples, tails widened for {count} runs"
    everything, least = np.arange(count)[None, :], floors(losses(current, measures))
    ratio = log_losses(proposed, least, everything)[0] - log_losses(current, least, everything)[0]
    draws = seed_draws(count, seed)
    ratios: Values = log_losses(proposed, least, draws) - log_losses(current, least, draws)
    told = ratios[np.isfinite(ratios)]
    if not np.isfinite(ratio) or len(told) < RESAMPLES * 0.99:
        return Estimate(None, None, None, count, "share", count, CONFIDENCE, method), None
    low, high = bounds(told, count, CONFIDENCE)
    gain = Estimate(-math.expm1(ratio), -math.expm1(high), -math.expm1(low), count, "share", 0, CONFIDENCE, method)
    return gain, p_value(told)


def objective_of(runs: RunSet, measure: str, seed: int) -> Estimate:
    """Return an objective over the runs; over scenarios with the interval of resampled seeds."""
    if not isinstance(runs, ScenarioRuns):
        return runs.measure(measure)
    count = len(runs.rows)
    values = objective(runs, measure, np.vstack([np.arange(count)[None, :], seed_draws(count, seed)]))
    return _resampled(values if not _is_higher(measure) else 1 - values, measure, count)


def objective_change(current: RunSet, proposed: RunSet, measure: str, seed: int) -> Estimate:
    """Return proposed - current of an objective: per seed, or over scenarios by resampled pairs of seeds."""
    if not isinstance(current, ScenarioRuns):
        return difference(current, proposed, measure, seed)
    count = len(current.rows)
    draws = np.vstack([np.arange(count)[None, :], seed_draws(count, seed)])
    values = objective(proposed, measure, draws) - objective(current, measure, draws)
    return _resampled(-values if _is_higher(measure) else values, measure, count)


def _is_higher(measure: str) -> bool:
    return METRICS[split_measure(measure)[0]].direction == "higher"


def _resampled(values: Values, measure: str, count: int) -> Estimate:
    """Return the first value with the interval of the others."""
    unit = METRICS[split_measure(measure)[0]].unit
    method = f"over scenarios, bootstrap of seeds, {RESAMPLES} resamples"
    told = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or len(told) < RESAMPLES * 0.99:
        return Estimate(None, None, None, count, unit, count, CONFIDENCE, method)
    low, high = bounds(told, count, CONFIDENCE)
    return Estimate(float(values[0]), low, high, count, unit, 0, CONFIDENCE, method)


@dataclass(frozen=True, slots=True)
class Cost:
    """A measure that is worse with the proposed settings, though nothing was asked about it."""

    measure: str
    difference: Estimate
    p_adjusted: float

    def as_json(self) -> dict[str, Any]:
        """Return one entry of `costs`."""
        return {"measure": self.measure, "difference": asdict(self.difference), "p_adjusted": self.p_adjusted}


def costs(current: Candidate, proposed: Candidate, tune: Tune, seed: int) -> list[Cost]:
    """Return the metrics nobody asked about that are worse on fresh seeds, corrected for all that were looked at."""
    assert current.runs is not None and proposed.runs is not None
    asked = {split_measure(measure)[0] for measure in tune.minimise}
    looked: list[tuple[str, str, float]] = []
    befores = parts_of(current.runs)
    for scenario, part in parts_of(proposed.runs).items():
        for name in METRICS:
            if name in asked or METRICS[name].direction not in ("lower", "higher"):
                continue
            before = {row.seed: row.values.get(name, UNDEFINED) for row in befores[scenario].rows}
            after = {row.seed: row.values.get(name, UNDEFINED) for row in part.rows}
            p = paired_p_value(before, after, key=seed)
            if p is not None:
                looked.append((name, scenario, p))
    found = []
    for (name, scenario, _), adjusted in zip(looked, holm([p for _, _, p in looked]), strict=True):
        if adjusted > 1 - CONFIDENCE:
            continue
        change = difference(befores[scenario], parts_of(proposed.runs)[scenario], name, seed)
        worse = (change.value or 0.0) * (1 if METRICS[name].direction == "lower" else -1) > 0
        if worse:
            found.append(Cost(in_scenario_text(name, scenario), change, adjusted))
    return found


def difference(current: RunSet, proposed: RunSet, measure: str, seed: int) -> Estimate:
    """Return proposed - current per seed: mean of the paired differences."""
    name, _ = split_measure(measure)
    before = {row.seed: row.values.get(name, UNDEFINED) for row in current.rows}
    after = {row.seed: row.values.get(name, UNDEFINED) for row in proposed.rows}
    return paired_difference(before, after, unit=METRICS[name].unit, key=seed)
