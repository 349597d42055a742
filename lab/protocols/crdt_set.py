"""The observed-remove set: an addition that a removal has not seen survives it (Shapiro et al. 2011, specification 15).

Every addition is a tag of its own, here the token of its operation; a removal makes tombstones of the tags that its
replica sees. A tag goes from unknown to added to removed and the later of two states wins. An element is in the set
while one of its tags is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from lab.core.draws import below, scale
from lab.core.units import DurationNs, PositiveDurationNs, SharePpm
from lab.protocols.form import ACCEPTED, ACKNOWLEDGED, ATTEMPTED, Context, Vector, durable, protocol, volatile
from lab.protocols.settings import ProtocolSettings

# Message kinds.
ADD = 1  # token, element
REMOVE = 2  # token, element
CHANGED = 3  # token
TAG = 4  # token, element, state, bits of replicas known to have it so
TAG_OK = 5  # token, state, bits

# Timer kinds.
ROUND = 1
COLLECT = 2  # token

# States of a tag.
UNKNOWN = 0
ADDED = 1
REMOVED = 2

PHASE_DRAW = 1
PEER_DRAW = 2
REPLICA_DRAW = 3
REMOVE_DRAW = 4

WORD_BYTES = 8

ADDITIONS = 0
REMOVALS = 1
ENTRIES = 2
BYTES = 3
MERGES = 4
USELESS = 5
COLLECTED = 6


@protocol
class CrdtSet:
    """Each round a replica sends tags to a random other one; operations add their key, or remove it with `remove_ppm`.

    Every `full_every`-th round carries all tags (1: state-based), the others those that the peer has not acknowledged
    in their present state (0: deltas alone). Messages carry who is known to have a tag so, or else a replica that
    forgot a tombstone would be given it again and again. One that every replica is known to have had is forgotten after
    `collect_after_ns` more (0: never); that must be above the longest time that a message is under way, for a tag that
    arrives after its tombstone was forgotten would be an addition again. State must survive crashes. Replicas are at
    most 62. BYTES counts 8 a word of tags and their acknowledgements.
    """

    parameters: ClassVar[tuple[str, ...]] = ("period_ns", "full_every", "remove_ppm", "collect_after_ns")
    counters: ClassVar[tuple[str, ...]] = (
        "additions", "removals", "entries", "bytes", "merges", "useless", "collected",
    )  # fmt: skip
    kinds: ClassVar[Mapping[int, str]] = {
        ADD: "add", REMOVE: "remove", CHANGED: "changed", TAG: "tag", TAG_OK: "tag_ok",
    }  # fmt: skip
    timers: ClassVar[Mapping[int, str]] = {ROUND: "round", COLLECT: "collect"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    read_state: ClassVar[tuple[str, ...]] = ("live",)

    state: Vector[int] = durable("updates", on="replica")
    element: Vector[int] = durable("updates", on="replica")
    held_by: Vector[int] = durable("updates", on="replica")  # bits of replicas known to have a tag in its present state
    done: Vector[int] = durable("updates", on="replica")  # operations that this replica carried out
    live: Vector[int] = durable("keys", on="replica")  # how many added tags an element has
    tags: int = durable()  # tags are below this
    rounds: int = volatile()

    def on_start(self, ctx: Context) -> None:
        if ctx.me >= ctx.n:
            return
        ctx.timer(1 + scale(ctx.rand(PHASE_DRAW), ctx.p.period_ns), ROUND)
        for tag in range(self.tags):
            if self.state[tag] == REMOVED:
                self.collect_later(ctx, tag)

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        ctx.observe(ATTEMPTED, token)
        kind = REMOVE if below(ctx.rand(REMOVE_DRAW), ctx.p.remove_ppm) else ADD
        ctx.send(scale(ctx.rand(REPLICA_DRAW), ctx.n), kind, token, key)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == COLLECT:
            self.collect(ctx, a)
            return
        ctx.timer(ctx.p.period_ns, ROUND)
        if ctx.n < 2:
            return
        self.rounds += 1
        is_full = ctx.p.full_every > 0 and self.rounds % max(1, ctx.p.full_every) == 0
        peer = scale(ctx.rand(PEER_DRAW), ctx.n - 1)
        if peer >= ctx.me:
            peer += 1
        for tag in range(self.tags):
            if self.state[tag] != UNKNOWN and (not self.held_by[tag] >> peer & 1 or is_full):
                self.send_tag(ctx, peer, tag)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == TAG:
            self.merge(ctx, source, a, b, c, d)
        elif kind == TAG_OK:
            if self.state[a] == b:
                self.hold(ctx, a, c | 1 << source)
        elif kind == CHANGED:
            ctx.observe(ACKNOWLEDGED, a)
        else:
            if not self.done[a]:
                self.done[a] = 1
                ctx.observe(ACCEPTED, a + 1, a)
                self.change(ctx, kind, a, b)
            ctx.send(ctx.client, CHANGED, a)

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    def change(self, ctx: Context, kind: int, token: int, element: int) -> None:
        """Carry out an operation of the client."""
        if kind == ADD:
            ctx.count(ADDITIONS)
            self.become(ctx, token, element, ADDED)
            return
        ctx.count(REMOVALS)
        for tag in range(self.tags):
            if self.state[tag] == ADDED and self.element[tag] == element:
                self.become(ctx, tag, element, REMOVED)

    def send_tag(self, ctx: Context, target: int, tag: int) -> None:
        """Tell a replica what is known of a tag, unless it is a tombstone that waits to be collected."""
        if ctx.p.collect_after_ns and self.state[tag] == REMOVED and self.is_stable(ctx, tag):
            return
        ctx.count(ENTRIES)
        ctx.count(BYTES, 4 * WORD_BYTES)
        ctx.send(target, TAG, tag, self.element[tag], self.state[tag], self.held_by[tag])

    def merge(self, ctx: Context, source: int, tag: int, element: int, state: int, held_by: int) -> None:
        """Take the later state of a tag, with those who are known to have it, and say so."""
        if state > self.state[tag]:
            ctx.count(MERGES)
            self.become(ctx, tag, element, state)
        else:
            ctx.count(USELESS)
        if self.state[tag] == state:
            self.hold(ctx, tag, held_by | 1 << source)
            if ctx.p.full_every != 1 or ctx.p.collect_after_ns:
                ctx.count(BYTES, 3 * WORD_BYTES)
                ctx.send(source, TAG_OK, tag, state, self.held_by[tag])

    def become(self, ctx: Context, tag: int, element: int, state: int) -> None:
        """Change what is known of a tag; nobody else is known to have it so."""
        if self.state[tag] == ADDED:
            self.live[element] -= 1
        if state == ADDED:
            self.live[element] += 1
        self.state[tag] = state
        self.element[tag] = element
        self.held_by[tag] = 0
        self.tags = max(self.tags, tag + 1)
        self.hold(ctx, tag, 1 << ctx.me)

    def hold(self, ctx: Context, tag: int, replicas: int) -> None:
        """Note that replicas (bits) have a tag in its present state."""
        if self.held_by[tag] | replicas == self.held_by[tag]:
            return
        self.held_by[tag] |= replicas
        if self.state[tag] == REMOVED:
            self.collect_later(ctx, tag)

    def collect_later(self, ctx: Context, tag: int) -> None:
        """Forget a tombstone after a while, if every replica has it."""
        if ctx.p.collect_after_ns and self.is_stable(ctx, tag):
            ctx.timer(ctx.p.collect_after_ns, COLLECT, tag)

    def collect(self, ctx: Context, tag: int) -> None:
        """Forget a tombstone that every replica has."""
        if self.state[tag] == REMOVED and self.is_stable(ctx, tag):
            ctx.count(COLLECTED)
            self.state[tag] = UNKNOWN
            self.held_by[tag] = 0

    def is_stable(self, ctx: Context, tag: int) -> int:
        """Return whether every replica is known to have a tag in its present state."""
        return 1 if self.held_by[tag] == (1 << ctx.n) - 1 else 0


class Settings(ProtocolSettings):
    """Every operation adds its key to a set at a random replica, or removes it with share `remove`.

    Every `period` a replica sends what another one lacks, and every `full_every`-th time all it has (1: state-based, 0:
    deltas alone). A tombstone that all replicas have is forgotten after `collect_after` (0s: never).
    """

    period: PositiveDurationNs = 100_000_000
    full_every: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    remove: SharePpm = 300_000
    collect_after: DurationNs = 0

    def parameters(self, experiment: Any) -> dict[str, int]:
        return {
            "period_ns": self.period,
            "full_every": self.full_every,
            "remove_ppm": self.remove,
            "collect_after_ns": self.collect_after,
        }
