"""Push-pull gossip of one versioned register (Demers et al. 1987, anti-entropy); node 0 writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lab.core.draws import scale
from lab.core.units import PositiveDurationNs
from lab.protocols.form import APPLIED, Context, durable, protocol, volatile
from lab.protocols.settings import ProtocolSettings

# Message kinds.
PUSH = 1  # version, round
PULL = 2  # version, round

# Timer kinds.
ROUND = 1  # number of the round
WRITE = 2  # version

PHASE_DRAW = 1
PEER_DRAW = 2

USELESS = 0
WRITTEN = 1


@protocol
class Gossip:
    """Each round a node pushes its version to a random peer; a peer that is ahead answers with its own if `pull` is 1.

    Node 0 writes `updates` versions, one every `every_ns`.
    """

    parameters: ClassVar[tuple[str, ...]] = ("updates", "every_ns", "period_ns", "pull")
    counters: ClassVar[tuple[str, ...]] = ("useless", "written")
    kinds: ClassVar[Mapping[int, str]] = {PUSH: "push", PULL: "pull"}
    timers: ClassVar[Mapping[int, str]] = {ROUND: "round", WRITE: "write"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}

    version: int = durable()
    rounds: int = volatile()

    def on_start(self, ctx: Context) -> None:
        if ctx.me >= ctx.n:
            return
        ctx.timer(scale(ctx.rand(PHASE_DRAW), ctx.p.period_ns), ROUND)
        if ctx.me == 0 and self.version < ctx.p.updates:
            ctx.timer(ctx.p.every_ns, WRITE, self.version + 1)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == WRITE:
            ctx.count(WRITTEN)
            self.learn(ctx, a)
            if a < ctx.p.updates:
                ctx.timer(ctx.p.every_ns, WRITE, a + 1)
            return
        self.rounds += 1
        peer = scale(ctx.rand(PEER_DRAW), ctx.n - 1)
        if peer >= ctx.me:
            peer += 1
        ctx.send(peer, PUSH, self.version, a)
        ctx.timer(ctx.p.period_ns, ROUND, a + 1)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        mine = self.version
        if a > mine:
            self.learn(ctx, a)
        elif kind == PUSH and mine > a and ctx.p.pull:
            ctx.send(source, PULL, mine, b)
        else:
            ctx.count(USELESS)

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        """There are no operations."""

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    def learn(self, ctx: Context, version: int) -> None:
        """Take every version up to `version`."""
        for reached in range(self.version + 1, version + 1):
            ctx.observe(APPLIED, reached)
        self.version = version


class Settings(ProtocolSettings):
    """The first replica writes `updates` versions of one register, one every `every`; each node gossips once a `period`
    with a random other, which answers with a newer version only if the style is `push_pull`.
    """

    has_client: ClassVar[bool] = False
    replicas_max: ClassVar[int] = 1000

    style: Literal["push", "push_pull"] = "push_pull"
    period: PositiveDurationNs = 200_000_000
    updates: Annotated[int, Field(ge=1, le=10_000)] = 10
    every: PositiveDurationNs = 100_000_000

    def parameters(self, experiment: Any) -> dict[str, int]:
        return {
            "updates": self.updates,
            "every_ns": self.every,
            "period_ns": self.period,
            "pull": int(self.style == "push_pull"),
        }
