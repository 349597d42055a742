"""The recommendation: search, choose, confirm on fresh seeds, and say it so that it can be pasted, or refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from lab.run import RunSet, measure
from lab.spec.document import resolved
from lab.spec.schema import Experiment, Tune
from lab.tuning.candidate import Candidate, extend, in_scenario_text
from lab.tuning.compare import WORSE, Comparison, compare_presets
from lab.tuning.confirm import GAIN, PAIRS_MIN, Confirmation, Cost, confirm, costs, relative_gain
from lab.tuning.front import measured_front
from lab.tuning.journal import Journal
from lab.tuning.kinds import Progress, Run
from lab.tuning.meter import CONFIRM, PRESETS, SENSITIVITY, Meter, planned
from lab.tuning.presets import PRESETS as KNOWN_PRESETS
from lab.tuning.robust import over_scenarios
from lab.tuning.search import Race, ranked, search, stages
from lab.tuning.select import Selection, select
from lab.tuning.sensitivity import Sensitivity, sensitivities
from lab.tuning.snippets import notes, snippets
from lab.tuning.worlds import ScenarioGain, scenario_gains, scenario_warnings

if TYPE_CHECKING:
    from lab.tuning.contain import Contained
    from lab.tuning.trust import Trust

FRESH_GROWTH_MAX = 8  # how many times confirm_seeds a wanted precision may cost
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
    scenarios: list[ScenarioGain] = field(default_factory=list)
    sobol_note: str = ""
    stopped: str = ""
    contained: Contained | None = None  # what containers say about it, where they were asked
    trust: Trust | None = None  # how near the simulator was to containers when it was last calibrated

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
            "constraints": [{"claim": text, "holds": self._holds(text)} for text in self.tune.subject_to],
            "costs": [cost.as_json() for cost in self.costs],
            "selection": self.selection.as_json(),
            "presets": [comparison.as_json() for comparison in self.presets],
            "sensitivity": [row.as_json() for row in self.sensitivity],
            "sobol_note": self.sobol_note,
            "robust": self.tune.robust if self.tune.scenarios else None,
            "scenarios": [gain.as_json() for gain in self.scenarios],
            "stopped": self.stopped,
            "precision": self._precision(),
            "front": [_point_json(candidate) for candidate in self.front],
            "assumes": assumptions(self.current.experiment) + ([self.trust.sentence] if self.trust else []),
            "warnings": self._warnings(),
            "seeds": {"search": self.tune.seeds, "confirm": len(self.current.runs.rows)},
            "snippets": snippets(self.recommended.experiment, self.recommended.values),
            "snippet_notes": notes(),
            **({"calibration": self.trust.as_json()} if self.trust else {}),
            **({"containers": self.contained.as_json()} if self.contained else {}),
        }

    def _holds(self, text: str) -> bool:
        """Return whether a condition held on the fresh seeds, in every scenario."""
        places = [in_scenario_text(text, name) for name in (*self.tune.scenarios, "")]
        return not any(place in self.confirmation.broken for place in places)

    def _precision(self) -> dict[str, Any] | None:
        """Return the half-width of the gain's interval against the one that was asked for."""
        wanted, gain = self.tune.stop.precision, self.confirmation.gain
        if wanted is None:
            return None
        half = None if gain.low is None or gain.high is None else (gain.high - gain.low) / 2
        return {"wanted": wanted / 1e6, "half_width": half, "reached": half is not None and half <= wanted / 1e6}

    def _warnings(self) -> list[str]:
        found = [self.contained.sentence] if self.contained and self.contained.status == "uncertain" else []
        found += [text for text in (self.stopped, self.sobol_note, *scenario_warnings(self.scenarios)) if text]
        precision = self._precision()
        if precision is not None and not precision["reached"]:
            found.append(f"The precision of {precision['wanted']:.1%} was not reached; give more confirm_seeds.")
        found += [
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
    few, full = stages(plan.seeds)
    wide = max(PAIRS_MIN, plan.seeds // 2)
    meter = Meter(plan, planned(plan, len(KNOWN_PRESETS), few, full, wide), progress)
    light, whole = over_scenarios(meter.run(known or run)), over_scenarios(meter.run(run))
    race = Race(experiment, plan, light, first_seed, meter)
    finalists = search(race)
    winner, selection = select(race, finalists, first_seed)
    front = measured_front(race) if len(plan.minimise) > 1 else []
    stopped = ""
    if meter.spent:
        stopped = f"The search stopped at its budget of {meter.limit_text()}, after {len(race.pool)} settings."
    meter.enter(CONFIRM, "confirming on fresh seeds")
    current, proposed = fresh_runs(race.current, winner, plan, first_seed, whole)
    assert current.runs is not None
    fresh = current.runs.seeds
    confirmation = confirm(current, proposed, plan, first_seed)
    meter.enter(PRESETS, "presets")
    presets = compare_presets(experiment, plan, proposed, fresh, light, first_seed)
    meter.enter(SENSITIVITY, "sensitivity")
    centre = proposed if confirmation.status == GAIN else current
    effects, note = sensitivities(experiment, plan, centre, fresh[:wide], light, first_seed)
    meter.finish()
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
        scenarios=[] if proposed is current else scenario_gains(current, proposed, plan, first_seed),
        sobol_note=note,
        stopped=stopped,
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


def fresh_runs(
    current: Candidate, winner: Candidate, plan: Tune, first_seed: int, run: Run
) -> tuple[Candidate, Candidate]:
    """Return both settings on fresh seeds; with a wanted precision, on twice as many until the gain is known so well.

    Only the width of the interval decides when to stop, never the gain itself, which would flatter it.
    """
    start, count = first_seed + FRESH_SEED_OFFSET, plan.confirm_seeds
    before = Candidate(current.values, current.experiment, current.is_current)
    after = before if winner.is_current else Candidate(winner.values, winner.experiment)
    while True:
        seeds = range(start, start + count)
        for candidate in (before, after):
            extend(candidate, seeds, run)
        assert before.runs is not None and after.runs is not None
        if plan.stop.precision is None or after is before or count >= plan.confirm_seeds * FRESH_GROWTH_MAX:
            return before, after
        gain, _ = relative_gain(before.runs, after.runs, plan.minimise, first_seed)
        if gain.low is not None and gain.high is not None and gain.high - gain.low <= 2 * plan.stop.precision / 1e6:
            return before, after
        count *= 2


def assumptions(experiment: Experiment) -> list[str]:
    """Return what the recommendation rests on, in sentences: outside of it nothing was tried."""
    written = resolved(experiment)
    load, links = written["workload"], written["network"]["links"]
    faults = [next(iter(fault)) for fault in written.get("faults", ())]
    default = links.get("default", {}) if isinstance(links, dict) else {}
    has_client = experiment.system.settings.has_client
    offered = f"{load['arrivals']} for {load['duration']} on {load['keys']} keys, {load['skew']}" if has_client else ""
    return [
        f"{len(experiment.system.replicas)} replicas, protocol {experiment.system.protocol}.",
        f"Load: {offered or 'no clients, for ' + load['duration']}.",
        f"Links: delay {default.get('delay', 'as in the file')}, loss {default.get('loss', '0%')}.",
        f"Faults: {', '.join(faults) if faults else 'none'}, at the times in the file.",
        *_worlds(experiment),
        "Simulated runs; the settings that were not searched stay as they are.",
    ]


def _worlds(experiment: Experiment) -> list[str]:
    tune = experiment.tune
    if tune is None or not tune.scenarios:
        return []
    how = {"mean": "the mean of all counts", "worst": "the worst counts"}.get(tune.robust, f"{tune.robust} counts")
    return [f"In these scenarios, of which {how}: {', '.join(tune.scenarios)}."]
