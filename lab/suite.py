"""One command's work: run a suite's variants, judge them, store the results and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import store
from lab.alarms import ALARMS
from lab.metrics.estimate import Estimate
from lab.run import CHANGELOG, CURVE_RUNS_MAX, RunSet
from lab.spec.document import fingerprint, resolved
from lab.spec.drawing import is_drawn
from lab.spec.rules import parse_rule
from lab.spec.schema import Experiment
from lab.spec.space import override
from lab.store import Results, canonical_json
from lab.tuning.apply import ApplyError, apply_settings, read_settings
from lab.tuning.journal import Journal, journal_path
from lab.tuning.kinds import Progress
from lab.tuning.recommend import Recommendation, recommend
from lab.tuning.robust import parts_of
from lab.verdict import EXIT_CODES, LAST_LINES, ClaimResult, judge_claims, verdict

if TYPE_CHECKING:
    import pandas as pd

BASE = "base"
SUMMARY_SCHEMA = "driftlab.summary/1"
RUN_SCHEMA = "driftlab.run/1"
RunVariant = Callable[[str, Experiment, Sequence[int]], RunSet]


@dataclass(slots=True)
class Outcome:
    """What a suite run came to."""

    summary: dict[str, Any]
    folder: Path

    @property
    def exit_code(self) -> int:
        """The exit code that the verdict means."""
        return EXIT_CODES[self.summary["verdict"]]

    def as_json(self) -> dict[str, Any]:
        """Return the document of `lab run --json`."""
        summary = self.summary
        baseline = next(iter(summary["variants"].values()))
        document = {
            "schema": RUN_SCHEMA,
            "verdict": summary["verdict"],
            "plane": summary["plane"],
            "executor": summary["executor"],
            "seeds": summary["seeds"],
            "digest": summary["digest"],
            "measures": baseline["measures"],
            "claims": summary["claims"],
            "results": str(self.folder),
        }
        if len(summary["variants"]) > 1:
            document["variants"] = {name: variant["measures"] for name, variant in summary["variants"].items()}
        return document


def variants(experiment: Experiment) -> dict[str, Experiment]:
    """Return the experiment's variants by name; the first is the baseline."""
    if not experiment.variants:
        return {BASE: experiment}
    return {name: override(experiment, values) for name, values in experiment.variants.items()}


@dataclass(frozen=True, slots=True)
class Place:
    """Where an experiment came from and where its results go."""

    file: Path
    text: str
    results_root: Path

    @property
    def suite(self) -> str:
        """The suite's name: the file's name without its ending."""
        return self.file.stem


def run_suite(
    experiment: Experiment, seeds: Sequence[int], place: Place, run: RunVariant, found: Recommendation | None = None
) -> Outcome:
    """Run every variant on the same seeds with `run`, judge, and store, with a recommendation if one was `found`.

    Raise StoreError if results cannot be written.
    """
    results = store.create(place.results_root, place.suite)
    runs = {name: run(name, variant, seeds) for name, variant in variants(experiment).items()}
    summary = summarise(experiment, runs, place.suite, replay_command(place.file, len(runs) > 1))
    _write(results, experiment, runs, summary, place.text, found)
    return Outcome(summary, results.folder)


def store_tuning(experiment: Experiment, found: Recommendation, place: Place) -> Outcome:
    """Judge and store the confirmation runs of a recommendation: `current` and, if it differs, `proposed`."""
    results = store.create(place.results_root, place.suite)
    assert found.current.runs is not None and found.proposed.runs is not None
    runs = _by_scenario("current", found.current.runs)
    if found.proposed is not found.current:
        runs |= _by_scenario("proposed", found.proposed.runs)
    again = replay_command(place.file, False)
    if len(runs) > 2:  # scenarios, which a replay does not know
        again += "  # with the settings and the scenario of {variant}"
    summary = summarise(experiment, runs, place.suite, again)
    _write(results, experiment, runs, summary, place.text, found)
    return Outcome(summary, results.folder)


def _by_scenario(name: str, runs: RunSet) -> dict[str, RunSet]:
    """Return the runs of one setting, in each scenario if there are any."""
    return {f"{name} in {world}" if world else name: part for world, part in parts_of(runs).items()}


def tune_suite(
    experiment: Experiment,
    place: Place,
    simulate: Callable[..., RunSet],
    *,
    first_seed: int,
    resume: bool,
    target: Path | None,
    progress: Progress,
    say: Callable[[str], None],
    contain: Callable[[Recommendation], Recommendation] = lambda found: found,
) -> tuple[Outcome, dict[str, Any]]:
    """Search, confirm, store, and write the settings into `target`; return the outcome and the document of `--json`.

    `contain` is given the recommendation and returns it as containers leave it (`lab.tuning.contain`).

    Whatever stops it before the results are stored, finished runs are kept, and `say` is told how to go on.
    """
    if target is not None:
        # Refuse what cannot be changed before the work, not after it.
        if experiment.system.protocol != CHANGELOG:
            raise ApplyError(f"a replica's settings hold nothing of the protocol {experiment.system.protocol}")
        read_settings(target)
    path = journal_path(place.results_root / place.suite, first_seed)
    with Journal(path, experiment, first_seed, resume=resume) as journal:
        try:
            found = recommend(experiment, simulate, first_seed=first_seed, progress=progress, journal=journal)
            found = contain(found)
        except (KeyboardInterrupt, SystemExit):
            say(f"\nlab: stopped; all {len(journal.known)} finished runs are kept. To go on: {store.again('--resume')}")
            raise
        outcome = store_tuning(experiment, found, place)
        journal.remove()
    document = outcome.as_json() | {"schema": "driftlab.tune/1", "recommendation": found.as_json()}
    if target is not None:
        applied = apply_settings(found, target)
        say(applied.sentence)
        document["applied"] = applied.as_json()
    return outcome, document


def replay_command(file: Path, has_variants: bool) -> str:
    """Return the command that shows one run again, with `{seed}` and `{variant}` to fill in."""
    return f"lab replay {file} --seed {{seed}}" + (" --variant {variant}" if has_variants else "")


def summarise(experiment: Experiment, runs: Mapping[str, RunSet], suite: str, replay: str) -> dict[str, Any]:
    """Return `summary.json`: verdict, claims, measures with intervals, faults and notes."""
    first = next(iter(runs.values()))
    claims = judge_claims(runs, experiment.measure.claims, replay)
    decided = verdict(claims)
    return {
        "schema": SUMMARY_SCHEMA,
        "suite": suite,
        "title": experiment.title,
        "question": experiment.question,
        "verdict": decided,
        "sentence": LAST_LINES[decided],
        "plane": first.plane,
        "executor": first.executor,
        "seeds": first.seeds,
        "digest": digest_of(runs),
        "spec_fingerprint": fingerprint(experiment),
        "horizon_ns": experiment.horizon_ns,
        "quiet_ns": experiment.quiet_ns,
        "wall_s": round(sum(run_set.wall_s for run_set in runs.values()), 3),
        "variants": {
            name: {"measures": measures_json(run_set.measures()), "digest": run_set.digest(), "label": name}
            for name, run_set in runs.items()
        },
        "claims": [claim.as_json() for claim in claims],
        "alarms": alarms_json(experiment, runs),
        "faults": _faults(first),
        "notes": _notes(runs, claims),
        "recommendation": None,
    }


def alarms_json(experiment: Experiment, runs: Mapping[str, RunSet]) -> list[dict[str, Any]]:
    """Return, per rule and variant, in how many runs it rang, for how long, and the page to open.

    `ringing_ns_p50` and `worst` are over the runs in which it rang; `outside_faults` counts runs in which it rang more
    than two seconds away from every fault, `seed` is the first run in which it did so, else in which it rang at all.
    """
    found = []
    for text in experiment.measure.alarms:
        rule = parse_rule(text)
        alarm = ALARMS[rule.alarm]
        for name, run_set in runs.items():
            rung = [(row.seed, [one for one in row.ringings if one.rule == rule.text]) for row in run_set.rows]
            rung = [(seed, some) for seed, some in rung if some]
            outside = [seed for seed, some in rung if not all(one.in_fault for one in some)]
            lengths = sorted(sum(one.stop_ns - one.start_ns for one in some) for _, some in rung)
            extremes = [one.worst for _, some in rung for one in some]
            found.append(
                {
                    "alarm": rule.alarm,
                    "rule": rule.text,
                    "variant": name,
                    "unit": alarm.unit,
                    "runs": len(run_set.rows),
                    "rang": len(rung),
                    "outside_faults": len(outside),
                    "ringing_ns_p50": lengths[len(lengths) // 2] if lengths else 0,
                    "worst": (max(extremes) if rule.sign == ">" else min(extremes)) if extremes else None,
                    "seed": next(iter(outside or [seed for seed, _ in rung]), None),
                    "runbook": f"docs/runbooks/{alarm.runbook}",
                }
            )
    return found


def measures_json(measured: Mapping[str, Estimate]) -> dict[str, Any]:
    """Return estimates as JSON objects by name."""
    return {name: asdict(estimate) for name, estimate in measured.items()}


def digest_of(runs: Mapping[str, RunSet]) -> str:
    """Return one digest over every variant's runs: every simulated trace and every measure."""
    import hashlib

    parts = {name: run_set.digest() for name, run_set in runs.items()}
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def _faults(run_set: RunSet) -> list[dict[str, Any]]:
    """Return the faults of the first run, with how often each bit over all runs; of drawn faults one record a kind."""
    if is_drawn(run_set.experiment):
        return _drawn_faults(run_set)
    found = []
    for index, fault in enumerate(run_set.rows[0].faults):
        bits = [row.faults[index].bit for row in run_set.rows]
        told = [bit for bit in bits if bit is not None]
        record = replace(fault, bit=sum(told) if told else None)
        found.append(asdict(record))
    return found


def _drawn_faults(run_set: RunSet) -> list[dict[str, Any]]:
    """Return a record for each kind of fault in any run."""
    found = []
    for kind in _kinds(run_set):
        all_of = [fault for row in run_set.rows for fault in row.faults if fault.kind == kind]
        told = [fault.bit for fault in all_of if fault.bit is not None]
        label = f"{kind} (drawn {len(all_of)} times in {len(run_set.rows)} runs)"
        found.append(asdict(replace(all_of[0], label=label, bit=sum(told) if told else None)))
    return found


def _kinds(run_set: RunSet) -> list[str]:
    """Return the kinds of faults in any run, in order of name."""
    return sorted({fault.kind for row in run_set.rows for fault in row.faults})


def _notes(runs: Mapping[str, RunSet], claims: Sequence[ClaimResult]) -> list[str]:
    notes: dict[str, None] = {}
    for run_set in runs.values():
        for row in run_set.rows:
            for note in row.notes:
                notes[f"seed {row.seed}: {note}"] = None
    if any(claim.holds is None for claim in claims):
        notes["Open claims are neither proved nor refuted; each says what is missing."] = None
    return list(notes)[:50]


def runs_table(runs: Mapping[str, RunSet]) -> pd.DataFrame:
    """Return one row a run: variant, seed, digests, every metric and whether it is censored."""
    import pandas as pd

    rows = []
    for variant, run_set in runs.items():
        for row in run_set.rows:
            record: dict[str, Any] = {
                "variant": variant,
                "seed": row.seed,
                "digest": row.digest,
                "trace_hash": row.trace_hash,
                "event_count": row.event_count,
            }
            for name, value in row.values.items():
                record[name] = value.value
                record[f"{name}.censored"] = value.censored
            rows.append(record)
    table = pd.DataFrame(rows)
    metrics = [name.removesuffix(".censored") for name in table.columns if name.endswith(".censored")]
    return table.astype(dict.fromkeys(metrics, "float64"))


def faults_table(runs: Mapping[str, RunSet]) -> pd.DataFrame:
    """Return one row a fault and run, with the convergence after it in nanoseconds; `index` is the number of the fault,
    and where every run draws its own faults that of the kind.
    """
    import pandas as pd

    kinds = {name: _kinds(run_set) if is_drawn(run_set.experiment) else [] for name, run_set in runs.items()}

    rows = [
        {
            "variant": variant,
            "seed": row.seed,
            "index": kinds[variant].index(fault.kind) if kinds[variant] else index,
            "kind": fault.kind,
            "label": fault.label,
            "start_ns": fault.start_ns,
            "stop_ns": fault.stop_ns,
            "bit": fault.bit,
            "healed": fault.healed,
            "convergence": row.fault_convergence[index].value,
            "convergence.censored": row.fault_convergence[index].censored,
        }
        for variant, run_set in runs.items()
        for row in run_set.rows
        for index, fault in enumerate(row.faults)
    ]
    columns = ["variant", "seed", "index", "kind", "label", "start_ns", "stop_ns", "bit", "healed", "convergence",
               "convergence.censored"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).astype({"convergence": "float64", "bit": "Int64"})


def curves_table(runs: Mapping[str, RunSet]) -> pd.DataFrame:
    """Return the divergence curves of the first runs as (variant, seed, time_ns, share)."""
    import pandas as pd

    rows = [
        (variant, row.seed, time_ns, share)
        for variant, run_set in runs.items()
        for row in run_set.rows[:CURVE_RUNS_MAX]
        for time_ns, share in zip(row.curve_ns, row.curve_share, strict=True)
    ]
    return pd.DataFrame(rows, columns=["variant", "seed", "time_ns", "share"])


def _write(
    results: Results,
    experiment: Experiment,
    runs: Mapping[str, RunSet],
    summary: dict[str, Any],
    text: str,
    found: Recommendation | None,
) -> None:
    from lab.reports.page import render_from

    tuning = None
    if found is not None:
        summary["recommendation"] = found.as_json()
        tuning = {"recommendation": found.as_json(), "candidates": found.candidates_json()}

    tables = {"runs": runs_table(runs), "faults": faults_table(runs), "curves": curves_table(runs)}
    results.write("spec.yaml", text.encode())
    results.write_json("spec.resolved.json", resolved(experiment))
    results.write_json("summary.json", summary)
    for name, table in tables.items():
        results.write_table(f"{name}.parquet", table)
    if tuning is not None:
        results.write_json("tune.json", tuning)
    environment = next(iter(runs.values())).rows[0].environment
    provenance = store.provenance() | {"environment": environment}
    page, figures = render_from(summary, tables["runs"], tables["faults"], tables["curves"], tuning, text, provenance)
    results.write("report.html", page.encode())
    for name, svg in figures.items():
        results.write(f"figures/{name}.svg", svg.encode())
    results.finish({"suite": summary["suite"], "verdict": summary["verdict"], "digest": summary["digest"],
                    "seeds": summary["seeds"], "plane": summary["plane"], "executor": summary["executor"],
                    "spec_fingerprint": summary["spec_fingerprint"], "environment": environment})  # fmt: skip
