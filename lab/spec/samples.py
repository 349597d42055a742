"""Measured delays: the files that laws name, and the CSV files of `samples(file.csv)`."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from itertools import dropwhile
from pathlib import Path
from typing import TextIO, TypeVar

from lab.core.quantiles import LARGEST_NS
from lab.core.units import duration_text, shown

Content = TypeVar("Content")
COLUMN = "delay_ns"
BYTES_MAX = 16 << 20
ROWS_MIN, ROWS_MAX = 2, 1_000_000
DELAY_MAX_NS = LARGEST_NS // 4  # four laws may add up on a link
_WHOLE = re.compile(r"[0-9]{1,18}")


def read_samples(source: str, folder: Path) -> tuple[int, ...]:
    """Return the column `delay_ns` (integers in nanoseconds, 0 to about 137 s) of the CSV file `source`.

    `source` is relative to `folder` and must stay inside it, symbolic links resolved. Lines that begin with `#` before
    the header say where the data comes from and are skipped. Raise ValueError with a sentence that names the file and
    its line.
    """
    return read_file(source, folder, lambda file: tuple(_values(file, shown(source))))


def read_file(source: str, folder: Path, read: Callable[[TextIO], Content]) -> Content:
    """Return what `read` makes of the opened file `source` inside `folder`; every failure is a ValueError."""
    path = _inside(source, folder)
    try:
        if path.stat().st_size > BYTES_MAX:
            raise ValueError(f"{shown(source)} is over 16 MiB; thin the samples out, 10,000 rows are plenty")
        with path.open(encoding="utf-8-sig", newline="") as file:
            return read(file)
    except UnicodeDecodeError:
        raise ValueError(f"{shown(source)} is not UTF-8 text; save it as UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{shown(source)} is not a CSV file ({error}); write one delay a line") from None
    except OSError as error:
        raise ValueError(f"{shown(source)} cannot be read: {error.strerror or error}; check the file") from None


def _inside(source: str, folder: Path) -> Path:
    """Return the resolved path of an ordinary file inside `folder`."""
    if not source.isprintable():
        raise ValueError(f"{shown(source)} holds an unprintable character; name a data file")
    try:
        root = folder.resolve()
        path = (root / source).resolve()
        if not path.is_relative_to(root):
            raise ValueError(f"{shown(source)} is outside the experiment's folder; copy the file beside the experiment")
        if path.is_dir():
            raise ValueError(f"{shown(source)} is a folder; name a CSV file in it")
        if not path.exists():
            raise ValueError(f"{shown(source)} does not exist; the path is relative to the experiment file's folder")
        if not path.is_file():
            raise ValueError(f"{shown(source)} is not an ordinary file; name a CSV file")
    except (OSError, RuntimeError):
        raise ValueError(f"{shown(source)} cannot be found; check the path and its symbolic links") from None
    return path


def _values(file: TextIO, name: str) -> Iterator[int]:
    """Yield the delays of an open CSV file."""
    skipped = 0

    def comment(line: str) -> bool:
        nonlocal skipped
        is_comment = line.startswith("#")
        skipped += is_comment
        return is_comment

    rows = csv.reader(dropwhile(comment, file))
    header = [cell.strip() for cell in next(rows, [])]
    if COLUMN not in header:
        raise ValueError(f"{name} line {skipped + 1}: the header has no column {COLUMN}; name the column of delays so")
    column, count = header.index(COLUMN), 0
    for row in rows:
        if not row:
            continue
        line = skipped + rows.line_num
        cell = row[column].strip() if column < len(row) else ""
        if not _WHOLE.fullmatch(cell):
            raise ValueError(f"{name} line {line}: {shown(cell)} is not a whole number of nanoseconds from 0 up")
        value = int(cell)
        if value > DELAY_MAX_NS:
            most = duration_text(DELAY_MAX_NS)
            raise ValueError(f"{name} line {line}: {cell} ns is over the largest delay of {most}")
        count += 1
        if count > ROWS_MAX:
            raise ValueError(f"{name} line {line}: more than {ROWS_MAX:,} rows; thin the samples out")
        yield value
    if count < ROWS_MIN:
        raise ValueError(f"{name} has {count} rows of delays; at least {ROWS_MIN} are needed")
