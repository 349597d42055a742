"""A server with a queue and clients that retry once: how an outage becomes a retry storm (Bronson et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lab.protocols.form import ACKNOWLEDGED, ATTEMPTED, Context, Vector, protocol, volatile

# Message kinds.
REQUEST = 1  # token
REPLY = 2  # token

# Timer kinds.
TIMEOUT = 1  # token, attempt

ANSWERED = 0


@protocol
class Storm:
    """Node 0 serves; the client gives an attempt up after `timeout_ns` and makes up to `attempts`."""

    parameters: ClassVar[tuple[str, ...]] = ("timeout_ns", "attempts")
    counters: ClassVar[tuple[str, ...]] = ("answered",)
    kinds: ClassVar[Mapping[int, str]] = {REQUEST: "request", REPLY: "reply"}
    timers: ClassVar[Mapping[int, str]] = {TIMEOUT: "timeout"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}

    done: Vector[int] = volatile("updates", on="client")

    def on_start(self, ctx: Context) -> None:
        """There is nothing to begin with."""

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        self.attempt(ctx, token, 1)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if not self.done[a] and b < ctx.p.attempts:
            self.attempt(ctx, a, b + 1)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == REQUEST:
            ctx.send(source, REPLY, a)
        elif not self.done[a]:
            self.done[a] = 1
            ctx.count(ANSWERED)
            ctx.observe(ACKNOWLEDGED, a)

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    def attempt(self, ctx: Context, token: int, number: int) -> None:
        ctx.observe(ATTEMPTED, token)
        ctx.send(0, REQUEST, token)
        ctx.timer(ctx.p.timeout_ns, TIMEOUT, token, number)
