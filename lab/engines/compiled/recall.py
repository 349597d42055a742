"""Numba asks anew, for every operator in every function, which of its many typings fits two integers.

While generated code is compiled the answer is remembered. This reaches into Numba, so it is guarded: with a Numba that
looks different inside, every question is asked.
"""

# mypy: ignore-errors
# (Numba's inside is untyped.)

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def compiling() -> Iterator[None]:
    """Have Numba remember typings, and keep the cycle collector from running: it finds next to nothing meanwhile."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with _typings_remembered():
            yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _typings_remembered() -> Iterator[None]:
    try:
        from numba.core.types import Function

        original = Function.get_call_type
    except (ImportError, AttributeError):
        yield
        return
    Function.get_call_type = _remembering(original)
    try:
        yield
    finally:
        if "get_call_type" in vars(Function):
            del Function.get_call_type


def _remembering(original: Any) -> Any:
    """Return `get_call_type` that answers from memory where all arguments are plain integers or truth values."""
    from numba.core.types import Boolean, Integer, unliteral

    known: dict[Any, Any] = {}
    fits: dict[int, tuple[Any, bool]] = {}

    def get_call_type(self: Any, context: Any, args: Any, kws: Any) -> Any:
        plain = tuple(unliteral(argument) for argument in args)
        if kws or not plain or not all(isinstance(one, (Integer, Boolean)) for one in plain):
            return original(self, context, args, kws)
        if id(self) not in fits:  # the function is kept with the answer, so that its identity is not given away
            fits[id(self)] = self, not any(template.prefer_literal for template in self.templates)
        if not fits[id(self)][1]:
            return original(self, context, args, kws)
        key = (id(self), plain)
        if key not in known:
            known[key] = original(self, context, plain, kws)
        return known[key]

    return get_call_type
