"""The one error of the container plane."""

from __future__ import annotations

MISSING = 4  # exit code: something needed is missing or broken


class PlaneError(RuntimeError):
    """A run that could not be made. The message is one sentence for a person; `exit_code` is what the command ends
    with.
    """

    def __init__(self, message: str, exit_code: int = MISSING) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def printable(text: str, limit: int = 4000) -> str:
    """Return `text` without control bytes (newlines stay), at most `limit` characters from its end."""
    cleaned = "".join(c for c in text.replace("\r\n", "\n") if c == "\n" or c.isprintable())
    return cleaned if len(cleaned) <= limit else "…" + cleaned[-limit:]
