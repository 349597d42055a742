"""The proposal against well-known presets, on the fresh seeds it was confirmed on, corrected for their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lab.metrics import holm
from lab.metrics.estimate import Estimate
from lab.spec.conditions import Space
from lab.spec.schema import Experiment, Tune
from lab.spec.space import override
from lab.tuning.candidate import Candidate, evaluate, extend
from lab.tuning.confirm import CONFIDENCE, relative_gain
from lab.tuning.kinds import Run
from lab.tuning.presets import PRESETS, Preset

LEVEL = 0.05
BETTER, WORSE, ALIKE, BREAKS, UNTOLD = "better", "worse", "no difference shown", "preset breaks a condition", "not told"
IMPOSSIBLE = "preset is not possible here"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The proposed settings against one preset. `gain` above 0: the proposal is that share better."""

    name: str
    preset: Preset
    gain: Estimate
    p_value: float | None
    p_adjusted: float | None
    broken: list[str]
    impossible: str = ""  # why the preset cannot be used here: it was not run

    @property
    def outcome(self) -> str:
        """Say what fresh seeds show about the proposal against the preset."""
        if self.impossible:
            return IMPOSSIBLE
        if self.broken:
            return BREAKS
        if self.gain.low is None or self.gain.high is None or self.p_adjusted is None:
            return UNTOLD
        if self.p_adjusted > LEVEL:
            return ALIKE
        return BETTER if self.gain.low > 0 else WORSE if self.gain.high < 0 else ALIKE

    def as_json(self) -> dict[str, Any]:
        """Return one entry of `presets`."""
        return {
            "name": self.name,
            "product": self.preset.product,
            "version": self.preset.version,
            "source": self.preset.source,
            "settings": self.preset.values,
            "left_out": self.preset.left_out,
            "gain": asdict(self.gain),
            "p_value": self.p_value,
            "p_adjusted": self.p_adjusted,
            "breaks": self.broken,
            "impossible": self.impossible,
            "outcome": self.outcome,
        }


def compare_presets(
    experiment: Experiment, tune: Tune, proposed: Candidate, seeds: Sequence[int], run: Run, key: int
) -> list[Comparison]:
    """Return the comparison with every preset. p-values are adjusted by Holm's method over all presets.

    A preset that contradicts the experiment's other settings, or breaks a constraint, is listed and not run. There is
    none for a protocol that does not read `policy.retry`.
    """
    assert proposed.runs is not None
    if not experiment.system.settings.accepts("policy.retry.attempts"):
        return []
    conditions, found, left = Space(tune, experiment), [], []
    for name, preset in PRESETS.items():
        try:
            candidate = Candidate(preset.values, override(experiment, preset.values))
            why = "; ".join(f"{text} does not hold" for text in conditions.broken(candidate.experiment))
        except ValueError as error:
            why = str(error)
        if why:
            nothing = Estimate(None, None, None, 0, "share", 0, CONFIDENCE, "not run")
            left.append(Comparison(name, preset, nothing, None, None, [], why))
            continue
        extend(candidate, seeds, run)
        assert candidate.runs is not None
        evaluate(candidate, proposed, tune)
        gain, p = relative_gain(candidate.runs, proposed.runs, tune.minimise, key)
        found.append((name, preset, gain, p, candidate.broken))
    told = [p for _, _, _, p, _ in found if p is not None]
    adjusted = iter(holm(told))
    return [
        Comparison(name, preset, gain, p, None if p is None else next(adjusted), broken)
        for name, preset, gain, p, broken in found
    ] + left
