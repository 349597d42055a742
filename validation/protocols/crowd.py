"""A service that slows down with its concurrency, and clients that retry: a collapse that outlasts its cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lab.core.draws import scale
from lab.protocols.form import ACKNOWLEDGED, ATTEMPTED, Context, Vector, protocol, volatile

# Message kinds.
REQUEST = 1  # token, attempt
REPLY = 2  # token, attempt

# Timer kinds.
FINISH = 1  # token, attempt
TIMEOUT = 2  # token, attempt
RETRY = 3  # token, attempt

BACKOFF_DRAW = 1

ATTEMPTS = 0
ANSWERED = 1


@protocol
class Crowd:
    """Node 0 takes `base_ns` plus `slow_ns` for every request that is there; late replies are of no use.

    Before attempt n + 1 the client waits uniformly up to n x `wait_ns`.
    """

    parameters: ClassVar[tuple[str, ...]] = ("base_ns", "slow_ns", "timeout_ns", "attempts", "wait_ns")
    counters: ClassVar[tuple[str, ...]] = ("attempts", "answered")
    kinds: ClassVar[Mapping[int, str]] = {REQUEST: "request", REPLY: "reply"}
    timers: ClassVar[Mapping[int, str]] = {FINISH: "finish", TIMEOUT: "timeout", RETRY: "retry"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}

    inside: int = volatile()
    current: Vector[int] = volatile("updates", on="client")  # the attempt that is under way; 0: none

    def on_start(self, ctx: Context) -> None:
        """There is nothing to begin with."""

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        self.attempt(ctx, token, 1)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == FINISH:
            self.inside -= 1
            ctx.send(ctx.client, REPLY, a, b)
        elif kind == RETRY:
            self.attempt(ctx, a, b)
        elif self.current[a] == b:
            self.current[a] = 0
            if b < ctx.p.attempts:
                ctx.timer(scale(ctx.rand(BACKOFF_DRAW), b * ctx.p.wait_ns + 1), RETRY, a, b + 1)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == REQUEST:
            ctx.timer(ctx.p.base_ns + ctx.p.slow_ns * self.inside, FINISH, a, b)
            self.inside += 1
        elif self.current[a] == b:
            self.current[a] = 0
            ctx.count(ANSWERED)
            ctx.observe(ACKNOWLEDGED, a)

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    def attempt(self, ctx: Context, token: int, number: int) -> None:
        ctx.count(ATTEMPTS)
        ctx.observe(ATTEMPTED, token)
        self.current[token] = number
        ctx.send(0, REQUEST, token, number)
        ctx.timer(ctx.p.timeout_ns, TIMEOUT, token, number)
