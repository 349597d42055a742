"""The recommendation: search, choose, confirm on fresh seeds, and say it so that it can be pasted, or refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lab.run import RunSet, measure
from lab.spec.document import resolved
from lab.spec.schema import Experiment, Tune
from lab.tuning.candidate import Candidate, Progress, Run
from lab.tuning.compare import WORSE, Comparison, compare_presets
from lab.tuning.confirm import GAIN, PAIRS_MIN, Confirmation, Cost, confirm, costs
from lab.tuning.front import measured_front
from lab.tuning.journal import Journal
from lab.tuning.search import Race, ranked, search
from lab.tuning.select import Selection, select
from lab.tuning.sensitivity import Sensitivity, sensitivities
from lab.tuning.snippets import notes, snippets

FRESH_SEED_OFFSET = 1_000_000  # confirmation seeds lie this far beyond the search's, so that none is met twice


@dataclass(slots=True)
class Recommendation:
    """The result of `lab tune`."""

    confirmation: Confirmation
    current: Candidate
    proposed: Candidate
    ranked: list[Candidate]
    tune: Tune
    selection: Selection
    finalists: list[Candidate]
    front: list[Candidate]
    presets: list[Comparison]
    costs: list[Cost]
    sensitivity: list[Sensitivity]

    @property
    def recommended(self) -> Candidate:
        """The settings to run: the proposed ones if a gain is shown, else the current ones."""
        return self.proposed if self.confirmation.status == GAIN else self.current

    def as_json(self) -> dict[str, Any]:
        """Return the `recommendation` object of `lab tune --json`."""
        found = self.confirmation
        assert self.current.runs is not None
        return {
            "status": found.status,
            "sentence": found.sentence,
            "current": self.current.values,
            "proposed": self.proposed.values,
            "gain": asdict(found.gain),
            "p_value": found.p_value,
            "seeds_needed": found.needed,
            "objectives": [
                {"measure": measure, "current": asdict(a), "proposed": asdict(b), "difference": asdict(difference)}
                for measure, a, b, difference in found.objectives
            ],
            "constraints": [{"claim": text, "holds": text not in found.broken} for text in self.tune.subject_to],
            "costs": [cost.as_json() for cost in self.costs],
            "selection": self.selection.as_json(),
            "presets": [comparison.as_json() for comparison in self.presets],
            "sensitivity": [row.as_json() for row in self.sensitivity],
            "front": [_point_json(candidate) for candidate in self.front],
            "assumes": assumptions(self.current.experiment),
            "warnings": self._warnings(),
            "seeds": {"search": self.tune.seeds, "confirm": len(self.current.runs.rows)},
            "snippets": snippets(self.recommended.experiment, self.recommended.values),
            "snippet_notes": notes(),
        }

    def _warnings(self) -> list[str]:
        found = [
            f"The preset {comparison.name} is better than the proposed settings: search again with its values in range."
            for comparison in self.presets
            if comparison.outcome == WORSE
        ]
        if self.selection.probability is not None and not self.selection.reached:
            found.append(
                f"The finalists are close: the chosen one is within {self.selection.indifference:.0%} of the best of "
                f"them with probability {self.selection.probability:.0%}, below {self.selection.target:.0%}."
            )
        return found

    def candidates_json(self) -> list[dict[str, Any]]:
        """Return every candidate of the search, those with most seeds first, then the best."""
        members = {id(candidate) for candidate in self.front}
        return [
            _point_json(candidate)
            | {
                "score": candidate.score,
                "feasible": candidate.feasible,
                "stage": candidate.stage,
                "current": candidate.is_current,
                "front": id(candidate) in members,
            }
            for candidate in self.ranked
        ]


def _point_json(candidate: Candidate) -> dict[str, Any]:
    return {"values": candidate.values, "objectives": candidate.objectives, "seeds": candidate.run_count}


def tune(
    experiment: Experiment, run: Run, *, first_seed: int, progress: Progress, known: Run | None = None
) -> Recommendation:
    """Search and confirm. `run` runs an experiment on given seeds; the experiment must have a `tune` section.

    `known`, if given, does the same for all but the two settings that are confirmed, and may remember runs; only
    `values` of its rows are read.
    """
    plan = experiment.tune
    assert plan is not None
    light = known or run
    race = Race(experiment, plan, light, first_seed, progress)
    finalists = search(race)
    winner, selection = select(race, finalists, first_seed)
    front = measured_front(race) if len(plan.minimise) > 1 else []
    fresh = range(first_seed + FRESH_SEED_OFFSET, first_seed + FRESH_SEED_OFFSET + plan.confirm_seeds)
    current = _fresh(race.current, fresh, run)
    progress("confirming on fresh seeds", 1, 4)
    proposed = current if winner.is_current else _fresh(winner, fresh, run)
    progress("confirming on fresh seeds", 2, 4)
    confirmation = confirm(current, proposed, plan, first_seed)
    presets = compare_presets(experiment, plan, proposed, fresh, light, first_seed)
    progress("confirming on fresh seeds", 3, 4)
    few = fresh[: max(PAIRS_MIN, plan.seeds // 2)]
    centre = proposed if confirmation.status == GAIN else current
    effects = sensitivities(plan, centre, few, light, first_seed)
    progress("confirming on fresh seeds", 4, 4)
    return Recommendation(
        confirmation=confirmation,
        current=current,
        proposed=proposed,
        ranked=ranked(race),
        tune=plan,
        selection=selection,
        finalists=[race.current, *finalists],
        front=front,
        presets=presets,
        costs=[] if proposed is current else costs(current, proposed, plan, first_seed),
        sensitivity=effects,
    )


def recommend(
    experiment: Experiment,
    simulate: Callable[..., RunSet],
    *,
    first_seed: int,
    progress: Progress,
    journal: Journal | None = None,
) -> Recommendation:
    """Search and confirm on the simulator: `simulate` takes an experiment, seeds and `judging` as `run_simulated` does.

    Runs that only their measures are wanted of are judged by those alone, and kept in the journal.
    """

    def light(candidate: Experiment, seeds: Sequence[int]) -> RunSet:
        return simulate(candidate, seeds, judging=measure)

    light(experiment, [first_seed])  # loads what is needed, so that its time is not taken for that of a run
    known = journal.run(light) if journal else light
    return tune(experiment, simulate, first_seed=first_seed, progress=progress, known=known)


def _fresh(candidate: Candidate, seeds: Sequence[int], run: Run) -> Candidate:
    return Candidate(
        candidate.values, candidate.experiment, candidate.is_current, runs=run(candidate.experiment, seeds)
    )


def assumptions(experiment: Experiment) -> list[str]:
    """Return what the recommendation rests on, in sentences: outside of it nothing was tried."""
    written = resolved(experiment)
    load, links = written["workload"], written["network"]["links"]
    faults = [next(iter(fault)) for fault in written.get("faults", ())]
    default = links.get("default", {}) if isinstance(links, dict) else {}
    return [
        f"{len(experiment.system.replicas)} replicas, protocol {experiment.system.protocol}.",
        f"Load: {load['arrivals']} for {load['duration']} on {load['keys']} keys, {load['skew']}.",
        f"Links: delay {default.get('delay', 'as in the file')}, loss {default.get('loss', '0%')}.",
        f"Faults: {', '.join(faults) if faults else 'none'}, at the times in the file.",
        "Simulated runs; the settings that were not searched stay as they are.",
    ]
