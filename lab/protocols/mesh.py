"""A mesh of nodes that message each other at random: no replication, just traffic. What executors are measured with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lab.core.draws import scale
from lab.core.units import PositiveDurationNs
from lab.protocols.form import Context, durable, protocol, volatile
from lab.protocols.settings import ProtocolSettings

# Message kinds.
NOTE = 1  # number of the tick

# Timer kinds.
TICK = 1  # number of the tick

PHASE_DRAW = 1
PEER_DRAW = 2

HEARD = 0


@protocol
class Mesh:
    """Every node sends a note to a random other node each `period_ns`, beginning at a random phase."""

    parameters: ClassVar[tuple[str, ...]] = ("period_ns",)
    counters: ClassVar[tuple[str, ...]] = ("heard",)
    kinds: ClassVar[Mapping[int, str]] = {NOTE: "note"}
    timers: ClassVar[Mapping[int, str]] = {TICK: "tick"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}

    heard: int = durable()
    latest: int = volatile()

    def on_start(self, ctx: Context) -> None:
        if ctx.me < ctx.n:
            ctx.timer(scale(ctx.rand(PHASE_DRAW), ctx.p.period_ns), TICK)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        peer = scale(ctx.rand(PEER_DRAW), ctx.n - 1)
        if peer >= ctx.me:
            peer += 1
        ctx.send(peer, NOTE, a)
        ctx.timer(ctx.p.period_ns, TICK, a + 1)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        self.heard += 1
        self.latest = max(self.latest, a)
        ctx.count(HEARD)

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        """There are no operations."""

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""


class Settings(ProtocolSettings):
    """Every replica sends a note to a random other one each `period`."""

    has_client: ClassVar[bool] = False
    replicas_max: ClassVar[int] = 1000

    period: PositiveDurationNs = 10_000_000

    def parameters(self, experiment: Any) -> dict[str, int]:
        return {"period_ns": self.period}
