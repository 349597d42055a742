"""Confirmation on real replicas: the proposal against the current settings there, predicted against measured.

A pair is a block: both settings under one seed, one after the other, in an order drawn from the seed, so that whatever
drifts on the machine meets both alike (randomised blocks, Fisher 1935).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lab.core import draws
from lab.metrics.estimate import Estimate
from lab.run import RunSet
from lab.spec.schema import Tune
from lab.tuning.candidate import Candidate, evaluate
from lab.tuning.confirm import GAIN, PAIRS_MIN, objective_change, relative_gain
from lab.tuning.kinds import Progress, Run
from lab.tuning.recommend import Recommendation
from lab.tuning.robust import append, over_scenarios, parts_of

CONFIRMED, CONTRADICTED, UNCERTAIN = "confirmed", "contradicted", "uncertain"
PAIRS = 20
SEED_OFFSET = 2_000_000  # seeds that neither the search nor its confirmation met
ORDER = 1


def agrees(predicted: Estimate, measured: Estimate) -> bool | None:
    """Return whether the measured interval holds what was predicted; None where either is not told."""
    value, low, high = predicted.value, measured.low, measured.high
    return None if value is None or low is None or high is None else low <= value <= high


@dataclass(frozen=True, slots=True)
class Objective:
    """Proposed - current of one measure, on the simulator and on containers, paired by seed."""

    measure: str
    predicted: Estimate
    measured: Estimate

    @property
    def agrees(self) -> bool | None:
        """Whether the measured interval holds what was predicted; None where either is not told."""
        return agrees(self.predicted, self.measured)

    def as_json(self) -> dict[str, Any]:
        """Return one entry of `objectives`."""
        told = self.predicted.value is not None and self.measured.value is not None
        error = (self.measured.value or 0.0) - (self.predicted.value or 0.0) if told else None
        return {
            "measure": self.measure, "predicted": asdict(self.predicted), "measured": asdict(self.measured),
            "error": error, "agrees": self.agrees,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contained:
    """What containers say about a recommendation. `dropped` says why pairs could not be judged; `broken` are the
    conditions that the proposal breaks there.
    """

    status: str
    sentence: str
    predicted: Estimate
    measured: Estimate
    objectives: list[Objective]
    broken: list[str]
    pairs: int
    dropped: list[str]

    @property
    def error(self) -> float | None:
        """The calibration error: measured gain - predicted gain, as a share of the objectives."""
        if self.measured.value is None or self.predicted.value is None:
            return None
        return self.measured.value - self.predicted.value

    def as_json(self) -> dict[str, Any]:
        """Return the object `containers` of the recommendation."""
        return {
            "status": self.status, "sentence": self.sentence, "pairs": self.pairs, "dropped": self.dropped,
            "predicted": asdict(self.predicted), "measured": asdict(self.measured), "error": self.error,
            "agrees": agrees(self.predicted, self.measured),
            "objectives": [objective.as_json() for objective in self.objectives], "broken": self.broken,
        }  # fmt: skip


def needed(found: Recommendation) -> bool:
    """Return whether there is anything to confirm: a gain that the simulator shows."""
    return found.confirmation.status == GAIN


def contain(found: Recommendation, run: Run, *, pairs: int, first_seed: int, progress: Progress) -> Recommendation:
    """Return the recommendation with what containers say about it; where they contradict it, downgraded.

    `run` runs an experiment on seeds there. Without a gain to confirm nothing is run and it comes back as it is.
    """
    if not needed(found):
        return found
    seeds = range(first_seed + SEED_OFFSET, first_seed + SEED_OFFSET + pairs)
    everywhere = over_scenarios(run)
    before = Candidate(found.current.values, found.current.experiment, is_current=True)
    after = Candidate(found.proposed.values, found.proposed.experiment)
    dropped: list[str] = []
    for number, seed in enumerate(seeds):
        ran = _pair((before, after), seed, first_seed, everywhere)
        progress("confirming on containers, pairs", number + 1, pairs)
        wrong = [reason for one in ran for reason in _invalid(one)]
        if wrong:
            dropped.append(f"seed {seed}: {wrong[0]}")
            continue
        for candidate, fresh in zip((before, after), ran, strict=True):
            if candidate.runs is None:
                candidate.runs = fresh
            else:
                append(candidate.runs, fresh)
    contained = judged(found, before, after, dropped, first_seed)
    if contained.status != CONTRADICTED:
        return replace(found, contained=contained)
    confirmation = replace(found.confirmation, status=CONTRADICTED, sentence=contained.sentence)
    return replace(found, contained=contained, confirmation=confirmation)


def proposed_first(seed: int, first_seed: int) -> bool:
    """Return which setting of a pair runs first: a fair coin, keyed by both seeds."""
    return draws.below(draws.mix(draws.chain(first_seed, draws.RUN, seed), ORDER), 500_000) == 1


def _pair(both: Sequence[Candidate], seed: int, first_seed: int, run: Run) -> list[RunSet]:
    """Return the runs of (current, proposed) on one seed."""
    order = (1, 0) if proposed_first(seed, first_seed) else (0, 1)
    ran = {place: run(both[place].experiment, [seed]) for place in order}
    return [ran[0], ran[1]]


def _invalid(runs: RunSet) -> list[str]:
    rows = [row for part in parts_of(runs).values() for row in part.rows]
    found = [row.validities["invalid"] for row in rows if "invalid" in row.validities]
    return [validity.reason for validity in found if validity.valid is not True]


def judged(
    found: Recommendation, before: Candidate, after: Candidate, dropped: list[str], first_seed: int
) -> Contained:
    """Compare what was measured with what was predicted."""
    plan: Tune = found.tune
    predicted = found.confirmation.gain
    if before.runs is None or after.runs is None:
        nothing = Estimate(None, None, None, 0, "share", 0, predicted.confidence, "no pair could be judged")
        text = f"No pair of runs on containers could be judged: {dropped[0] if dropped else 'none was asked for'}."
        return Contained(UNCERTAIN, text, predicted, nothing, [], [], 0, dropped)
    evaluate(before, before, plan)
    evaluate(after, before, plan)
    measured, _ = relative_gain(before.runs, after.runs, plan.minimise, first_seed)
    objectives = [
        Objective(measure, difference, objective_change(before.runs, after.runs, measure, first_seed))
        for measure, _, _, difference in found.confirmation.objectives
    ]
    broken = [text for text in after.broken if text not in before.broken]
    pairs = len(before.runs.rows)
    status, sentence = decide(predicted, measured, broken, pairs)
    return Contained(status, sentence, predicted, measured, objectives, broken, pairs, dropped)


def decide(predicted: Estimate, measured: Estimate, broken: Sequence[str], pairs: int) -> tuple[str, str]:
    """Return (status, sentence).

    `confirmed`: the measured interval lies above 0. `contradicted`: it does not, and leaves out the prediction; or
    the proposal breaks a condition that the current settings keep. `uncertain`: it holds both, or pairs are too few.
    """
    keep = "Keep the current settings."
    if pairs < PAIRS_MIN:
        return UNCERTAIN, f"{pairs} pairs on containers say too little: at least {PAIRS_MIN} are needed."
    if broken:
        return CONTRADICTED, f"On containers the proposed settings break {broken[0]} ({pairs} pairs). {keep}"
    if measured.value is None or measured.low is None or measured.high is None or predicted.value is None:
        return UNCERTAIN, "An objective cannot be told on containers (runs did not converge): raise drain."
    interval = f"{measured.low:.0%} to {measured.high:.0%}, {pairs} pairs"
    if measured.low > 0:
        text = f"Confirmed on containers: {measured.value:.0%} lower ({interval}), predicted {predicted.value:.0%}."
        return CONFIRMED, text
    if predicted.value > measured.high or predicted.value < measured.low:
        text = f"Contradicted on containers: no gain shown ({interval}), though {predicted.value:.0%} was predicted."
        return CONTRADICTED, f"{text} {keep}"
    text = (
        f"Not told on containers: the gain lies between {interval}; predicted {predicted.value:.0%}. Give more pairs."
    )
    return UNCERTAIN, text
