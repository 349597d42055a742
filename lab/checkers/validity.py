"""What a checker says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lab.history import History


@dataclass(frozen=True, slots=True)
class Validity:
    """Was it right? `valid`: True, False, or None when it cannot be told.

    `reason` is a sentence for a person. `witness` holds what to look at, as plain JSON values: counts over all of the
    run, and replica, token, sequence and times in ns of the first case.
    """

    valid: bool | None
    reason: str
    witness: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checker:
    """One question about a history. `summary` is one sentence for lists and reports.

    It is asked of `protocols`, or if none are named of all but those in `without`.
    """

    name: str
    summary: str
    function: Callable[[History], Validity]
    protocols: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def applies(self, protocol: str) -> bool:
        """Return whether the question makes sense for a protocol."""
        return protocol in self.protocols if self.protocols else protocol not in self.without
