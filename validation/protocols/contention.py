"""Clients that contend for one versioned row: the simulator of "Exponential Backoff And Jitter" (AWS, 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lab.core.backoff import backoff_ns
from lab.protocols.form import APPLIED, Context, protocol, volatile

# Message kinds.
READ = 1
VALUE = 2  # version
UPDATE = 3  # version read, number of the try
DONE = 4
FAILED = 5  # number of the try

# Timer kinds.
AGAIN = 1  # number of the next try

WAIT_DRAW = 1

CALLS = 0
DONES = 1


@protocol
class Contention:
    """Node 0 holds the row; every other node reads it, then updates it if its version is still the one it read.

    After failure n it waits the backoff of attempt n + 1: the published simulator doubles before its first use.
    """

    parameters: ClassVar[tuple[str, ...]] = ("backoff", "jitter", "base_ns", "cap_ns")
    counters: ClassVar[tuple[str, ...]] = ("calls", "dones")
    kinds: ClassVar[Mapping[int, str]] = {
        READ: "read",
        VALUE: "value",
        UPDATE: "update",
        DONE: "done",
        FAILED: "failed",
    }
    timers: ClassVar[Mapping[int, str]] = {AGAIN: "again"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}

    version: int = volatile()
    tries: int = volatile()
    wait_ns: int = volatile()

    def on_start(self, ctx: Context) -> None:
        self.wait_ns = ctx.p.base_ns
        if 0 < ctx.me < ctx.n:
            ctx.send(0, READ)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        ctx.send(0, READ, a)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == READ:
            ctx.send(source, VALUE, self.version)
        elif kind == VALUE:
            self.tries += 1
            ctx.count(CALLS)
            ctx.send(0, UPDATE, a, self.tries)
        elif kind == UPDATE:
            if a == self.version:
                self.version += 1
                ctx.send(source, DONE)
            else:
                ctx.send(source, FAILED, b)
        elif kind == DONE:
            ctx.count(DONES)
            ctx.observe(APPLIED, 1)
        else:
            self.wait_ns = backoff_ns(
                ctx.p.backoff, ctx.p.jitter, ctx.p.base_ns, ctx.p.cap_ns, a + 1, self.wait_ns, ctx.rand(WAIT_DRAW)
            )
            ctx.timer(self.wait_ns, AGAIN, a + 1)

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        """There are no operations."""

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""
