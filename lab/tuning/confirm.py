"""Confirmation: the proposal against the current settings on fresh seeds, paired, with intervals. Only these numbers
are printed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.metrics import METRICS, paired_difference, split_measure
from lab.metrics.estimate import Estimate, RunValue
from lab.metrics.ranks import rank_of
from lab.run import RunSet
from lab.spec.schema import Tune
from lab.tuning.search import FLOOR, Candidate, evaluate, loss

GAIN, NO_GAIN, INSUFFICIENT = "gain", "no_gain", "insufficient"
RESAMPLES = 2000
CONFIDENCE = 0.95
WORTH = 0.01  # a gain below one percent is none
WIDE = 0.25  # an interval wider than this, and around 0, says too little
PAIRS_MIN = 10


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What fresh seeds say. `gain` is 1 - score as a share, with a 95 % interval over resampled seed pairs."""

    status: str
    sentence: str
    gain: Estimate
    objectives: list[tuple[str, Estimate, Estimate, Estimate]]
    broken: list[str]


def confirm(current: Candidate, proposed: Candidate, tune: Tune, seed: int) -> Confirmation:
    """Judge two candidates whose `runs` are on the same fresh seeds."""
    assert current.runs is not None and proposed.runs is not None
    evaluate(current, current, tune)
    evaluate(proposed, current, tune)
    gain = _gain(current.runs, proposed.runs, tune.minimise, seed)
    objectives = [
        (
            measure,
            current.runs.measure(measure),
            proposed.runs.measure(measure),
            _difference(current.runs, proposed.runs, measure, seed),
        )
        for measure in tune.minimise
    ]
    status, sentence = _decide(gain, proposed, gain.n)
    return Confirmation(status, sentence, gain, objectives, proposed.broken)


def _decide(gain: Estimate, proposed: Candidate, pairs: int) -> tuple[str, str]:
    if not proposed.feasible:
        return NO_GAIN, f"On fresh seeds the best setting found breaks {proposed.broken[0]}: keep the current settings."
    if gain.value is None or gain.low is None or gain.high is None:
        return (
            INSUFFICIENT,
            "An objective cannot be told on the fresh seeds (runs did not converge): raise drain or seeds.",
        )
    if pairs < PAIRS_MIN:
        return INSUFFICIENT, f"Only {pairs} pairs of runs: at least {PAIRS_MIN} are needed."
    if gain.low > 0 and gain.value >= WORTH:
        return GAIN, (
            f"The proposed settings lower the objectives by {gain.value:.0%} "
            f"({gain.low:.0%} to {gain.high:.0%}, {pairs} fresh seeds)."
        )
    if gain.high - gain.low > WIDE and gain.high > WORTH:
        needed = math.ceil(pairs * ((gain.high - gain.low) / WIDE) ** 2)
        return INSUFFICIENT, (
            f"The gain lies between {gain.low:.0%} and {gain.high:.0%}: not enough evidence; "
            f"about {needed} seeds would narrow it."
        )
    return (
        NO_GAIN,
        f"No gain shown: between {gain.low:.0%} and {gain.high:.0%} on {pairs} fresh seeds. Keep the current settings.",
    )


def _gain(current: RunSet, proposed: RunSet, measures: Sequence[str], seed: int) -> Estimate:
    """Return 1 - geometric mean of objective ratios, with a percentile bootstrap over seed pairs."""
    import numpy as np

    pairs = _paired(current, proposed)
    generator = np.random.Generator(np.random.Philox(key=seed))
    point = _score(pairs, measures, range(len(pairs)))
    draws = [_score(pairs, measures, generator.integers(0, len(pairs), len(pairs)).tolist()) for _ in range(RESAMPLES)]
    told = sorted(1 - value for value in draws if value is not None)
    method = f"paired bootstrap of seeds, {RESAMPLES} resamples"
    if point is None or len(told) < RESAMPLES * 0.99:
        return Estimate(None, None, None, len(pairs), "share", len(pairs), CONFIDENCE, method)
    tail = (1 - CONFIDENCE) / 2
    low, high = told[int(tail * len(told))], told[min(len(told) - 1, int((1 - tail) * len(told)))]
    return Estimate(1 - point, low, high, len(pairs), "share", 0, CONFIDENCE, method)


Pair = tuple[Mapping[str, RunValue], Mapping[str, RunValue]]


def _paired(current: RunSet, proposed: RunSet) -> list[Pair]:
    theirs = {row.seed: row.values for row in proposed.rows}
    return [(row.values, theirs[row.seed]) for row in current.rows if row.seed in theirs]


def _score(pairs: Sequence[Pair], measures: Sequence[str], chosen: Sequence[int]) -> float | None:
    total = 0.0
    for measure in measures:
        base = _aggregate([pairs[index][0] for index in chosen], measure)
        value = _aggregate([pairs[index][1] for index in chosen], measure)
        if base is None or value is None:
            return None
        total += math.log((value + FLOOR) / (base + FLOOR))
    return math.exp(total / len(measures))


def _aggregate(rows: Sequence[Mapping[str, RunValue]], measure: str) -> float | None:
    """Return the point value of a measure over rows, as a loss; None if it is not told or lies among censored runs."""
    name, aggregate = split_measure(measure)
    values = [row[name] for row in rows if name in row and row[name].value is not None]
    return loss(measure, point_value(values, aggregate)) if values else None


def point_value(values: Sequence[RunValue], aggregate: str) -> float | None:
    """Return an aggregate of run values without an interval (the resampling calls it thousands of times).

    Censored runs count as later than every other: a quantile among them is not told, and neither is a mean with any.
    """
    known = sorted(value.value for value in values if value.value is not None and not value.censored)
    if aggregate.startswith("p"):
        rank = rank_of(int(aggregate[1:]) / 100, len(values))
        return known[rank - 1] if rank <= len(known) else None
    if len(known) < len(values):
        return None
    if aggregate == "max":
        return known[-1]
    if aggregate == "min":
        return known[0]
    return sum(known) / (1 if aggregate == "total" else len(known))


def _difference(current: RunSet, proposed: RunSet, measure: str, seed: int) -> Estimate:
    """Return proposed - current per seed: mean of the paired differences."""
    name, _ = split_measure(measure)
    before = {row.seed: row.values[name] for row in current.rows}
    after = {row.seed: row.values[name] for row in proposed.rows}
    return paired_difference(before, after, unit=METRICS[name].unit, key=seed)
