"""What interpreted handlers are given: the `ctx` of one node, and the checks that hold them to 64-bit integers."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

from lab.core import draws
from lab.core.draws import mix
from lab.core.nodes import skew_ns
from lab.engines.scenario import Scenario

# What an event is. Part of the trace hash: never renumber.
START, MESSAGE, TIMER, OPERATION, SET, CRASH, RESTART, SERVED, HELD = range(9)
EVENT_NAMES = ("start", "message", "timer", "operation", "set", "crash", "restart", "message", "message")
WORD_MIN, WORD_MAX = -(1 << 63), (1 << 63) - 1
DELAY_MAX_NS = 1 << 61
KIND_MAX = 255


class ProtocolMistake(ValueError):
    """A handler did what no executor can carry out; the text is one line."""

    exit_code = 2


@dataclass(slots=True)
class TraceRow:
    """One handled event, for replays: `what` as in EVENT_NAMES, `kind` and words as the protocol defines them."""

    time_ns: int
    what: int
    node: int
    source: int
    kind: int
    words: tuple[int, int, int, int]
    key: int


class Context:
    """The `ctx` of one node. Handlers' effects are collected in the out-box and drained by the engine in order."""

    __slots__ = (
        "_counters", "_observations", "_reads", "_skews",
        "client", "incarnation", "key", "me", "n", "now", "outbox", "p",
    )  # fmt: skip

    def __init__(
        self,
        scenario: Scenario,
        me: int,
        observations: list[tuple[int, int, int, int, int]],
        counters: list[int],
        reads: list[int],
    ) -> None:
        self._observations = observations
        self._counters = counters
        self._reads = reads
        self._skews = [(number, one) for number, one in enumerate(scenario.skews) if one.node == me]
        self.me = me
        self.client = self.n = len(scenario.names) - 1
        self.p = scenario.params
        self.now = 0
        self.key = 0
        self.incarnation = 0
        self.outbox: list[tuple[int, int, int, int, int, int, int, int]] = []

    @property
    def clock(self) -> int:
        """What the node's wall clock shows: `now`, off by the faults of its clock that are in force."""
        shown = self.now
        for number, one in self._skews:
            if one.start_ns <= self.now < one.stop_ns:
                skew = skew_ns(self.now - one.start_ns, one.offset_ns, one.drift_ppm, one.strobe_ns)
                shown += skew
                self._reads[number] += int(skew != 0)
        return shown

    def send(self, target: int, kind: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> None:
        if not 0 <= target <= self.n:
            raise ProtocolMistake(f"ctx.send: {target} is not a node (0..{self.n})")
        self.outbox.append((MESSAGE, target, kind, 0, a, b, c, d))

    def timer(self, delay_ns: int, kind: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> None:
        if not 0 <= delay_ns < DELAY_MAX_NS:
            raise ProtocolMistake(f"ctx.timer: {delay_ns} ns is not a delay")
        self.outbox.append((TIMER, self.me, kind, delay_ns, a, b, c, d))

    def rand(self, purpose: int) -> int:
        return mix(mix(self.key, draws.HANDLER_DRAW), purpose)

    def observe(self, what: int, a: int = 0, b: int = 0) -> None:
        self._observations.append((self.now, self.me, what, a, b))

    def count(self, counter: int, amount: int = 1) -> None:
        self._counters[counter] += amount


class CheckedContext(Context):
    """A `ctx` that refuses what compiled code could not hold."""

    __slots__ = ()

    def send(self, target: int, kind: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> None:
        check_words("ctx.send", kind, a, b, c, d)
        super().send(target, kind, a, b, c, d)

    def timer(self, delay_ns: int, kind: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> None:
        check_words("ctx.timer", kind, a, b, c, d)
        super().timer(delay_ns, kind, a, b, c, d)

    def count(self, counter: int, amount: int = 1) -> None:
        if counter < 0:
            raise ProtocolMistake(f"ctx.count: {counter} is not a counter")
        super().count(counter, amount)


def check_words(call: str, kind: int, *words: int) -> None:
    """Refuse a kind over 8 bits and words over 64 bits."""
    if not 0 <= kind <= KIND_MAX:
        raise ProtocolMistake(f"{call}: kind {kind} is outside 0..{KIND_MAX}")
    for word in words:
        if not WORD_MIN <= word <= WORD_MAX:
            raise ProtocolMistake(f"{call}: {word} is over 64 bits")


class CheckedVector(array):  # type: ignore[type-arg]
    """A vector that refuses negative indices, which Python would count from the end."""

    def __getitem__(self, index: Any) -> Any:
        if index < 0:
            raise IndexError(f"index {index} is negative")
        return super().__getitem__(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        if index < 0:
            raise IndexError(f"index {index} is negative")
        super().__setitem__(index, value)


def checked(node: Any) -> None:
    """Make a node's vectors refuse negative indices."""
    for name, value in vars(node).items():
        if type(value) is array:
            setattr(node, name, CheckedVector("q", value))


def check_node(node: Any) -> None:
    """Refuse scalar fields over 64 bits and attributes that were not declared."""
    for name, value in vars(node).items():
        if name not in type(node).fields:
            raise ProtocolMistake(f"self.{name} is not a declared field")
        if isinstance(value, int) and not WORD_MIN <= value <= WORD_MAX:
            raise ProtocolMistake(f"self.{name} = {value} is over 64 bits")
