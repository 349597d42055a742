"""What compiled code has instead of Python: marks, pointers, and the arithmetic that needs unsigned words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numba import njit, types
from numba.extending import intrinsic

from lab.engines.compiled.kernel.frugal import IS_FRUGAL, EntryCompiler, HelperCompiler

OPTIONS: dict[str, Any] = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
ENTRY_OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True, "cache": True}
if IS_FRUGAL:
    OPTIONS["pipeline_class"] = HelperCompiler
    ENTRY_OPTIONS["pipeline_class"] = EntryCompiler
WORDS: Any = types.CPointer(types.int64)  # type: ignore[no-untyped-call]
TABLES: Any = types.CPointer(WORDS)  # type: ignore[no-untyped-call]
u64 = types.uint64

# Arguments of the functions that interpreted runs share and that are not integers.
SHARED_TYPES = {"row": WORDS, "extra": WORDS, "memory": WORDS, "table": WORDS, "tables": TABLES}
HELPERS: list[Any] = []


def argument_types(function: Any) -> tuple[Any, ...]:
    """Return the types of a helper's arguments: as annotated in the engine, all integers in the author's methods."""
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    if function.__name__.startswith(("do_", "on_")) or function.__name__ in ("lay_out", "wipe"):
        return (WORDS, *(types.int64,) * (len(names) - 1))
    annotated = {"Words": WORDS, "Tables": TABLES, "int": types.int64}
    return tuple(
        annotated[function.__annotations__[name]]
        if name in function.__annotations__
        else SHARED_TYPES.get(name, types.int64)
        for name in names
    )


def inlined(function: Any) -> Any:
    """Compile into every caller."""
    HELPERS.append(njit(forceinline=True, **OPTIONS)(function))
    return HELPERS[-1]


def called(function: Any) -> Any:
    """Compile as a function of its own; LLVM may still inline it."""
    HELPERS.append(njit(**OPTIONS)(function))
    return HELPERS[-1]


def entry(function: Any) -> Any:
    """Compile with its signature, release the interpreter lock, keep the machine code beside this file.

    Unless the machine code is there, the helpers are compiled first, each for one signature: left to itself, Numba
    would compile them again for every constant that they are called with.
    """
    dispatcher = njit(**ENTRY_OPTIONS)(function)
    here = Path(__file__)
    if not any(here.parent.glob(f"__pycache__/{here.stem}.{function.__name__}-*.nbi")):
        for helper in HELPERS:
            helper.compile(argument_types(helper.py_func))
            helper.disable_compile()
    dispatcher.compile((types.int64,) * function.__code__.co_argcount)
    dispatcher.disable_compile()
    return dispatcher


@intrinsic
def as_words(typing: Any, address: Any) -> Any:
    """Return the int64 words at an address. Pointers, unlike arrays, have no reference counts."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(WORDS))

    return WORDS(types.int64), build


@intrinsic
def as_tables(typing: Any, address: Any) -> Any:
    """Return the pointers to words at an address."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(TABLES))

    return TABLES(types.int64), build


@intrinsic
def slice_at(typing: Any, words: Any, at: Any) -> Any:
    """Return the words from `at` on."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.gep(values[0], [values[1]])

    return WORDS(WORDS, types.int64), build


@inlined
def mix(key, word):  # type: ignore[no-untyped-def]
    """Return `lab.core.draws.mix(key, word)` in unsigned words."""
    z = u64(key) * u64(0xD1342543DE82EF95) + u64(word) + u64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> u64(30))) * u64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> u64(27))) * u64(0x94D049BB133111EB)
    return types.int64((z ^ (z >> u64(31))) >> u64(1))


@inlined
def product_bits_63(a, b):  # type: ignore[no-untyped-def]
    """Return (a * b) >> 63 of two numbers below 2**63, by halves of 32 bits."""
    low_mask = u64(0xFFFFFFFF)
    a_low, a_high = u64(a) & low_mask, u64(a) >> u64(32)
    b_low, b_high = u64(b) & low_mask, u64(b) >> u64(32)
    low = a_low * b_low
    first = a_high * b_low + (low >> u64(32))
    second = a_low * b_high + (first & low_mask)
    high = a_high * b_high + (first >> u64(32)) + (second >> u64(32))
    rest = (second << u64(32)) | (low & low_mask)
    return types.int64((high << u64(1)) | (rest >> u64(63)))
