"""The journal: every finished run of a search on disk, so that a search that was stopped goes on where it was.

A search is a pure function of its file, its first seed and the values of the runs. So nothing of its state is stored:
going on means searching again from the beginning with the runs that are already known, which takes no time, and ends
with the same recommendation as if it had never stopped, wherever it was stopped. (A stored Optuna study could not
promise that: its sampler's generator is not part of what it stores.)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lab import __version__
from lab.metrics.estimate import RunValue
from lab.run import RunRow, RunSet
from lab.spec.document import fingerprint
from lab.spec.schema import Experiment
from lab.tuning.kinds import Run

SCHEMA = "driftlab.tuning-journal/1"
EXIT_CODE = 2


def journal_path(folder: Path, first_seed: int) -> Path:
    """Return where the journal of a suite's searches from a seed lies: hidden beside the suite's results."""
    return folder / f".tune-{first_seed}.jsonl"


class JournalError(Exception):
    """The journal belongs to another search or cannot be written; `exit_code` is what the command ends with."""

    exit_code = EXIT_CODE


class Journal:
    """Keeps runs by (settings, seed) in a file of JSON lines, the first of which says which search it is."""

    def __init__(self, path: Path, experiment: Experiment, first_seed: int, *, resume: bool) -> None:
        self.path = path
        self.known: dict[tuple[str, int], dict[str, RunValue]] = {}
        self._header = {
            "schema": SCHEMA,
            "version": __version__,
            "fingerprint": fingerprint(experiment),
            "first_seed": first_seed,
        }
        self._names: dict[int, tuple[Experiment, str]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = self._read() if resume else 0
        self._file: IO[bytes] = path.open("r+b" if kept else "wb")
        self._file.truncate(kept)
        self._file.seek(kept)
        if not kept:
            self._append([self._header])

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def remove(self) -> None:
        """Forget the runs: the search is over and its results are stored."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def run(self, run: Run) -> Run:
        """Return `run` that looks runs up first and keeps those it had to make. Rows hold seed and values alone."""

        def kept(experiment: Experiment, seeds: Sequence[int]) -> RunSet:
            name = self._name(experiment)
            missing = [seed for seed in seeds if (name, seed) not in self.known]
            made = run(experiment, missing) if missing else RunSet(experiment, "sim", "journal")
            for row in made.rows:
                self.known[name, row.seed] = row.values
            self._append([_line(name, row) for row in made.rows])
            rows = [_row(seed, self.known[name, seed]) for seed in seeds]
            return RunSet(experiment, made.plane, made.executor, rows, made.wall_s)

        return kept

    def _name(self, experiment: Experiment) -> str:
        """Return the fingerprint of an experiment, taken once for each object (which is kept, so that its id stays)."""
        known = self._names.get(id(experiment))
        if known is None:
            known = self._names[id(experiment)] = (experiment, fingerprint(experiment))
        return known[1]

    def _read(self) -> int:
        """Load what is there and return its length in bytes; a line that was cut off is left out."""
        if not self.path.is_file():
            return 0
        length = 0
        for number, line in enumerate(self.path.read_bytes().splitlines(keepends=True)):
            try:
                entry = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                entry = None
            if entry is None:
                break
            if number == 0 and entry != self._header:
                raise JournalError(
                    f"{self.path} is from another search (file, first seed or version differ): start without --resume"
                )
            if number:
                values = {key: RunValue(value, censored) for key, (value, censored) in entry["values"].items()}
                self.known[entry["settings"], entry["seed"]] = values
            length += len(line)
        return length

    def _append(self, entries: Sequence[dict[str, Any]]) -> None:
        try:
            for entry in entries:
                self._file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise JournalError(f"cannot write {self.path}: {error.strerror}") from error


def _line(name: str, row: RunRow) -> dict[str, Any]:
    values = {key: [value.value, value.censored] for key, value in row.values.items()}
    return {"settings": name, "seed": row.seed, "values": values}


def _row(seed: int, values: dict[str, RunValue]) -> RunRow:
    return RunRow(seed, values, (), (), {}, (), (), "", "", 0, (), {})
