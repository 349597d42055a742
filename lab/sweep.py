"""`lab sweep`: seeds × settings in compiled code, from the file to one Parquet table of measures.

A sweep answers "what does this setting do" over thousands of runs. It keeps columns only; a run whose details matter is
looked at with `lab replay`. Checkers are not run here: `lab run` judges. Runs are done in blocks, each of which is kept
on disk as soon as it is finished, so a sweep that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lab import metrics, store
from lab.blocks import Block, BlockStore, Columns, run_block
from lab.metrics.estimate import RunValue
from lab.pool import Pool, in_order
from lab.run import CHANGELOG
from lab.spec.document import fingerprint, resolved
from lab.spec.drawing import is_drawn
from lab.spec.schema import Experiment
from lab.spec.space import override

if TYPE_CHECKING:
    from lab.suite import Place

SCHEMA = "driftlab.sweep/1"
TABLE = "sweep.parquet"
RUNS_MAX = 5_000_000
BLOCK_RUNS = 500  # a block is worth a tenth of a second or more, which hides what it costs to hand it over
SHOWN = (
    *("convergence.p50", "convergence.p95", "amplification", "availability", "divergence_max.p50"),
    *("leaderless", "elections", "stale_reads", "read_latency_p99", "residue", "spread_last", "messages_per_replica"),
)  # those that the protocol has
LINES_MAX = 20


class SweepError(Exception):
    """The sweep cannot be made; nothing was started."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Point:
    """One combination of the settings that are varied."""

    values: dict[str, str]
    experiment: Experiment


@dataclass(frozen=True, slots=True)
class Progress:
    """How a sweep talks: `say` takes a sentence, `update` what is done, of how many."""

    say: Callable[[str], None]
    update: Callable[[str, int, int], None]


def points(experiment: Experiment, varied: Sequence[str]) -> list[Point]:
    """Return every combination of `PATH=VALUE,VALUE…`; raise SweepError naming what cannot be read."""
    axes: dict[str, list[str]] = {}
    for text in varied:
        path, equals, values = text.partition("=")
        if not equals or not values or path in axes:
            raise SweepError(
                f"{text!r} is not a variation, or its path is given twice; write policy.timeout=100ms,200ms"
            )
        own = f"system.{experiment.system.protocol}."
        if not path.startswith(("policy.", "system.mode", "workload.client.", own)):
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


def drawn_points(experiment: Experiment, count: int, key: int) -> list[Point]:
    """Return `count` distinct points spread evenly over the file's `tune.parameters` (a Latin hypercube, keyed), each
    of which meets its conditions; raise SweepError if there is no space, or it holds too few points.
    """
    from lab.tuning.propose import Proposer

    if experiment.tune is None:
        raise SweepError("--settings draws from the file's `tune.parameters`, and it has none; use --vary")
    found = Proposer(experiment, experiment.tune, key).design(count)
    if len(found) < count:
        raise SweepError(f"only {len(found)} distinct settings were found in `tune.parameters`; ask for fewer")
    return [Point(candidate.values, candidate.experiment) for candidate in found]


def sweep(
    experiment: Experiment,
    chosen: Sequence[Point],
    seeds: range,
    place: Place,
    pool: Pool,
    *,
    resume: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Run every seed at every point and store the table; return the document of `lab sweep --json`.

    Columns, and the digest over them, depend on the file, the points and the seeds alone.
    """
    if len(chosen) * len(seeds) > RUNS_MAX:
        raise SweepError(f"{len(chosen) * len(seeds)} runs are over the limit of {RUNS_MAX} a sweep")
    started = time.monotonic()
    kept = BlockStore(place.results_root / place.suite, experiment, [point.values for point in chosen], seeds)
    kept.open(resume=resume)
    columns, known = _blocks(experiment, chosen, seeds, pool, kept, progress)
    results = store.create(place.results_root, place.suite)
    results.write("spec.yaml", place.text.encode())
    results.write_json("spec.resolved.json", resolved(experiment))
    results.write(TABLE, _table(chosen, columns))
    document = {
        "schema": SCHEMA,
        "runs": len(columns["seed"]),
        "seeds": len(seeds),
        "settings": len(chosen),
        "events": int(columns["event_count"].sum()),
        "digest": digest(columns),
        "resumed_runs": known,
        "points": [
            {"values": point.values, "measures": _estimates(index, len(seeds), columns)}
            for index, point in enumerate(chosen)
        ],
        "wall_s": round(time.monotonic() - started, 3),
        "results": str(results.folder),
    }
    results.write_json("sweep.json", document)
    results.finish({"suite": place.suite, "plane": "sim", "executor": "compiled", "seeds": [seeds.start, seeds.stop],
                    "digest": document["digest"], "spec_fingerprint": fingerprint(experiment)})  # fmt: skip
    kept.remove()
    return document


def compile_first(experiment: Experiment, say: Callable[[str], None]) -> None:
    """Compile what is not on disk yet, saying so, before blocks begin."""
    from lab.engines import compiled
    from lab.engines.scenario import prepare_seed

    has_columns = experiment.system.protocol == CHANGELOG and not is_drawn(experiment)
    compiled.run_many(prepare_seed(experiment, 1), [1], threads=1, measures=has_columns, announce=say)


def blocks(settings: int, seeds: range) -> list[Block]:
    """Return the blocks of a sweep in order: all seeds of the first point, then of the second."""
    if len(seeds) >= BLOCK_RUNS:
        starts = range(seeds.start, seeds.stop, BLOCK_RUNS)
        parts = [range(start, min(start + BLOCK_RUNS, seeds.stop)) for start in starts]
        return [Block(point, point + 1, part) for point in range(settings) for part in parts]
    wide = max(1, BLOCK_RUNS // len(seeds))
    return [Block(first, min(first + wide, settings), seeds) for first in range(0, settings, wide)]


def _blocks(
    experiment: Experiment, chosen: Sequence[Point], seeds: range, pool: Pool, kept: BlockStore, progress: Progress
) -> tuple[Columns, int]:
    """Return the columns of all blocks, and how many runs were already known."""
    wanted = blocks(len(chosen), seeds)
    found = {block: columns for block in wanted if (columns := kept.read(block)) is not None}
    known = done = sum(block.runs for block in found)
    total = len(chosen) * len(seeds)
    missing = [block for block in wanted if block not in found]
    tasks = (
        (experiment, [point.values for point in chosen[block.first : block.last]], block.first, block.seeds)
        for block in missing
    )
    try:
        for block, columns in zip(missing, in_order(pool, run_block, tasks), strict=True):
            kept.write(block, columns)
            found[block] = columns
            done += block.runs
            progress.update("sweep: runs", done, total)
    except (KeyboardInterrupt, SystemExit):
        progress.say(f"\nlab: stopped; {done} of {total} runs are kept. To go on: {store.again('--resume')}")
        raise
    return {name: np.concatenate([found[block][name] for block in wanted]) for name in found[wanted[0]]}, known


def digest(columns: Columns) -> str:
    """Return the SHA-256 over every column: equal sweeps have equal digests, wherever they were run."""
    found = hashlib.sha256()
    for name in sorted(columns):
        found.update(f"{name}:{columns[name].dtype.str}:".encode())
        found.update(np.ascontiguousarray(columns[name]).tobytes())
    return found.hexdigest()


def _table(chosen: Sequence[Point], columns: Columns) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    fields: dict[str, Any] = {}
    for path in chosen[0].values:
        texts = pa.array([point.values[path] for point in chosen])
        fields[path] = pa.DictionaryArray.from_arrays(pa.array(columns["point"]), texts)
    for name, column in columns.items():
        if name == "point" or (name.endswith(".censored") and not column.any()):
            continue
        fields[name] = pa.array(column, from_pandas=True)
    buffer = io.BytesIO()
    parquet.write_table(pa.table(fields), buffer)
    return buffer.getvalue()


def _estimates(index: int, seed_count: int, columns: Columns) -> Mapping[str, Any]:
    """Return the chief measures of one point with their intervals."""
    from dataclasses import asdict

    rows = slice(index * seed_count, (index + 1) * seed_count)
    found = {}
    for measure in SHOWN:
        name, aggregate = metrics.split_measure(measure)
        if name not in columns:
            continue
        cut = columns.get(f"{name}.censored")
        values = columns[name][rows].tolist()
        flags = [False] * len(values) if cut is None else cut[rows].tolist()
        runs = [RunValue(None if value != value else value, flag) for value, flag in zip(values, flags, strict=True)]
        found[measure] = asdict(metrics.summarise(runs, aggregate, metrics.METRICS[name].unit))
    return found


def lines(document: Mapping[str, Any]) -> list[str]:
    """Return a sweep as lines for a terminal: one a point, the first of many."""
    heads = [f"{document['runs']} runs, {document['events']} events, {document['wall_s']} s"]
    for point in document["points"][:LINES_MAX]:
        shown = [f"{measure} {_text(point['measures'][measure])}" for measure in SHOWN if measure in point["measures"]]
        name = ", ".join(f"{path}={value}" for path, value in point["values"].items()) or "as written"
        heads.append(f"{name}: " + "; ".join(shown))
    more = len(document["points"]) - LINES_MAX
    if more > 0:
        heads.append(f"… and {more} more settings in the table")
    heads.append(f"table: {document['results']}/{TABLE}")
    heads.append(f"digest: {document['digest']}")
    return heads


def _text(estimate: Mapping[str, Any]) -> str:
    from lab.metrics.estimate import Estimate

    return metrics.format_estimate(Estimate(**estimate))
