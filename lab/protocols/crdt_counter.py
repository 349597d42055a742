"""Replicated counters that only need to be merged: the grow-only counter and, with decrements, the PN-counter.

Shapiro, Preguica, Baquero & Zawirski 2011, specifications 6 and 7; deltas with acknowledgements after Almeida, Shoker &
Baquero 2018. Every replica counts in its own slot, the larger number of a slot wins, the value is the sum of all slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from lab.core.draws import below, scale
from lab.core.units import PositiveDurationNs, SharePpm
from lab.protocols.form import ACCEPTED, ACKNOWLEDGED, ATTEMPTED, Context, Vector, durable, protocol, volatile
from lab.protocols.settings import ProtocolSettings

# Message kinds.
CHANGE = 1  # token, whether it decreases
CHANGED = 2  # token
ENTRY = 3  # slot, increments, decrements
ENTRY_OK = 4  # slot, increments, decrements

# Timer kinds.
ROUND = 1

PHASE_DRAW = 1
PEER_DRAW = 2
REPLICA_DRAW = 3
SIGN_DRAW = 4

WORD_BYTES = 8

INCREMENTS = 0
DECREMENTS = 1
ENTRIES = 2
BYTES = 3
MERGES = 4
USELESS = 5


@protocol
class CrdtCounter:
    """Each round a replica sends slots to a random other one; an operation is +1, or -1 with `decrease_ppm`.

    Every `full_every`-th round carries all slots (1: state-based), the others those that the peer has not acknowledged
    in their present state (0: deltas alone). An operation counts once, however often it arrives. Slots must survive
    crashes: a replica that forgot its own slot would count in it from 0 again. Replicas are at most 62, for sets of
    them are bit masks. BYTES counts 8 a word of entries and their acknowledgements.
    """

    parameters: ClassVar[tuple[str, ...]] = ("period_ns", "full_every", "decrease_ppm")
    counters: ClassVar[tuple[str, ...]] = ("increments", "decrements", "entries", "bytes", "merges", "useless")
    kinds: ClassVar[Mapping[int, str]] = {
        CHANGE: "change", CHANGED: "changed", ENTRY: "entry", ENTRY_OK: "entry_ok",
    }  # fmt: skip
    timers: ClassVar[Mapping[int, str]] = {ROUND: "round"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    read_state: ClassVar[tuple[str, ...]] = ("up", "down")

    up: Vector[int] = durable("nodes", on="replica")
    down: Vector[int] = durable("nodes", on="replica")
    held_by: Vector[int] = durable("nodes", on="replica")  # bits of replicas known to have a slot in its present state
    counted: Vector[int] = durable("updates", on="replica")  # operations that are in the own slot
    rounds: int = volatile()

    def on_start(self, ctx: Context) -> None:
        if ctx.me < ctx.n:
            ctx.timer(1 + scale(ctx.rand(PHASE_DRAW), ctx.p.period_ns), ROUND)

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        ctx.observe(ATTEMPTED, token)
        is_decrease = below(ctx.rand(SIGN_DRAW), ctx.p.decrease_ppm)
        ctx.send(scale(ctx.rand(REPLICA_DRAW), ctx.n), CHANGE, token, is_decrease)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        ctx.timer(ctx.p.period_ns, ROUND)
        if ctx.n < 2:
            return
        self.rounds += 1
        is_full = ctx.p.full_every > 0 and self.rounds % max(1, ctx.p.full_every) == 0
        peer = scale(ctx.rand(PEER_DRAW), ctx.n - 1)
        if peer >= ctx.me:
            peer += 1
        for slot in range(ctx.n):
            if self.up[slot] + self.down[slot] > 0 and (is_full or not self.held_by[slot] >> peer & 1):
                ctx.count(ENTRIES)
                ctx.count(BYTES, 3 * WORD_BYTES)
                ctx.send(peer, ENTRY, slot, self.up[slot], self.down[slot])

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == ENTRY:
            self.merge(ctx, source, a, b, c)
            if ctx.p.full_every != 1 and self.up[a] == b and self.down[a] == c:
                ctx.count(BYTES, 3 * WORD_BYTES)
                ctx.send(source, ENTRY_OK, a, b, c)
        elif kind == ENTRY_OK:
            if self.up[a] == b and self.down[a] == c:
                self.held_by[a] |= 1 << source
        elif kind == CHANGE:
            self.change(ctx, a, b)
            ctx.send(ctx.client, CHANGED, a)
        else:
            ctx.observe(ACKNOWLEDGED, a)

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    def change(self, ctx: Context, token: int, is_decrease: int) -> None:
        """Count an operation in the own slot, once."""
        if self.counted[token]:
            return
        self.counted[token] = 1
        ctx.observe(ACCEPTED, token + 1, token)
        self.held_by[ctx.me] = 1 << ctx.me
        if is_decrease:
            ctx.count(DECREMENTS)
            self.down[ctx.me] += 1
        else:
            ctx.count(INCREMENTS)
            self.up[ctx.me] += 1

    def merge(self, ctx: Context, source: int, slot: int, up: int, down: int) -> None:
        """Take the larger numbers of a slot."""
        if up > self.up[slot] or down > self.down[slot]:
            ctx.count(MERGES)
            self.up[slot] = max(self.up[slot], up)
            self.down[slot] = max(self.down[slot], down)
            self.held_by[slot] = 1 << ctx.me
        else:
            ctx.count(USELESS)
        if self.up[slot] == up and self.down[slot] == down:
            self.held_by[slot] |= 1 << source


class Settings(ProtocolSettings):
    """Every operation adds 1 to a counter at a random replica, or takes 1 away with share `decrease` (0%: a G-counter).

    Every `period` a replica sends what another one lacks, and every `full_every`-th time all it has (1: state-based, 0:
    deltas alone).
    """

    period: PositiveDurationNs = 100_000_000
    full_every: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    decrease: SharePpm = 0

    def parameters(self, experiment: Any) -> dict[str, int]:
        return {"period_ns": self.period, "full_every": self.full_every, "decrease_ppm": self.decrease}
