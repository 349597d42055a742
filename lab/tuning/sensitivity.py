"""What each parameter does: a what-if table and a safe range around the recommended settings, and elementary effects
over the whole space. Everything is run under common seeds, so small differences can be told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any

from lab.core import draws
from lab.metrics.estimate import Estimate
from lab.spec.conditions import Space
from lab.spec.schema import Experiment, Tune
from lab.spec.space import Parameter, grid, share_of
from lab.tuning.candidate import Candidate, evaluate, extend, losses
from lab.tuning.confirm import relative_gain
from lab.tuning.kinds import Run
from lab.tuning.propose import at_share
from lab.tuning.resample import floors
from lab.tuning.robust import first_runs
from lab.tuning.sobol import SobolIndex, sobol_indices

TOLERANCE = 0.05  # a setting is safe while the objectives are at most this much worse
GRID = 7
HALVINGS = 2
TRAJECTORIES = 4
LEVELS = 4
STEP = LEVELS / (2 * (LEVELS - 1))  # Morris' step, 2/3 of the range
MORRIS_DRAW = 104
Value = Callable[[list[float]], float | None]  # of the shares of all ranges: what is minimised, as a logarithm


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
    others. `sobol` are its indices, where they were asked for. `asleep`: the condition for it to matter, which does not
    hold at the recommended settings; then there is no what-if table.
    """

    path: str
    recommended: str
    what_if: list[WhatIf]
    safe: list[str]
    is_range: bool
    effect: float | None
    spread: float | None
    sobol: SobolIndex | None = None
    asleep: str = ""

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
            "sobol": asdict(self.sobol) if self.sobol else None,
            "asleep": self.asleep,
            "what_if": [row.as_json() for row in self.what_if],
        }


def sensitivities(
    experiment: Experiment, tune: Tune, chosen: Candidate, seeds: Sequence[int], run: Run, key: int
) -> tuple[list[Sensitivity], str]:
    """Return what each parameter does around `chosen`, whose runs begin with `seeds`; and why there are no Sobol
    indices, if they were asked for.
    """
    assert chosen.runs is not None
    reference = Candidate(chosen.values, chosen.experiment, runs=first_runs(chosen.runs, len(seeds)))
    space = Space(tune, experiment)
    assert reference.runs is not None
    least = floors(losses(reference.runs, tune.minimise))
    value = partial(_log_objectives, space, least, seeds, run)
    effects = elementary_effects(space.parameters, value, key)
    found = sobol_indices(len(space.parameters), tune.sobol, key, value) if tune.sobol else []
    note, indices = (found, []) if isinstance(found, str) else ("", found)
    asleep, rows = space.asleep(chosen.values), []
    for number, parameter in enumerate(space.parameters):

        def what_if(text: str, parameter: Parameter = parameter) -> WhatIf:
            return _what_if(reference, space, parameter, text, tune, seeds, run, key)

        own, why = chosen.values[parameter.path], asleep.get(parameter.path, "")
        tried = [] if why else _refined(parameter, [what_if(text) for text in _values(parameter, chosen)], what_if)
        spread = effects[parameter.path]
        rows.append(
            Sensitivity(
                parameter.path,
                own,
                tried,
                _safe(parameter, tried, own),
                parameter.kind != "choice",
                fmean(map(abs, spread)) if spread else None,
                pstdev(spread) if spread else None,
                indices[number] if indices else None,
                why,
            )
        )
    return rows, f"No Sobol indices: {note}." if note else ""


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
    reference: Candidate,
    space: Space,
    parameter: Parameter,
    value: str,
    tune: Tune,
    seeds: Sequence[int],
    run: Run,
    key: int,
) -> WhatIf:
    if value == reference.values[parameter.path]:
        return WhatIf(value, Estimate(0.0, 0.0, 0.0, len(seeds), "share", 0, 0.95, "the recommended value"), [])
    values = reference.values | {parameter.path: value}
    try:
        candidate = Candidate(values, space.build(values))
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


def elementary_effects(space: Sequence[Parameter], value: Value, key: int) -> dict[str, list[float]]:
    """Return each parameter's elementary effects (Morris 1991): trajectories through a grid of 4 levels a range, one
    parameter moved at a time by 2/3 of its range, the change of `value` divided by the step. What cannot be told is
    left out.
    """
    found: dict[str, list[float]] = {parameter.path: [] for parameter in space}
    for trajectory in range(TRAJECTORIES):
        luck = draws.chain(key, MORRIS_DRAW, trajectory)
        shares = [(draws.mix(luck, index) % (LEVELS // 2)) / (LEVELS - 1) for index in range(len(space))]
        turns = sorted(range(len(space)), key=lambda index, luck=luck: draws.chain(luck, 1, index))  # type: ignore[misc]
        before = value(shares)
        for index in turns:
            shares[index] += STEP
            after = value(shares)
            if before is not None and after is not None:
                found[space[index].path].append((after - before) / STEP)
            before = after
    return found


def _log_objectives(
    space: Space, least: Mapping[str, float], seeds: Sequence[int], run: Run, shares: Sequence[float]
) -> float | None:
    """Return the mean log of the objectives at a point; None where settings contradict or an objective is not told.

    `least` maps each objective to the least number that it counts as.
    """
    pairs = zip(space.parameters, shares, strict=True)
    try:
        runs = run(space.build({parameter.path: at_share(parameter, share) for parameter, share in pairs}), seeds)
    except ValueError:
        return None
    told = losses(runs, least)
    if None in told.values():
        return None
    return fmean(math.log(max(value, least[measure])) for measure, value in told.items() if value is not None)
