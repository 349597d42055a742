"""The failure detector with a fixed timeout: every node tells every other one that it lives (Chandra & Toueg 1996)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lab.core.draws import scale
from lab.core.units import PositiveDurationNs, duration_text
from lab.protocols.form import Context, Vector, protocol, volatile
from lab.protocols.settings import ProtocolSettings

# Message kinds.
BEAT = 1  # number

# Timer kinds.
SEND = 1  # number
EXPIRE = 2  # peer, how often it was heard when the timer was set

PHASE_DRAW = 1

# Marks: peer.
SUSPECTED = 16
TRUSTED = 17

BEATS = 0
SUSPICIONS = 1
RETURNS = 2
SUSPECTED_NS = 3


@protocol
class Heartbeat:
    """Each node sends a beat to all others every `period_ns` and suspects those not heard for `timeout_ns`.

    A node that begins (again) gives everyone a timeout from now. Any beat counts, also one that was overtaken.
    SUSPICIONS and RETURNS count the marks suspected and trusted, true or false; SUSPECTED_NS adds up how long those
    suspicions lasted that ended in a return. After a crash at T, a link of constant delay d gives the suspicion in
    (T + d + timeout - period, T + d + timeout].
    """

    parameters: ClassVar[tuple[str, ...]] = ("period_ns", "timeout_ns")
    counters: ClassVar[tuple[str, ...]] = ("beats", "suspicions", "returns", "suspected_ns")
    kinds: ClassVar[Mapping[int, str]] = {BEAT: "beat"}
    timers: ClassVar[Mapping[int, str]] = {SEND: "send", EXPIRE: "expire"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    marks: ClassVar[Mapping[str, int]] = {"suspected": SUSPECTED, "trusted": TRUSTED}

    heard: Vector[int] = volatile("nodes")  # how many beats came from a peer
    suspected: Vector[int] = volatile("nodes")
    since_ns: Vector[int] = volatile("nodes")  # when the last suspicion of a peer began

    def on_start(self, ctx: Context) -> None:
        if ctx.me >= ctx.n:
            return
        ctx.timer(scale(ctx.rand(PHASE_DRAW), ctx.p.period_ns), SEND, 1)
        for peer in range(ctx.n):
            if peer != ctx.me:
                ctx.timer(ctx.p.timeout_ns, EXPIRE, peer, 0)

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        """There are no operations."""

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == SEND:
            for peer in range(ctx.n):
                if peer != ctx.me:
                    ctx.count(BEATS)
                    ctx.send(peer, BEAT, a)
            ctx.timer(ctx.p.period_ns, SEND, a + 1)
        elif b == self.heard[a]:
            ctx.count(SUSPICIONS)
            ctx.observe(SUSPECTED, a)
            self.suspected[a] = 1
            self.since_ns[a] = ctx.now

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        self.heard[source] += 1
        if self.suspected[source]:
            ctx.count(RETURNS)
            ctx.count(SUSPECTED_NS, ctx.now - self.since_ns[source])
            ctx.observe(TRUSTED, source)
            self.suspected[source] = 0
        ctx.timer(ctx.p.timeout_ns, EXPIRE, source, self.heard[source])

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""


class Settings(ProtocolSettings):
    """Every replica sends a heartbeat to all others every `period` and suspects who was not heard for `timeout`."""

    has_client: ClassVar[bool] = False
    replicas_max: ClassVar[int] = 200

    period: PositiveDurationNs = 100_000_000
    timeout: PositiveDurationNs = 500_000_000

    def problems(self, experiment: Any) -> list[tuple[str, str]]:
        if self.period < self.timeout:
            return []
        return [
            (
                "timeout",
                f"heartbeats every {duration_text(self.period)} do not come before the timeout of "
                f"{duration_text(self.timeout)}; raise it above the period",
            )
        ]

    def parameters(self, experiment: Any) -> dict[str, int]:
        return {"period_ns": self.period, "timeout_ns": self.timeout}
