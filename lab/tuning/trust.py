"""How near the simulator was to containers when it was last calibrated, said with every recommendation that rests on it
alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lab.run import CHANGELOG
from lab.spec.scenarios import scenarios
from lab.spec.schema import Experiment
from lab.tuning.confirm import GAIN
from lab.tuning.recommend import Recommendation

FILE = Path("data/calibration/table.json")  # where `lab calibrate --table` puts it, beside experiments
SCHEMA = "driftlab.calibration/1"
UNCALIBRATED = "uncalibrated"
ERROR_MAX = 0.25  # of the median of convergence: beyond, the simulator is not believed
CALM = "none"
COMMAND = "lab calibrate --table"


@dataclass(frozen=True, slots=True)
class Trust:
    """What the last calibration says about an experiment.

    `error` is the greatest difference of the median of convergence, simulator against containers, as a share, among the
    rows of the faults of the experiment and its scenarios, and `kind` that row's fault; None where nothing is known.
    `inside` of `rows` were within every limit; `uncovered` are faults without a row.
    """

    sentence: str
    date: str | None = None
    error: float | None = None
    kind: str | None = None
    inside: int = 0
    rows: int = 0
    uncovered: tuple[str, ...] = ()

    @property
    def is_refused(self) -> bool:
        """Whether the simulator was too far from containers to recommend anything by it."""
        return self.error is not None and abs(self.error) > ERROR_MAX

    def as_json(self) -> dict[str, Any]:
        """Return the object `calibration` of the recommendation."""
        return {**asdict(self), "uncovered": list(self.uncovered)}


def last_calibration(experiment: Experiment, folder: Path) -> Trust:
    """Return what the calibration stored below `folder`, that of the experiment's file, says about the experiment.

    A file that is missing, broken or of another schema says that nothing is known.
    """
    unknown = f"How near the simulator is to real replicas is not known here: `{COMMAND}` measures it."
    if experiment.system.protocol != CHANGELOG:
        return Trust(f"Nothing calibrates the simulator for the protocol {experiment.system.protocol}.")
    try:
        found = json.loads((folder / FILE).read_text())
        if found["schema"] != SCHEMA:
            return Trust(unknown)
        return _of_rows(experiment, found)
    except (OSError, ValueError, KeyError, TypeError):
        return Trust(unknown)


def _of_rows(experiment: Experiment, found: dict[str, Any]) -> Trust:
    worlds = [experiment, *scenarios(experiment).values()]
    kinds = {fault.kind for world in worlds for fault in world.faults} | {CALM}
    rows = [row for row in found["rows"] if row["kind"] in kinds and row["convergence"]]
    uncovered = tuple(sorted(kinds - {row["kind"] for row in rows} - {CALM}))
    errors = [(float(row["convergence"]["median_difference"]), str(row["kind"])) for row in rows]
    if not errors:
        return Trust(f"The last calibration has no row for this experiment: `{COMMAND}` measures it.")
    error, kind = max(errors, key=lambda pair: abs(pair[0]))
    inside = sum(row["verdict"] == "inside" for row in rows)
    system = found["system"]
    text = (
        f"Last calibration ({found['date']}; {', '.join(system['replicas'].values())}; wire {system['wire']}; "
        f"{system['arrivals']}): the median of convergence off by at most {error:+.1%} "
        f"({'no fault' if kind == CALM else kind}), {inside} of {len(rows)} rows within all limits."
    )
    if uncovered:
        text += f" It has no row for {', '.join(uncovered)}."
    return Trust(text, found["date"], error, kind, inside, len(rows), uncovered)


def weigh(found: Recommendation, trust: Trust) -> Recommendation:
    """Return the recommendation with the last calibration; refused where the simulator was too far off, unless
    containers were asked about it, which says more.
    """
    if found.contained is not None or not trust.is_refused or found.confirmation.status != GAIN:
        return replace(found, trust=trust)
    text = (
        f"The simulator shows a gain, but when last calibrated it was off by {trust.error:+.0%} ({trust.kind}): "
        "keep the current settings, or ask containers with --confirm containers."
    )
    return replace(found, trust=trust, confirmation=replace(found.confirmation, status=UNCALIBRATED, sentence=text))
