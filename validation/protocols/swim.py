"""The failure detector of SWIM (Das, Gupta & Motivala 2002): direct probe, then indirect probes by helpers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lab.core.draws import scale
from lab.protocols.form import APPLIED, Context, protocol, volatile

# Message kinds. The origin is the node whose probe it is.
PING = 1  # origin, period
ACK = 2  # origin, period
PING_REQUEST = 3  # target, period
ACK_FOR = 4  # period

# Timer kinds.
PERIOD = 1  # number
INDIRECT = 2  # number
VERDICT = 3  # number

TARGET_DRAW = 1
HELPER_DRAW = 2

PROBES = 0
SUSPICIONS = 1


@protocol
class Swim:
    """Each period every node probes a random other one; APPLIED (period, target) says that it suspects it."""

    parameters: ClassVar[tuple[str, ...]] = ("period_ns", "direct_ns", "helpers")
    counters: ClassVar[tuple[str, ...]] = ("probes", "suspicions")
    kinds: ClassVar[Mapping[int, str]] = {PING: "ping", ACK: "ack", PING_REQUEST: "ping_request", ACK_FOR: "ack_for"}
    timers: ClassVar[Mapping[int, str]] = {PERIOD: "period", INDIRECT: "indirect", VERDICT: "verdict"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}

    target: int = volatile()
    answered: int = volatile()

    def on_start(self, ctx: Context) -> None:
        if ctx.me < ctx.n:
            ctx.timer(ctx.p.period_ns, PERIOD, 1)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == PERIOD:
            ctx.count(PROBES)
            self.target = self.other(ctx, ctx.rand(TARGET_DRAW))
            self.answered = 0
            ctx.send(self.target, PING, ctx.me, a)
            ctx.timer(ctx.p.direct_ns, INDIRECT, a)
            ctx.timer(ctx.p.period_ns, PERIOD, a + 1)
        elif kind == INDIRECT and not self.answered:
            for number in range(ctx.p.helpers):
                helper = self.other(ctx, ctx.rand(HELPER_DRAW + (number << 8)))
                if helper == self.target:
                    helper = self.target + 1 if self.target + 1 < ctx.n else 0
                    helper = helper if helper != ctx.me else (helper + 1) % ctx.n
                ctx.send(helper, PING_REQUEST, self.target, a)
            ctx.timer(ctx.p.period_ns - ctx.p.direct_ns - 1, VERDICT, a)
        elif kind == VERDICT and not self.answered:
            ctx.count(SUSPICIONS)
            ctx.observe(APPLIED, a, self.target)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == PING:
            ctx.send(source, ACK, a, b)
        elif kind == PING_REQUEST:
            ctx.send(a, PING, source, b)
        elif kind == ACK and a != ctx.me:
            ctx.send(a, ACK_FOR, b)
        else:
            self.answered = 1

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        """There are no operations."""

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    def other(self, ctx: Context, draw: int) -> int:
        """Return a random node that is not this one."""
        peer = scale(draw, ctx.n - 1)
        return peer + 1 if peer >= ctx.me else peer
