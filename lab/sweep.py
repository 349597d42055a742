"""`lab sweep`: seeds × settings in compiled code, from the file to one Parquet table of measures.

A sweep answers "what does this setting do" over thousands of runs. It keeps columns only; a run whose details matter is
looked at with `lab replay`. Checkers are not run here: `lab run` judges.
"""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lab import metrics, store
from lab.metrics.estimate import RunValue
from lab.spec.document import fingerprint, resolved
from lab.spec.schema import Experiment
from lab.spec.space import override

if TYPE_CHECKING:
    from lab.engines.compiled import Columns
    from lab.engines.scenario import Scenario
    from lab.suite import Place

SCHEMA = "driftlab.sweep/1"
TABLE = "sweep.parquet"
RUNS_MAX = 5_000_000
SHOWN = ("convergence.p50", "convergence.p95", "amplification", "availability", "divergence_max.p50")


class SweepError(Exception):
    """The sweep cannot be made; nothing was started."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Point:
    """One combination of the settings that are varied."""

    values: dict[str, str]
    experiment: Experiment


def points(experiment: Experiment, varied: Sequence[str]) -> list[Point]:
    """Return every combination of `PATH=VALUE,VALUE…`; raise SweepError naming what cannot be read."""
    axes: dict[str, list[str]] = {}
    for text in varied:
        path, equals, values = text.partition("=")
        if not equals or not values or path in axes:
            raise SweepError(
                f"{text!r} is not a variation, or its path is given twice; write policy.timeout=100ms,200ms"
            )
        if not path.startswith(("policy.", "system.mode", "workload.client.")):
            raise SweepError(f"{path!r} cannot be varied in a sweep: only policy.*, system.mode and workload.client.*")
        axes[path] = [value.strip() for value in values.split(",")]
    found = []
    for combination in itertools.product(*axes.values()):
        values_here = dict(zip(axes, combination, strict=True))
        try:
            found.append(Point(values_here, override(experiment, values_here) if values_here else experiment))
        except ValueError as error:
            raise SweepError(f"{values_here}: {error}") from error
    return found


def sweep(
    experiment: Experiment,
    varied: Sequence[str],
    seeds: range,
    place: Place,
    *,
    threads: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Run every seed at every point and store the table; return the document of `lab sweep --json`."""
    from lab.engines import compiled
    from lab.engines.scenario import prepare

    chosen = points(experiment, varied)
    if len(chosen) * len(seeds) > RUNS_MAX:
        raise SweepError(f"{len(chosen) * len(seeds)} runs are over the limit of {RUNS_MAX} a sweep")
    scenarios = [prepare(point.experiment) for point in chosen]
    started = time.monotonic()
    columns = compiled.run_many(
        scenarios[0],
        seeds,
        policies=[scenario.params for scenario in scenarios],
        threads=threads,
        announce=say,
        measures=True,
    )
    in_executor_s = time.monotonic() - started
    values, censored = _measured(columns, scenarios)
    results = store.create(place.results_root, place.suite)
    results.write("spec.yaml", place.text.encode())
    results.write_json("spec.resolved.json", resolved(experiment))
    results.write(TABLE, _table(chosen, columns, values, censored))
    document = {
        "schema": SCHEMA,
        "runs": len(columns),
        "seeds": len(seeds),
        "events": int(columns.event_count.sum()),
        "points": [
            {"values": point.values, "measures": _estimates(index, len(seeds), values, censored)}
            for index, point in enumerate(chosen)
        ],
        "executor_s": round(in_executor_s, 3),
        "results": str(results.folder),
    }
    results.write_json("sweep.json", document)
    results.finish({"suite": place.suite, "plane": "sim", "executor": "compiled", "seeds": [seeds.start, seeds.stop],
                    "spec_fingerprint": fingerprint(experiment)})  # fmt: skip
    return document


Table = dict[str, Any]


def _measured(columns: Columns, scenarios: Sequence[Scenario]) -> tuple[Table, Table]:
    """Return values and flags of every metric; a run that columns cannot measure is measured from its history."""
    from lab.engines import compiled

    assert columns.measures is not None
    values = {name: column.copy() for name, column in columns.measures.value.items()}
    censored = {name: column.copy() for name, column in columns.measures.censored.items()}
    for row in np.flatnonzero(~columns.measures.is_measured):
        scenario = scenarios[int(columns.policy[row])]
        found = metrics.run_values(compiled.run(scenario, int(columns.seed[row])))
        for name, column in values.items():
            value = found[name]
            column[row] = np.nan if value.value is None else value.value
            if name in censored:
                censored[name][row] = value.censored
    return values, censored


def _table(chosen: Sequence[Point], columns: Columns, values: Table, censored: Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    fields: dict[str, Any] = {}
    for path in chosen[0].values:
        texts = pa.array([point.values[path] for point in chosen])
        fields[path] = pa.DictionaryArray.from_arrays(pa.array(columns.policy), texts)
    fields["seed"] = columns.seed
    fields["event_count"] = columns.event_count
    fields["trace_hash"] = columns.trace_hash
    for name, column in values.items():
        fields[name] = pa.array(column, from_pandas=True)
        if name in censored and censored[name].any():
            fields[f"{name}.censored"] = censored[name]
    buffer = io.BytesIO()
    parquet.write_table(pa.table(fields), buffer)
    return buffer.getvalue()


def _estimates(index: int, seed_count: int, values: Table, censored: Table) -> Mapping[str, Any]:
    """Return the chief measures of one point with their intervals."""
    from dataclasses import asdict

    rows = slice(index * seed_count, (index + 1) * seed_count)
    found = {}
    for measure in SHOWN:
        name, aggregate = metrics.split_measure(measure)
        flags = censored.get(name, np.zeros(len(values[name]), dtype=np.bool_))[rows]
        runs = [
            RunValue(None if value != value else value, flag)
            for value, flag in zip(values[name][rows].tolist(), flags.tolist(), strict=True)
        ]
        found[measure] = asdict(metrics.summarise(runs, aggregate, metrics.METRICS[name].unit))
    return found


def lines(document: Mapping[str, Any]) -> list[str]:
    """Return a sweep as lines for a terminal: one a point."""
    heads = [f"{document['runs']} runs, {document['events']} events, {document['executor_s']} s in the executor"]
    for point in document["points"]:
        shown = [f"{measure} {_text(point['measures'][measure])}" for measure in SHOWN if measure in point["measures"]]
        name = ", ".join(f"{path}={value}" for path, value in point["values"].items()) or "as written"
        heads.append(f"{name}: " + "; ".join(shown))
    heads.append(f"table: {document['results']}/{TABLE}")
    return heads


def _text(estimate: Mapping[str, Any]) -> str:
    from lab.metrics.estimate import Estimate

    return metrics.format_estimate(Estimate(**estimate))
