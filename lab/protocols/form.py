"""The form in which a protocol is written: one plain class that every simulated executor runs.

A protocol declares int64 fields with `durable` and `volatile`, and has `on_start / on_timer / on_message / on_operation
/ on_set`. Handlers change `self` and call `ctx`; they hold no clock, generator, socket or log. Everything is a 64-bit
integer, so the same source can be interpreted (reference executor) and lifted into compiled code.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeVar

Vector = array  # of type code "q": 64-bit integers
Owner = Literal["", "replica", "leader", "client"]


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field: `size` names a dimension ("" is a scalar); durable fields survive a crash that keeps durable
    state.
    """

    size: str
    durable: bool
    on: Owner = ""


def durable(size: str = "", *, on: Owner = "") -> Any:
    """Declare a field that survives `crash: { keep: durable }`; a vector if `size` names a dimension.

    `on` says which nodes have it ("" is all): a field that only one of them needs costs nothing on the others.
    """
    return Field(size, True, on)


def volatile(size: str = "", *, on: Owner = "") -> Any:
    """Declare a field that is 0 again after every restart; `size` and `on` as in `durable`."""
    return Field(size, False, on)


class Context(Protocol):
    """What a handler may do. Node numbers: replicas 0..n-1 (0 leads), then the client."""

    me: int
    n: int
    client: int
    now: int
    incarnation: int
    p: Any

    @property
    def clock(self) -> int:
        """The node's wall clock: `now`, unless a fault puts it off. For stamps; timers and `now` are never skewed."""

    def send(self, target: int, kind: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> None:
        """Send a message; its fate is the link's."""

    def timer(self, delay_ns: int, kind: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> None:
        """Ask for `on_timer` after `delay_ns`; a crash discards it."""

    def rand(self, purpose: int) -> int:
        """Return a 63-bit draw that depends on the event being handled and `purpose` alone."""

    def observe(self, what: int, a: int = 0, b: int = 0) -> None:
        """Record a fact for the history (constants below)."""

    def count(self, counter: int, amount: int = 1) -> None:
        """Add to one of the protocol's counters (its index in `counters`)."""


# Facts that a protocol observes and a history is made of; a and b as noted.
ACCEPTED = 1  # sequence, token: the leader took the update
APPLIED = 2  # sequence, token: it changed the read state here
SUPERSEDED = 3  # sequence, token: it is in the log here, a newer update of its key was applied before
ACKNOWLEDGED = 4  # token: the client knows that it is stored
REJECTED = 5  # token: the client knows that it is not
ATTEMPTED = 6  # token: the client sent it (again)
WIPED = 7  # observed by the executor: a crash took all the node's state
MARKS_FROM, MARKS_TO = 16, 255  # a protocol's own facts, which it names in `marks`


class ProtocolClass(Protocol):
    """What `@protocol` adds to and demands of a class."""

    fields: ClassVar[Mapping[str, Field]]
    parameters: ClassVar[tuple[str, ...]]
    counters: ClassVar[tuple[str, ...]]
    kinds: ClassVar[Mapping[int, str]]
    timers: ClassVar[Mapping[int, str]]
    settings: ClassVar[Mapping[str, Mapping[str, int]]]
    marks: ClassVar[Mapping[str, int]]
    sizes: ClassVar[Mapping[int, int]]  # bytes per message kind; `lab.core.sizes.MESSAGE_BYTES` where none is named
    read_state: ClassVar[tuple[str, ...]]  # fields that readers see; their digest ends a history (none named: all)

    def on_start(self, ctx: Context) -> None: ...
    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None: ...
    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None: ...
    def on_operation(self, ctx: Context, token: int, key: int) -> None: ...
    def on_set(self, ctx: Context, setting: int, value: int) -> None: ...


_Class = TypeVar("_Class", bound=type)


def protocol(cls: _Class) -> _Class:
    """Collect a class's declared fields into `cls.fields`; raise TypeError for a class that is not in the form."""
    fields = {name: value for name, value in vars(cls).items() if isinstance(value, Field)}
    for name in fields:
        delattr(cls, name)
    required: tuple[str, ...] = ("parameters", "counters", "kinds", "timers", "settings")
    handlers = ("on_start", "on_timer", "on_message", "on_operation", "on_set")
    for name in required + handlers:
        if not hasattr(cls, name):
            raise TypeError(f"protocol {cls.__name__} has no {name}")
    if not hasattr(cls, "marks"):
        cls.marks = {}  # type: ignore[attr-defined]
    if not hasattr(cls, "read_state"):
        cls.read_state = ()  # type: ignore[attr-defined]
    unknown = [name for name in cls.read_state if name not in fields]  # type: ignore[attr-defined]
    if unknown:
        raise TypeError(f"protocol {cls.__name__}: read_state names {unknown[0]}, which is no field")
    if not hasattr(cls, "sizes"):
        cls.sizes = {}  # type: ignore[attr-defined]
    for name, code in cls.marks.items():  # type: ignore[attr-defined]
        if not MARKS_FROM <= code <= MARKS_TO:
            raise TypeError(f"protocol {cls.__name__}: the mark {name} is {code}, outside {MARKS_FROM}..{MARKS_TO}")
    cls.fields = fields  # type: ignore[attr-defined]
    return cls


def owns(declared: Field, index: int, replica_count: int) -> bool:
    """Return whether node `index` has a field: replicas are 0..replica_count-1 and 0 leads, then comes the client."""
    if declared.on == "replica":
        return index < replica_count
    if declared.on == "leader":
        return index == 0
    return declared.on == "" or index == replica_count


def allocate(cls: Any, sizes: Mapping[str, int], index: int | None = None) -> Any:
    """Return node `index` of protocol `cls` with all its fields 0 and vectors of the given sizes; without index, every
    field.
    """
    node = cls()
    for name, declared in cls.fields.items():
        if index is None or owns(declared, index, sizes["nodes"] - 1):
            setattr(node, name, _zero(declared, sizes))
    return node


def reset(node: Any, sizes: Mapping[str, int], wanted: Callable[[Field], bool]) -> None:
    """Set to 0 every field that the node has and for which `wanted(field)`."""
    for name, declared in type(node).fields.items():
        if wanted(declared) and hasattr(node, name):
            setattr(node, name, _zero(declared, sizes))


def _zero(declared: Field, sizes: Mapping[str, int]) -> Any:
    return array("q", bytes(8 * sizes[declared.size])) if declared.size else 0
