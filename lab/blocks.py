"""Blocks of a sweep: some points × some seeds as columns, run anywhere, and kept on disk until the sweep is stored."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lab import __version__, metrics
from lab.run import CHANGELOG
from lab.spec.document import fingerprint
from lab.spec.drawing import is_drawn
from lab.spec.schema import Experiment
from lab.spec.space import override
from lab.store import StoreError, canonical_json, write_atomically

if TYPE_CHECKING:
    from lab.engines.compiled import Columns as RawColumns
    from lab.engines.scenario import Scenario

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Block:
    """Every seed at the points `first` to before `last`."""

    first: int
    last: int
    seeds: range

    @property
    def runs(self) -> int:
        """How many runs it holds."""
        return (self.last - self.first) * len(self.seeds)

    @property
    def name(self) -> str:
        """Its file's name."""
        return f"{self.first}-{self.last}_{self.seeds.start}-{self.seeds.stop}.parquet"


def run_block(experiment: Experiment, settings: Sequence[Mapping[str, str]], first: int, seeds: range) -> Columns:
    """Run every seed at every setting in compiled code with one thread; return `seed`, `point` (counted from `first`),
    `event_count`, `trace_hash`, every metric (NaN where it is not defined) and whether it is censored.
    """
    from lab.engines import compiled
    from lab.engines.scenario import prepare, prepare_seed

    worlds = [override(experiment, values) if values else experiment for values in settings]
    if is_drawn(experiment):  # every seed has its own schedule, so it is a scenario of its own
        pieces = [
            _from_histories([prepare_seed(world, seed) for world in worlds], first, range(seed, seed + 1))
            for seed in seeds
        ]
        return _by_point(pieces)
    scenarios = [prepare(world) for world in worlds]
    if experiment.system.protocol != CHANGELOG:
        return _from_histories(scenarios, first, seeds)
    params = [scenario.params for scenario in scenarios]
    raw = compiled.run_many(scenarios[0], seeds, policies=params, threads=1, measures=True)
    found: Columns = {
        "seed": raw.seed,
        "point": raw.policy + first,
        "event_count": raw.event_count.copy(),
        "trace_hash": raw.trace_hash.copy(),
    }
    return found | _measured(raw, scenarios)


def _from_histories(scenarios: Sequence[Scenario], first: int, seeds: range) -> Columns:
    """Return the columns of runs whose protocol is measured from histories alone."""
    from lab.engines import compiled, reference

    rows: dict[str, list[Any]] = {}
    cut: dict[str, list[bool]] = {}
    for point, scenario in enumerate(scenarios, start=first):
        try:
            compiled.load_for(scenario)
            runs = compiled.histories(scenario, seeds)
        except compiled.LiftError:
            runs = (reference.run(scenario, seed) for seed in seeds)
        for history in runs:
            about = {"seed": history.seed, "point": point, "event_count": history.event_count}
            about["trace_hash"] = int(history.trace_hash, 16)
            for name, number in about.items():
                rows.setdefault(name, []).append(number)
            for name, value in metrics.run_values(history).items():
                rows.setdefault(name, []).append(np.nan if value.value is None else value.value)
                cut.setdefault(f"{name}.censored", []).append(value.censored)
    found = {name: np.array(column) for name, column in rows.items()}
    return found | {name: np.array(column, dtype=np.bool_) for name, column in cut.items()}


def _by_point(pieces: Sequence[Columns]) -> Columns:
    """Return the columns of single seeds together: all seeds of the first point, then of the second."""
    whole = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    order = np.lexsort((whole["seed"], whole["point"]))
    return {name: column[order] for name, column in whole.items()}


def _measured(raw: RawColumns, scenarios: Sequence[Scenario]) -> Columns:
    """Return values and flags of every metric; a run that columns cannot measure is measured from its history."""
    from lab.engines import compiled

    assert raw.measures is not None
    values = {name: column.copy() for name, column in raw.measures.value.items()}
    censored = {name: column.copy() for name, column in raw.measures.censored.items()}
    for row in np.flatnonzero(~raw.measures.is_measured):
        scenario = scenarios[int(raw.policy[row])]
        run = metrics.run_values(compiled.run(scenario, int(raw.seed[row])))
        for name, column in values.items():
            value = run[name]
            column[row] = np.nan if value.value is None else value.value
            if name in censored:
                censored[name][row] = value.censored
    return values | {f"{name}.censored": column for name, column in censored.items()}


class BlockStore:
    """Finished blocks of one sweep, in a hidden folder whose name says which: file, version, points and seeds."""

    def __init__(
        self, folder: Path, experiment: Experiment, settings: Sequence[Mapping[str, str]], seeds: range
    ) -> None:
        what = [__version__, fingerprint(experiment), [dict(values) for values in settings], seeds.start, seeds.stop]
        self.path = folder / f".sweep-{hashlib.sha256(canonical_json(what).encode()).hexdigest()[:16]}"

    def open(self, *, resume: bool) -> None:
        """Make the folder; without `resume`, forget what it holds."""
        if not resume:
            self.remove()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}", 6) from error

    def read(self, block: Block) -> Columns | None:
        """Return a finished block, None if it is not there or cannot be read (it is run again)."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

        path = self.path / block.name
        if not path.is_file():
            return None
        try:
            table = parquet.read_table(path)
        except (OSError, pa.ArrowException):
            return None
        if table.num_rows != block.runs:
            return None
        return {name: table.column(name).to_numpy() for name in table.column_names}

    def write(self, block: Block, columns: Columns) -> None:
        """Keep a finished block."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

        buffer = io.BytesIO()
        parquet.write_table(pa.table({name: pa.array(column) for name, column in columns.items()}), buffer)
        write_atomically(self.path / block.name, buffer.getvalue())

    def remove(self) -> None:
        """Forget the blocks: the sweep is stored, or starts anew."""
        shutil.rmtree(self.path, ignore_errors=True)
