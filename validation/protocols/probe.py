"""Heartbeats over one link, and the failure detector NFD-S of Chen, Toueg and Aguilera (2002) that watches them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lab.protocols.form import APPLIED, Context, protocol, volatile

# Message kinds.
BEAT = 1  # number

# Timer kinds.
SEND = 1  # number
FRESHNESS = 2  # number

BEATS = 0
MISTAKES = 1
SUSPECTED_NS = 2


@protocol
class Probe:
    """Node 0 sends beat i at i x gap_ns to node 1.

    Node 1 trusts in [i x gap_ns + delta_ns, (i + 1) x gap_ns + delta_ns) once it has beat i or a later one (delta_ns
    -1: there is no detector). It counts how often it begins to suspect, and for how long.
    """

    parameters: ClassVar[tuple[str, ...]] = ("gap_ns", "beats", "delta_ns")
    counters: ClassVar[tuple[str, ...]] = ("beats", "mistakes", "suspected_ns")
    kinds: ClassVar[Mapping[int, str]] = {BEAT: "beat"}
    timers: ClassVar[Mapping[int, str]] = {SEND: "send", FRESHNESS: "freshness"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}

    newest: int = volatile()
    wanted: int = volatile()
    suspects: int = volatile()
    since_ns: int = volatile()

    def on_start(self, ctx: Context) -> None:
        if ctx.me == 0:
            ctx.timer(ctx.p.gap_ns, SEND, 1)
        elif ctx.me == 1 and ctx.p.delta_ns >= 0:
            ctx.timer(ctx.p.gap_ns + ctx.p.delta_ns, FRESHNESS, 1)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if a < ctx.p.beats:
            ctx.timer(ctx.p.gap_ns, kind, a + 1)
        if kind == SEND:
            ctx.count(BEATS)
            ctx.send(1, BEAT, a)
            return
        self.wanted = a
        if self.newest < a and not self.suspects:
            self.suspects = 1
            self.since_ns = ctx.now
            ctx.count(MISTAKES)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        ctx.observe(APPLIED, a, a)
        self.newest = max(self.newest, a)
        if self.suspects and self.newest >= self.wanted:
            self.suspects = 0
            ctx.count(SUSPECTED_NS, ctx.now - self.since_ns)

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        """There are no operations."""

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""
