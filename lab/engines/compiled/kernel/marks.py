"""How a kernel function is compiled: the generator gives these marks their meaning, here they do nothing."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence, Sequence
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
Words = MutableSequence[int]  # a pointer to int64 in compiled code
Tables = Sequence[MutableSequence[int]]  # a pointer to pointers


def inlined(function: Function) -> Function:
    """Compile into every caller."""
    return function


def called(function: Function) -> Function:
    """Compile as a function of its own; LLVM may still inline it."""
    return function


def slice_at(words: Words, at: int) -> Words:
    """Return the words from `at` on."""
    return words[at:]


def as_words(address: int) -> Words:
    """Return the int64 words at an address; only compiled code can."""
    raise NotImplementedError


def as_tables(address: int) -> Tables:
    """Return the pointers to int64 at an address; only compiled code can."""
    raise NotImplementedError


def product_bits_63(a: int, b: int) -> int:
    """Return (a * b) >> 63 of two numbers below 2**63; compiled code has no longer product than 64 bits."""
    return a * b >> 63


def entry(function: Function) -> Function:
    """Compile with its signature, release the interpreter lock, keep the machine code on disk."""
    return function
