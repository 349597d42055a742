"""A run whose apparatus failed cannot be judged."""

from __future__ import annotations

from lab.checkers.validity import Checker, Validity
from lab.history import History


def _check(history: History) -> Validity:
    """Judge that the executor vouches for the run."""
    if history.invalid:
        return Validity(None, f"the run cannot be judged: {history.invalid}")
    return Validity(True, "the executor vouches for the run")


CHECKER = Checker("invalid", "the run itself can be judged: no part of the apparatus failed", _check)
