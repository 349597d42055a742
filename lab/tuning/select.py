"""Ranking and selection: which finalist, and how sure.

A choice is correct if no other finalist is better by more than the indifference zone. Its probability is the share of
resampled seeds (the same for all finalists) in which that holds. More seeds are run until it reaches the target or the
limit is met; the target is shared among the looks (Bonferroni), since each look is a chance to stop too early.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.tuning.candidate import Candidate, careful_order
from lab.tuning.resample import floors, log_losses, seed_draws
from lab.tuning.search import Race

INDIFFERENCE = 0.01  # a difference of one percent of the objectives does not matter
PROBABILITY = 0.95
HOPELESS = 0.002  # a finalist with less chance gets no more seeds; its chance stays in the stated error
LOOKS = (1, 2, 4)  # multiples of tune.seeds


@dataclass(frozen=True, slots=True)
class Selection:
    """How the proposal was chosen. `probability` that no other finalist is better by more than `indifference` (a
    share); None if an objective cannot be told.
    """

    finalists: int
    seeds: int
    probability: float | None
    indifference: float = INDIFFERENCE
    target: float = PROBABILITY

    @property
    def reached(self) -> bool:
        """Whether the stated probability reaches the target."""
        return self.probability is not None and self.probability >= self.target

    def as_json(self) -> dict[str, Any]:
        """Return the `selection` object of a recommendation."""
        return {
            "finalists": self.finalists,
            "seeds": self.seeds,
            "probability_correct": self.probability,
            "target": self.target,
            "indifference_zone": self.indifference,
            "reached": self.reached,
        }


def select(race: Race, finalists: Sequence[Candidate], seed: int) -> tuple[Candidate, Selection]:
    """Return the best of the finalists and the current settings, running more seeds while the choice is open."""
    needed = 1 - (1 - PROBABILITY) / len(LOOKS)
    alive, chosen, dropped = list(finalists), race.current, 0.0
    selection = Selection(len(alive) + 1, race.tune.seeds, None)
    for look in LOOKS:
        seeds = look * race.tune.seeds
        race.extend(alive, seeds, "choosing")
        contenders = [c for c in (race.current, *alive) if c.feasible and c.score is not None]
        if not contenders:
            return race.current, selection
        chosen = min(contenders, key=careful_order)
        rivals = [c for c in contenders if c is not chosen and bool(c.doubtful) == bool(chosen.doubtful)]
        beaten = chances(chosen, rivals, floors(race.current.objectives), seed)
        certain = None if beaten is None else max(0.0, 1 - float(beaten.any(axis=0).mean()) - dropped)
        selection = Selection(len(finalists) + 1, seeds, certain)
        if beaten is None or certain is None:
            continue
        if certain >= needed or race.meter.spent:
            break
        alive = [c for c in alive if c is chosen or (c in rivals and beaten[rivals.index(c)].mean() > HOPELESS)]
        dropped += sum(chance for chance in beaten.mean(axis=1).tolist() if chance <= HOPELESS)
    return chosen, selection


def chances(
    chosen: Candidate, rivals: Sequence[Candidate], least: Mapping[str, float], seed: int
) -> NDArray[np.bool_] | None:
    """Return (rivals, resamples): where each rival is better than the chosen one by more than the zone.

    None if the chosen one's objectives cannot be told.
    """
    assert chosen.runs is not None
    count = len(chosen.runs.rows)
    draws = seed_draws(count, seed)
    own = log_losses(chosen.runs, least, draws)
    if np.isnan(own).mean() > 0.01:
        return None
    beaten = np.zeros((len(rivals), len(draws)), dtype=np.bool_)
    for row, rival in enumerate(rivals):
        assert rival.runs is not None
        # Where the rival cannot be told in a resample, it does not beat the chosen one there.
        beaten[row] = log_losses(rival.runs, least, draws) < own + math.log1p(-INDIFFERENCE)
    return beaten
