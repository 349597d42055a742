"""What is wrong with an experiment file, and where: `file:line:col: path: sentence`, the line and a caret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from itertools import chain
from typing import Any
from unicodedata import combining, east_asian_width

Step = str | int
Path = tuple[Step, ...]
Problem = tuple[Path, str]

ERRORS_SHOWN = 100  # a file with more is wrong in one way repeated; the rest is counted
EXCERPT_MAX = 120
NAME_MAX = 80  # longer words get no suggestion: matching is quadratic in the length


def printable(text: str) -> str:
    """Return `text` with every control, bidirectional or otherwise unprintable character escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def nearest(word: str, known: Sequence[str]) -> str:
    """Return `did you mean X?`, or '' when nothing in `known` is close."""
    close = get_close_matches(word, known, n=1) if len(word) <= NAME_MAX else []
    return f"did you mean {close[0]}?" if close else ""


def path_text(path: Path) -> str:
    """Return a path as people write it, e.g. `faults[0].delay.by`."""
    parts = (f"[{step}]" if isinstance(step, int) else f".{_short(step)}" for step in path)
    return "".join(parts).removeprefix(".")


def _short(step: str) -> str:
    return printable(step if len(step) <= NAME_MAX else step[: NAME_MAX - 3] + "...")


@dataclass(frozen=True, slots=True)
class SpecError:
    """One error. `line` and `column` start at 1; both are 0 where the file as a whole is meant."""

    file: str
    line: int
    column: int
    path: str
    message: str
    source_line: str

    def render(self) -> str:
        """Return the error as one line, and below it the source line with a caret where there is one."""
        place = f"{printable(self.file)}:{self.line}:{self.column}" if self.line else printable(self.file)
        head = ": ".join(part for part in (place, self.path, printable(self.message)) if part)
        if not self.line:
            return head
        excerpt, offset = _excerpt(self.source_line, self.column - 1)
        source = f"    {excerpt}".rstrip()
        return f"{head}\n{source}\n    {' ' * offset}^"


def _excerpt(line: str, index: int) -> tuple[str, int]:
    """Return a piece of `line` around `index`, safe for a terminal, and the cell in which that character begins."""
    start = max(0, index - EXCERPT_MAX // 2) if len(line) > EXCERPT_MAX else 0
    piece = line[start : start + EXCERPT_MAX]
    shown = "".join(char if char.isprintable() else " " if char == "\t" else "?" for char in piece).rstrip()
    cells = sum(_cells(char) for char in shown[: index - start])
    return shown, cells + max(0, index - start - len(shown))


def _cells(char: str) -> int:
    return 0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1


class SpecErrors(Exception):
    """Everything that is wrong with one experiment file, in the order of the file; at most 100 errors are kept."""

    exit_code = 2

    def __init__(self, errors: Sequence[SpecError]) -> None:
        unique = sorted(dict.fromkeys(errors), key=lambda error: (error.line, error.column))
        super().__init__(errors)
        self.errors: list[SpecError] = unique[:ERRORS_SHOWN]
        self.omitted: int = len(unique) - len(self.errors)

    def render(self) -> str:
        """Return all errors as text for a terminal."""
        more = [f"... and {self.omitted} more errors"] if self.omitted else []
        return "\n".join(chain((error.render() for error in self.errors), more))

    def as_json(self) -> list[dict[str, Any]]:
        """Return the errors as JSON objects with the fields of SpecError."""
        return [asdict(error) for error in self.errors]

    def __str__(self) -> str:
        return self.render()
