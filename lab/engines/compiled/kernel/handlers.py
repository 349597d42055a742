"""What the lifted protocol provides to the loop. In a generated module its own functions stand in this file's place."""

from __future__ import annotations

from lab.engines.compiled.kernel.marks import Words


def lay_out(M: Words) -> int:
    """Write where each group of fields begins; return the words that the state takes."""
    raise NotImplementedError


def wipe(M: Words, me: int, everything: int) -> None:
    """Set a node's volatile fields to 0, or all its fields."""
    raise NotImplementedError


def on_start(M: Words, me: int, now: int, key: int) -> None:
    """The node begins, at first or after a crash."""
    raise NotImplementedError


def on_timer(M: Words, me: int, now: int, key: int, kind: int, a: int, b: int, c: int, d: int) -> None:
    """A timer fires."""
    raise NotImplementedError


def on_message(M: Words, me: int, now: int, key: int, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
    """A message is here."""
    raise NotImplementedError


def on_operation(M: Words, me: int, now: int, key: int, token: int, target: int) -> None:
    """The client begins an operation."""
    raise NotImplementedError


def on_set(M: Words, me: int, now: int, key: int, setting: int, value: int) -> None:
    """A setting is switched."""
    raise NotImplementedError
