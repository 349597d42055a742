"""Anti-entropy over a key space by a tree of hashes (Merkle 1987; as in Dynamo, DeCandia et al. 2007, section 4.7).

Two replicas compare the hashes of their roots and descend only where they differ; at a leaf they exchange the key. The
other way, `whole` 1, sends every key in every round, so that both costs can be held against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lab.core.draws import mix, scale
from lab.core.units import PositiveDurationNs
from lab.protocols.form import (
    ACCEPTED,
    ACKNOWLEDGED,
    APPLIED,
    ATTEMPTED,
    Context,
    Vector,
    durable,
    protocol,
    volatile,
)
from lab.protocols.settings import ProtocolSettings

# Message kinds.
PUT = 1  # token, key
PUT_OK = 2  # token
ROOT = 3  # hash
CHILDREN = 4  # place, hash of the left child, hash of the right one
KEY = 5  # key, version, whether the sender wants a newer one

# Timer kinds.
ROUND = 1  # number

PHASE_DRAW = 1
PEER_DRAW = 2
REPLICA_DRAW = 3
PRELOAD_DRAW = 4

# What hashes are for.
LEAF = 1
INNER = 2

HASH_BYTES = 8
KEY_BYTES = 16

ROUNDS = 0
HASHES = 1
KEYS_SENT = 2
BYTES = 3
MERGES = 4
USELESS = 5


@protocol
class CrdtMerkle:
    """The client writes keys through random replicas; each round a replica synchronises with a random other one.

    The version of a write is its token + 1 and the newest wins. The tree is a heap: 1 is the root, the children of i
    are 2i and 2i + 1, the leaf of a key is keys + key; so all numbers of keys from 2 on have a tree. Hashes have 63
    bits: two different trees look equal with probability 2^-63. A lost message ends the descent below it until the next
    round. `rounds` ends the synchronisation of each replica (0: never), `starters` are the replicas that begin rounds
    (0: all). At the start, replica 0 alone has `preload` different random keys in version 1. HASHES counts hashes sent,
    KEYS_SENT keys, BYTES 8 a hash, 8 more for the place of two children and 16 a key.
    """

    parameters: ClassVar[tuple[str, ...]] = ("keys", "period_ns", "whole", "rounds", "starters", "preload")
    counters: ClassVar[tuple[str, ...]] = ("rounds", "hashes", "keys_sent", "bytes", "merges", "useless")
    kinds: ClassVar[Mapping[int, str]] = {
        PUT: "put", PUT_OK: "put_ok", ROOT: "root", CHILDREN: "children", KEY: "key",
    }  # fmt: skip
    timers: ClassVar[Mapping[int, str]] = {ROUND: "round"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    read_state: ClassVar[tuple[str, ...]] = ("version",)

    version: Vector[int] = durable("keys", on="replica")
    inner: Vector[int] = volatile("keys", on="replica")  # hashes of the inner places 1 .. keys - 1

    def on_start(self, ctx: Context) -> None:
        if ctx.me >= ctx.n:
            return
        if ctx.me == 0 and ctx.incarnation == 0:
            self.load(ctx)
        for offset in range(1, ctx.p.keys):
            self.rehash(ctx, ctx.p.keys - offset)
        if ctx.p.starters == 0 or ctx.me < ctx.p.starters:
            ctx.timer(1 + scale(ctx.rand(PHASE_DRAW), ctx.p.period_ns), ROUND, 1)

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        ctx.observe(ATTEMPTED, token)
        ctx.send(scale(ctx.rand(REPLICA_DRAW), ctx.n), PUT, token, key)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if ctx.p.rounds == 0 or a < ctx.p.rounds:
            ctx.timer(ctx.p.period_ns, ROUND, a + 1)
        if ctx.n < 2:
            return
        ctx.count(ROUNDS)
        peer = scale(ctx.rand(PEER_DRAW), ctx.n - 1)
        if peer >= ctx.me:
            peer += 1
        if not ctx.p.whole:
            ctx.count(HASHES)
            ctx.count(BYTES, HASH_BYTES)
            ctx.send(peer, ROOT, self.hash_of(ctx, 1))
            return
        for key in range(ctx.p.keys):
            self.send_key(ctx, peer, key, 1)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == ROOT:
            if a != self.hash_of(ctx, 1):
                self.differ(ctx, source, 1)
        elif kind == CHILDREN:
            if b != self.hash_of(ctx, 2 * a):
                self.differ(ctx, source, 2 * a)
            if c != self.hash_of(ctx, 2 * a + 1):
                self.differ(ctx, source, 2 * a + 1)
        elif kind == KEY:
            self.merge(ctx, a, b)
            if c and self.version[a] > b:
                self.send_key(ctx, source, a, 0)
        elif kind == PUT:
            ctx.observe(ACCEPTED, a + 1, a)
            self.merge(ctx, b, a + 1)
            ctx.send(ctx.client, PUT_OK, a)
        else:
            ctx.observe(ACKNOWLEDGED, a)

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    def load(self, ctx: Context) -> None:
        """Give this replica `preload` different random keys."""
        draw = ctx.rand(PRELOAD_DRAW)
        loaded = 0
        number = 0
        while loaded < min(ctx.p.preload, ctx.p.keys):
            key = scale(mix(draw, number), ctx.p.keys)
            number += 1
            if not self.version[key]:
                self.version[key] = 1
                loaded += 1

    def hash_of(self, ctx: Context, place: int) -> int:
        """Return the hash of a place of the tree."""
        if place >= ctx.p.keys:
            key = place - ctx.p.keys
            return mix(mix(LEAF, key), self.version[key])
        return self.inner[place]

    def rehash(self, ctx: Context, place: int) -> None:
        """Compute the hash of an inner place from its children."""
        self.inner[place] = mix(mix(INNER, self.hash_of(ctx, 2 * place)), self.hash_of(ctx, 2 * place + 1))

    def differ(self, ctx: Context, peer: int, place: int) -> None:
        """Go on below a place whose hash is not the peer's."""
        if place >= ctx.p.keys:
            self.send_key(ctx, peer, place - ctx.p.keys, 1)
            return
        ctx.count(HASHES, 2)
        ctx.count(BYTES, 3 * HASH_BYTES)
        ctx.send(peer, CHILDREN, place, self.hash_of(ctx, 2 * place), self.hash_of(ctx, 2 * place + 1))

    def send_key(self, ctx: Context, peer: int, key: int, wants_newer: int) -> None:
        """Send the version of a key."""
        ctx.count(KEYS_SENT)
        ctx.count(BYTES, KEY_BYTES)
        ctx.send(peer, KEY, key, self.version[key], wants_newer)

    def merge(self, ctx: Context, key: int, version: int) -> None:
        """Take a newer version of a key and rehash the way to the root."""
        if version <= self.version[key]:
            ctx.count(USELESS)
            return
        ctx.count(MERGES)
        ctx.observe(APPLIED, version, version - 1)
        self.version[key] = version
        place = (ctx.p.keys + key) // 2
        while place >= 1:
            self.rehash(ctx, place)
            place //= 2


class Settings(ProtocolSettings):
    """Every operation writes its key at a random replica; every `period` a replica compares its keys with another one's
    by a Merkle tree, or by sending all of them (`exchange: whole`).

    At the start the first replica alone has `preload` random keys.
    """

    period: PositiveDurationNs = 1_000_000_000
    exchange: Literal["tree", "whole"] = "tree"
    preload: Annotated[int, Field(ge=0, le=1_000_000)] = 0

    def parameters(self, experiment: Any) -> dict[str, int]:
        return {
            "keys": experiment.workload.keys,
            "period_ns": self.period,
            "whole": int(self.exchange == "whole"),
            "rounds": 0,
            "starters": 0,
            "preload": self.preload,
        }
