"""A Dynamo-style register store: N replicas, writes need W and reads R of them, read repair (DeCandia et al. 2007).

With `writers` and `readers` 0 the replicas coordinate; otherwise the nodes behind the replicas do, writers first. With
four kinds of links (writer to replica, back, reader to replica, back) this is the WARS model of Bailis et al. 2012.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lab.core.draws import scale
from lab.protocols.form import (
    ACCEPTED,
    ACKNOWLEDGED,
    APPLIED,
    ATTEMPTED,
    REJECTED,
    Context,
    Vector,
    durable,
    protocol,
    volatile,
)

# Message kinds.
PUT = 1  # token, key
PUT_OK = 2  # token, key
PUT_FAILED = 3  # token
GET = 4  # token, key
GOT = 5  # token, version
STORE = 6  # token, key, version, whether it is a repair
STORED = 7  # token, key
FETCH = 8  # token, key
FETCHED = 9  # token, key, version

# Timer kinds.
READ_LATER = 1  # token, key
GIVE_UP = 2  # token

WRITER_DRAW = 1
READER_DRAW = 2

STORES = 0
FETCHES = 1
READS = 2
FRESH = 3
REPAIRS = 4
FAILED = 5
ALL_STORED = 6


@protocol
class Quorum:
    """The client puts every operation and, if `read_after_ns` is not negative, reads the key that long after the ack.

    The version of a write is its token + 1: the client's clock orders writes and the newest wins. A put that W replicas
    have not stored after `timeout_ns` (0: never) fails; nothing is rolled back. APPLIED on a replica says that it took
    a version, on the client that a read returned it. Replicas are at most 62, for sets of them are bit masks.
    """

    parameters: ClassVar[tuple[str, ...]] = (
        "replicas", "write_quorum", "read_quorum", "writers", "readers", "read_after_ns", "timeout_ns", "repair",
    )  # fmt: skip
    counters: ClassVar[tuple[str, ...]] = (
        "stores", "fetches", "reads", "fresh", "repairs", "failed", "all_stored",
    )  # fmt: skip
    kinds: ClassVar[Mapping[int, str]] = {
        PUT: "put", PUT_OK: "put_ok", PUT_FAILED: "put_failed", GET: "get", GOT: "got", STORE: "store",
        STORED: "stored", FETCH: "fetch", FETCHED: "fetched",
    }  # fmt: skip
    timers: ClassVar[Mapping[int, str]] = {READ_LATER: "read_later", GIVE_UP: "give_up"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}

    version: Vector[int] = durable("keys", on="replica")
    stored: Vector[int] = volatile("updates", on="replica")  # how many replicas stored a put
    stored_by: Vector[int] = volatile("updates", on="replica")  # which ones
    settled: Vector[int] = volatile("updates", on="replica")
    fetched: Vector[int] = volatile("updates", on="replica")  # how many replicas replied to a read
    newest: Vector[int] = volatile("updates", on="replica")
    behind: Vector[int] = volatile("updates", on="replica")  # bits of replicas that replied with less than the newest
    replied: Vector[int] = volatile("updates", on="replica")  # which ones
    expected: Vector[int] = volatile("keys", on="client")  # the newest version that the client knows to be stored

    def on_start(self, ctx: Context) -> None:
        """A node begins idle."""

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        ctx.observe(ATTEMPTED, token)
        ctx.send(self.coordinator(ctx, ctx.rand(WRITER_DRAW), ctx.p.replicas, ctx.p.writers), PUT, token, key)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == READ_LATER:
            first = ctx.p.replicas + ctx.p.writers
            ctx.send(self.coordinator(ctx, ctx.rand(READER_DRAW), first, ctx.p.readers), GET, a, b)
        elif not self.settled[a]:
            self.settled[a] = 1
            ctx.count(FAILED)
            ctx.send(ctx.client, PUT_FAILED, a)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == STORE:
            self.on_store(ctx, source, a, b, c, d)
        elif kind == FETCH:
            ctx.send(source, FETCHED, a, b, self.version[b])
        elif kind == STORED:
            self.on_stored(ctx, source, a, b)
        elif kind == FETCHED:
            self.on_fetched(ctx, source, a, b, c)
        elif kind == PUT:
            ctx.observe(ACCEPTED, a + 1, a)
            for replica in range(ctx.p.replicas):
                ctx.count(STORES)
                ctx.send(replica, STORE, a, b, a + 1)
            if ctx.p.timeout_ns:
                ctx.timer(ctx.p.timeout_ns, GIVE_UP, a)
        elif kind == GET:
            for replica in range(ctx.p.replicas):
                ctx.count(FETCHES)
                ctx.send(replica, FETCH, a, b)
        else:
            self.on_answer(ctx, kind, a, b, c)

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    def coordinator(self, ctx: Context, draw: int, first: int, count: int) -> int:
        return first + scale(draw, count) if count else scale(draw, ctx.p.replicas)

    # Client

    def on_answer(self, ctx: Context, kind: int, token: int, key: int, version: int) -> None:
        if kind == PUT_OK:
            ctx.observe(ACKNOWLEDGED, token)
            self.expected[key] = max(self.expected[key], token + 1)
            if ctx.p.read_after_ns >= 0:
                ctx.timer(ctx.p.read_after_ns, READ_LATER, token, key)
        elif kind == PUT_FAILED:
            ctx.observe(REJECTED, token)
        else:
            ctx.count(READS)
            ctx.observe(APPLIED, version, token)
            if version > token:
                ctx.count(FRESH)

    # Coordinators

    def on_stored(self, ctx: Context, source: int, token: int, key: int) -> None:
        if self.stored_by[token] >> source & 1:
            return
        self.stored_by[token] |= 1 << source
        self.stored[token] += 1
        if self.stored[token] == ctx.p.replicas:
            ctx.count(ALL_STORED)
        if self.stored[token] == ctx.p.write_quorum and not self.settled[token]:
            self.settled[token] = 1
            ctx.send(ctx.client, PUT_OK, token, key)

    def on_fetched(self, ctx: Context, source: int, token: int, key: int, version: int) -> None:
        if self.replied[token] >> source & 1:
            return
        self.fetched[token] += 1
        if version > self.newest[token]:
            self.newest[token] = version
            self.behind[token] = self.replied[token]
        elif version < self.newest[token]:
            self.behind[token] |= 1 << source
        self.replied[token] |= 1 << source
        if self.fetched[token] == ctx.p.read_quorum:
            ctx.send(ctx.client, GOT, token, key, self.newest[token])
        if ctx.p.repair and self.fetched[token] >= ctx.p.read_quorum:
            self.mend(ctx, token, key)

    def mend(self, ctx: Context, token: int, key: int) -> None:
        """Bring replicas that replied with an older version up to date."""
        for replica in range(ctx.p.replicas):
            if self.behind[token] >> replica & 1:
                ctx.count(REPAIRS)
                ctx.send(replica, STORE, token, key, self.newest[token], 1)
        self.behind[token] = 0

    # Replicas

    def on_store(self, ctx: Context, source: int, token: int, key: int, version: int, is_repair: int) -> None:
        if version > self.version[key]:
            self.version[key] = version
            ctx.observe(APPLIED, version, version - 1)
        if not is_repair:
            ctx.send(source, STORED, token, key)
