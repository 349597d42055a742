"""Services one behind the other that each retry what the next one fails: how retries multiply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lab.protocols.form import ATTEMPTED, REJECTED, Context, Vector, protocol, volatile

# Message kinds.
REQUEST = 1  # token
FAILED = 2  # token

REACHED_LAST = 0


@protocol
class Layers:
    """The client calls node 0, node i calls node i + 1; the last one fails every request.

    A caller makes up to `attempts` of them, one after the other, before it fails itself. The client makes one.
    """

    parameters: ClassVar[tuple[str, ...]] = ("attempts",)
    counters: ClassVar[tuple[str, ...]] = ("reached_last",)
    kinds: ClassVar[Mapping[int, str]] = {REQUEST: "request", FAILED: "failed"}
    timers: ClassVar[Mapping[int, str]] = {}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}

    tries: Vector[int] = volatile("updates")

    def on_start(self, ctx: Context) -> None:
        """There is nothing to begin with."""

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        ctx.observe(ATTEMPTED, token)
        ctx.send(0, REQUEST, token)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        """There are no timers."""

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == REQUEST:
            self.tries[a] = 0
            if ctx.me == ctx.n - 1:
                ctx.count(REACHED_LAST)
                self.fail(ctx, a)
            else:
                self.call(ctx, a)
        elif ctx.me == ctx.client:
            ctx.observe(REJECTED, a)
        elif self.tries[a] < ctx.p.attempts:
            self.call(ctx, a)
        else:
            self.fail(ctx, a)

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    def call(self, ctx: Context, token: int) -> None:
        self.tries[token] += 1
        ctx.send(ctx.me + 1, REQUEST, token)

    def fail(self, ctx: Context, token: int) -> None:
        ctx.send(ctx.client if ctx.me == 0 else ctx.me - 1, FAILED, token)
