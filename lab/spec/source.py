"""The text of an experiment file: decoding, limits that hold before parsing, and places (line, column) of offsets."""

from __future__ import annotations

import os
import re
import stat
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

from lab.spec.errors import Path as Place
from lab.spec.errors import SpecError, SpecErrors, path_text

FILE_BYTES_MAX = 1 << 20
LINES_MAX = 20_000  # bounds the parser's time: a text of a million line breaks takes it seconds
_BREAK = re.compile(r"\r\n|\r|\n")
_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


@dataclass(slots=True)
class Source:
    """One file's text. Offsets count characters and start at 0; lines and columns start at 1."""

    name: str
    text: str
    starts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.starts = [0, *(match.end() for match in _BREAK.finditer(self.text))]

    def line_of(self, offset: int) -> int:
        """Return the line of an offset."""
        return bisect_right(self.starts, max(0, min(offset, len(self.text))))

    def error(self, offset: int, path: Place, message: str) -> SpecError:
        """Return the error at `offset`."""
        line = self.line_of(offset)
        start = self.starts[line - 1]
        end = self.starts[line] if line < len(self.starts) else len(self.text)
        source_line = self.text[start:end].rstrip("\r\n")
        column = max(0, min(offset, len(self.text)) - start) + 1
        return SpecError(self.name, line, column, path_text(path), message, source_line)


def whole(name: str, message: str) -> SpecErrors:
    """Return the one error about the file as a whole."""
    return SpecErrors([SpecError(name, 0, 0, "", message, "")])


def read_bytes(path: Path) -> bytes:
    """Return the file's bytes, at most one more than FILE_BYTES_MAX; raise SpecErrors if it cannot be read."""
    name = str(path)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise whole(name, "this is a folder; name the experiment file in it, for example experiment.yaml")
        if not stat.S_ISREG(mode):
            raise whole(name, "this is not an ordinary file; name an experiment file")
        with open(path, "rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise whole(name, "the file does not exist; check the path") from None
    except ValueError:
        raise whole(name, "this is not a path: it holds a NUL or another impossible character") from None
    except OSError as error:
        raise whole(name, f"the file cannot be read: {error.strerror or error}") from None


def decode(data: bytes | str, name: str) -> Source:
    """Return the text of `data`; raise SpecErrors for what is too big, is not UTF-8 or holds forbidden characters."""
    size = len(data) if isinstance(data, bytes) else len(data.encode("utf-8", "surrogatepass"))
    if size > FILE_BYTES_MAX:
        raise whole(name, "the file is over 1 MiB; an experiment takes a few KiB, move measured data to a CSV file")
    if isinstance(data, bytes):
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = data[: error.start].decode("utf-8-sig")
            source = Source(name, before)
            message = f"the byte 0x{data[error.start]:02x} here is not UTF-8; save the file as UTF-8"
            raise SpecErrors([source.error(len(before), (), message)]) from None
    else:
        text = data.removeprefix("\ufeff")
    source = Source(name, text)
    if len(source.starts) > LINES_MAX:
        raise whole(name, f"the file has more than {LINES_MAX:,} lines; an experiment takes a few dozen")
    match = _NOT_YAML.search(text)
    if match:
        character = "a NUL byte" if match.group() == "\0" else f"the control character U+{ord(match.group()):04X}"
        message = f"{character} is not allowed in YAML; remove it"
        raise SpecErrors([source.error(match.start(), (), message)])
    return source
