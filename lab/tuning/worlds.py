"""The proposal against the current settings in each scenario alone, so that none is hidden behind the others."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lab.metrics import holm
from lab.metrics.estimate import Estimate
from lab.spec.schema import Tune
from lab.tuning.candidate import Candidate
from lab.tuning.confirm import relative_gain
from lab.tuning.robust import parts_of

LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class ScenarioGain:
    """The gain in one scenario. `is_worse`: fresh seeds show that the proposal is worse there; `looks_worse`: it was,
    but luck may have done it.
    """

    name: str
    gain: Estimate
    p_adjusted: float | None
    broken: list[str]

    @property
    def looks_worse(self) -> bool:
        """Whether the objectives rose there on the fresh seeds."""
        return self.gain.value is not None and self.gain.value < 0

    @property
    def is_worse(self) -> bool:
        """Whether they rose by more than luck does, corrected for the number of scenarios."""
        high = self.gain.high
        return high is not None and high < 0 and self.p_adjusted is not None and self.p_adjusted <= LEVEL

    def as_json(self) -> dict[str, Any]:
        """Return one entry of `scenarios`."""
        return {
            "name": self.name,
            "gain": asdict(self.gain),
            "p_adjusted": self.p_adjusted,
            "breaks": self.broken,
            "worse": self.is_worse,
            "looks_worse": self.looks_worse,
        }


def scenario_gains(current: Candidate, proposed: Candidate, tune: Tune, key: int) -> list[ScenarioGain]:
    """Return the gain in each scenario on the same fresh seeds; p-values are adjusted by Holm's method."""
    assert current.runs is not None and proposed.runs is not None
    if not tune.scenarios:
        return []
    before = parts_of(current.runs)
    found = []
    for name, after in parts_of(proposed.runs).items():
        gain, p = relative_gain(before[name], after, tune.minimise, key)
        found.append((name, gain, p, [text for text in proposed.broken if text.endswith(f" in {name}")]))
    adjusted = iter(holm([p for _, _, p, _ in found if p is not None]))
    return [ScenarioGain(name, gain, None if p is None else next(adjusted), broken) for name, gain, p, broken in found]


def scenario_warnings(gains: list[ScenarioGain]) -> list[str]:
    """Return a sentence for each kind of scenario in which the proposal is, or may be, worse."""
    worse = [f"{found.name} (by {-(found.gain.value or 0):.0%})" for found in gains if found.is_worse]
    maybe = [found.name for found in gains if found.looks_worse and not found.is_worse]
    texts = []
    if worse:
        texts.append(f"The proposed settings are worse than the current ones in: {', '.join(worse)}.")
    if maybe:
        texts.append(f"They may be worse in: {', '.join(maybe)}; the fresh seeds do not tell.")
    return texts
