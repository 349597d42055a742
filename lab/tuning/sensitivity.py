"""What each parameter does: a what-if table and a safe range around the recommended settings, and elementary effects
over the whole space. Everything is run under common seeds, so small differences can be told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any

from lab.core import draws
from lab.metrics.estimate import Estimate
from lab.spec.schema import Experiment, Tune
from lab.spec.space import Parameter, grid, override, parse_space, share_of
from lab.tuning.candidate import Candidate, Run, evaluate, extend, first_runs, losses
from lab.tuning.confirm import relative_gain
from lab.tuning.propose import at_share
from lab.tuning.resample import floors

TOLERANCE = 0.05  # a setting is safe while the objectives are at most this much worse
GRID = 7
HALVINGS = 2
TRAJECTORIES = 4
LEVELS = 4
STEP = LEVELS / (2 * (LEVELS - 1))  # Morris' step, 2/3 of the range
MORRIS_DRAW = 104


@dataclass(frozen=True, slots=True)
class WhatIf:
    """One parameter at another value, all others as recommended. `worse`: by which share the objectives rise."""

    value: str
    worse: Estimate | None
    broken: list[str]
    possible: bool = True

    @property
    def safe(self) -> bool:
        """Whether the objectives rise by at most the tolerance and every condition holds."""
        return self.possible and not self.broken and (self.worse is not None and (self.worse.value or 0.0) <= TOLERANCE)

    def as_json(self) -> dict[str, Any]:
        """Return one row of the what-if table."""
        worse = asdict(self.worse) if self.worse else None
        return {
            "value": self.value,
            "worse": worse,
            "breaks": self.broken,
            "possible": self.possible,
            "safe": self.safe,
        }


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What one parameter does. `safe` are the lowest and highest safe value around the recommended one if it
    `is_range`, else the safe choices.

    `effect` is the mean size, `spread` the standard deviation of Morris' elementary effects: the change of the
    logarithm of the objectives for a move through the whole range; a spread near the effect says that it depends on the
    others.
    """

    path: str
    recommended: str
    what_if: list[WhatIf]
    safe: list[str]
    is_range: bool
    effect: float | None
    spread: float | None

    def as_json(self) -> dict[str, Any]:
        """Return one entry of `sensitivity`."""
        return {
            "path": self.path,
            "recommended": self.recommended,
            "safe_range": self.safe,
            "is_range": self.is_range,
            "tolerance": TOLERANCE,
            "effect": self.effect,
            "spread": self.spread,
            "what_if": [row.as_json() for row in self.what_if],
        }


def sensitivities(tune: Tune, chosen: Candidate, seeds: Sequence[int], run: Run, key: int) -> list[Sensitivity]:
    """Return what each parameter does around `chosen`, whose runs begin with `seeds`."""
    assert chosen.runs is not None
    reference = Candidate(chosen.values, chosen.experiment, runs=first_runs(chosen.runs, len(seeds)))
    space = parse_space(tune, chosen.experiment)
    assert reference.runs is not None
    least = floors(losses(reference.runs, tune.minimise))
    effects = elementary_effects(space, chosen.experiment, least, seeds, run, key)
    found = []
    for parameter in space:

        def what_if(value: str, parameter: Parameter = parameter) -> WhatIf:
            return _what_if(reference, parameter, value, tune, seeds, run, key)

        rows = _refined(parameter, [what_if(value) for value in _values(parameter, chosen)], what_if)
        spread = effects[parameter.path]
        found.append(
            Sensitivity(
                parameter.path,
                chosen.values[parameter.path],
                rows,
                _safe(parameter, rows, chosen.values[parameter.path]),
                parameter.kind != "choice",
                fmean(map(abs, spread)) if spread else None,
                pstdev(spread) if spread else None,
            )
        )
    return found


def _refined(parameter: Parameter, rows: list[WhatIf], what_if: Callable[[str], WhatIf]) -> list[WhatIf]:
    """Return the rows of a range with more of them where safe values end: each end is halved `HALVINGS` times."""
    if parameter.kind == "choice":
        return rows
    for _ in range(HALVINGS):
        known = {row.value for row in rows}
        ends = [(a, b) for a, b in pairwise(rows) if a.safe != b.safe]
        shares = [(share_of(parameter, a.value) + share_of(parameter, b.value)) / 2 for a, b in ends]
        values = dict.fromkeys(value for share in shares if (value := at_share(parameter, share)) not in known)
        rows = sorted((*rows, *map(what_if, values)), key=lambda row: share_of(parameter, row.value))
    return rows


def _values(parameter: Parameter, chosen: Candidate) -> list[str]:
    """Return an even grid with the recommended value in its place."""
    own = chosen.values[parameter.path]
    values = grid(parameter, GRID)
    if own not in values and own != "null":
        values = sorted((*values, own), key=lambda text: share_of(parameter, text))
    return values


def _what_if(
    reference: Candidate, parameter: Parameter, value: str, tune: Tune, seeds: Sequence[int], run: Run, key: int
) -> WhatIf:
    if value == reference.values[parameter.path]:
        return WhatIf(value, Estimate(0.0, 0.0, 0.0, len(seeds), "share", 0, 0.95, "the recommended value"), [])
    values = reference.values | {parameter.path: value}
    try:
        candidate = Candidate(values, override(reference.experiment, values))
    except ValueError:
        return WhatIf(value, None, [], possible=False)
    extend(candidate, seeds, run)
    evaluate(candidate, reference, tune)
    assert candidate.runs is not None and reference.runs is not None
    # The share lost when leaving the recommended settings is the gain of going there, with its sign turned.
    gain, _ = relative_gain(reference.runs, candidate.runs, tune.minimise, key)
    turned = [None if bound is None else -bound for bound in (gain.value, gain.high, gain.low)]
    worse = Estimate(turned[0], turned[1], turned[2], gain.n, "share", gain.censored, gain.confidence, gain.method)
    return WhatIf(value, worse if worse.value is not None else None, candidate.broken)


def _safe(parameter: Parameter, rows: Sequence[WhatIf], own: str) -> list[str]:
    """Return the safe choices, or [lowest, highest] of the unbroken stretch of safe values around the recommended."""
    if parameter.kind == "choice":
        return [row.value for row in rows if row.safe]
    place = next((index for index, row in enumerate(rows) if row.value == own), None)
    if place is None:
        return []
    low = high = place
    while low > 0 and rows[low - 1].safe:
        low -= 1
    while high + 1 < len(rows) and rows[high + 1].safe:
        high += 1
    return [rows[low].value, rows[high].value]


def elementary_effects(
    space: Sequence[Parameter],
    experiment: Experiment,
    least: Mapping[str, float],
    seeds: Sequence[int],
    run: Run,
    key: int,
) -> dict[str, list[float]]:
    """Return each parameter's elementary effects (Morris 1991): trajectories through a grid of 4 levels a range, one
    parameter moved at a time by 2/3 of its range, the change of the log of the objectives divided by the step. `least`
    maps each objective to the least number that it counts as.
    """
    found: dict[str, list[float]] = {parameter.path: [] for parameter in space}
    for trajectory in range(TRAJECTORIES):
        luck = draws.chain(key, MORRIS_DRAW, trajectory)
        shares = [(draws.mix(luck, index) % (LEVELS // 2)) / (LEVELS - 1) for index in range(len(space))]
        turns = sorted(range(len(space)), key=lambda index, luck=luck: draws.chain(luck, 1, index))  # type: ignore[misc]
        before = _log_objectives(space, shares, experiment, least, seeds, run)
        for index in turns:
            shares[index] += STEP
            after = _log_objectives(space, shares, experiment, least, seeds, run)
            if before is not None and after is not None:
                found[space[index].path].append((after - before) / STEP)
            before = after
    return found


def _log_objectives(
    space: Sequence[Parameter],
    shares: Sequence[float],
    experiment: Experiment,
    least: Mapping[str, float],
    seeds: Sequence[int],
    run: Run,
) -> float | None:
    """Return the mean log of the objectives at a point; None where settings contradict or an objective is not told."""
    values = {parameter.path: at_share(parameter, share) for parameter, share in zip(space, shares, strict=True)}
    try:
        runs = run(override(experiment, values), seeds)
    except ValueError:
        return None
    told = losses(runs, least)
    if None in told.values():
        return None
    return fmean(math.log(max(value, least[measure])) for measure, value in told.items() if value is not None)
