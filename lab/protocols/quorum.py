"""A Dynamo-style register store: N replicas, writes need W and reads R of them, read repair (DeCandia et al. 2007).

The replicas are a ring; a key lives on the `copies` (N) replicas from number key modulo replicas on, its homes. A
sloppy quorum (section 4.6) lets the next replicas on the ring stand in for homes that do not answer, with hints of
whom they stand in for; a handoff brings what they hold home.

With `writers` and `readers` 0 the replicas coordinate; otherwise the nodes behind the replicas do, writers first. With
four kinds of links (writer to replica, back, reader to replica, back) this is the WARS model of Bailis et al. 2012.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from lab.core.draws import below, scale
from lab.core.units import DurationNs, PositiveDurationNs, SharePpm, duration_text
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
from lab.protocols.settings import ProtocolSettings, Switch

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
HINT = 10  # token, key, home: store it in the home's stead
HINTED = 11  # token, key, home
HAND = 12  # token, key, whether it asks if the home answers again
HANDED = 13  # token, whether it had asked
SEEK = 14  # token, key: a read by way of hints; the answer is FETCHED

# Timer kinds.
READ_LATER = 1  # token, key
GIVE_UP = 2  # token
STAND_IN = 3  # token, key, whether it is a read
HAND_OVER = 4

# Marks, made by the client.
READ = 16  # token, key: it asked for the key, `read_after_ns` after the write was acknowledged
READ_DONE = 17  # token, version: the answer came
ASKED = 18  # token, version: an operation that reads began when this was the newest that had been acknowledged
# Made by a stand-in.
KEPT = 19  # token, home: it stores the write as a hint
GONE_HOME = 20  # token, home: the home has it, and the hint is forgotten

WRITER_DRAW = 1
READER_DRAW = 2
KIND_DRAW = 3
PHASE_DRAW = 4

DELIVERED = -1  # of a hint: its home has it

STORES = 0
FETCHES = 1
READS = 2
FRESH = 3
REPAIRS = 4
FAILED = 5
ALL_STORED = 6
STAND_INS = 7
HINTS = 8
HINTS_REFUSED = 9
HANDOFFS = 10
HANDED_OVER = 11

# Parameters of a store without rings, hints and operations that read; `copies` is to be added.
PLAIN = {"patience_ns": 0, "handoff_ns": 0, "hints": 0, "reads_ppm": 0}


@protocol
class Quorum:
    """The client puts every operation and, if `read_after_ns` is not negative, reads the key that long after the ack.

    The version of a write is its token + 1: the client's clock orders writes and the newest wins. A put that W replicas
    have not stored after `timeout_ns` (0: never) fails; nothing is rolled back. APPLIED on a replica says that it took
    a version, on the client that a read returned it. Replicas are at most 62, for sets of them are bit masks.

    With `patience_ns` above 0 quorums are sloppy: after that long a coordinator asks one stand-in for each home that
    has not answered, and again after as long while stand-ins are left. What a stand-in stores counts as stored by the
    home. It keeps at most `hints` undelivered ones, on disk; when full it does not answer (`hints_refused`). Every
    `handoff_ns` (0: never) it offers each home one hint, and sends it the others as soon as it answers. A share
    `reads_ppm` of the operations read instead of writing.
    """

    parameters: ClassVar[tuple[str, ...]] = (
        "replicas", "write_quorum", "read_quorum", "writers", "readers", "read_after_ns", "timeout_ns", "repair",
        "copies", "patience_ns", "handoff_ns", "hints", "reads_ppm",
    )  # fmt: skip
    counters: ClassVar[tuple[str, ...]] = (
        "stores", "fetches", "reads", "fresh", "repairs", "failed", "all_stored", "stand_ins", "hints",
        "hints_refused", "handoffs", "handed_over",
    )  # fmt: skip
    kinds: ClassVar[Mapping[int, str]] = {
        PUT: "put", PUT_OK: "put_ok", PUT_FAILED: "put_failed", GET: "get", GOT: "got", STORE: "store",
        STORED: "stored", FETCH: "fetch", FETCHED: "fetched", HINT: "hint", HINTED: "hinted", HAND: "hand",
        HANDED: "handed", SEEK: "seek",
    }  # fmt: skip
    timers: ClassVar[Mapping[int, str]] = {
        READ_LATER: "read_later", GIVE_UP: "give_up", STAND_IN: "stand_in", HAND_OVER: "hand_over",
    }  # fmt: skip
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    marks: ClassVar[Mapping[str, int]] = {
        "read": READ,
        "read_done": READ_DONE,
        "asked": ASKED,
        "kept": KEPT,
        "gone_home": GONE_HOME,
    }

    version: Vector[int] = durable("keys", on="replica")
    # Hints of a stand-in, in the order in which they came; those before `hint_first` are delivered.
    hint_token: Vector[int] = durable("updates", on="replica")
    hint_home: Vector[int] = durable("updates", on="replica")  # by token: home + 1, or DELIVERED
    hint_key: Vector[int] = durable("updates", on="replica")  # by token
    hint_first: int = durable()
    hint_end: int = durable()
    hint_count: int = durable()  # how many are not delivered

    stored: Vector[int] = volatile("updates", on="replica")  # how many replicas stored a put
    stored_by: Vector[int] = volatile("updates", on="replica")  # which ones
    settled: Vector[int] = volatile("updates", on="replica")
    fetched: Vector[int] = volatile("updates", on="replica")  # how many replicas replied to a read
    newest: Vector[int] = volatile("updates", on="replica")
    behind: Vector[int] = volatile("updates", on="replica")  # bits of replicas that replied with less than the newest
    replied: Vector[int] = volatile("updates", on="replica")  # which ones
    write_stand_ins: Vector[int] = volatile("updates", on="replica")  # how many were asked
    read_stand_ins: Vector[int] = volatile("updates", on="replica")
    expected: Vector[int] = volatile("keys", on="client")  # the newest version that the client knows to be stored
    wanted: Vector[int] = volatile("updates", on="client")  # the least version that a read must return to be fresh
    only_reads: Vector[int] = volatile("updates", on="client")

    def on_start(self, ctx: Context) -> None:
        if ctx.me < ctx.p.replicas and ctx.p.handoff_ns:
            ctx.timer(1 + scale(ctx.rand(PHASE_DRAW), ctx.p.handoff_ns), HAND_OVER)

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        ctx.observe(ATTEMPTED, token)
        if ctx.p.reads_ppm and below(ctx.rand(KIND_DRAW), ctx.p.reads_ppm):
            self.only_reads[token] = 1
            ctx.observe(ASKED, token, self.expected[key])
            self.read(ctx, token, key, self.expected[key])
            return
        ctx.send(self.coordinator(ctx, ctx.rand(WRITER_DRAW), ctx.p.replicas, ctx.p.writers), PUT, token, key)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == READ_LATER:
            self.read(ctx, a, b, a + 1)
        elif kind == STAND_IN:
            self.stand_in(ctx, a, b, c)
        elif kind == HAND_OVER:
            self.hand_over(ctx)
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
            self.on_put(ctx, a, b)
        elif kind == GET:
            self.on_get(ctx, a, b)
        elif kind == HINT:
            self.on_hint(ctx, source, a, b, c)
        elif kind == HINTED:
            self.on_stored(ctx, c, a, b)
        elif kind == HAND:
            self.take(ctx, b, a + 1)
            ctx.send(source, HANDED, a, c)
        elif kind == HANDED:
            self.on_handed(ctx, source, a, b)
        elif kind == SEEK:
            ctx.send(source, FETCHED, a, b, self.hinted_version(b))
        else:
            self.on_answer(ctx, kind, a, b, c)

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    def coordinator(self, ctx: Context, draw: int, first: int, count: int) -> int:
        return first + scale(draw, count) if count else scale(draw, ctx.p.replicas)

    def is_home(self, ctx: Context, replica: int, key: int) -> int:
        """Return whether a key lives on a replica."""
        from_first = (replica + ctx.p.replicas - key % ctx.p.replicas) % ctx.p.replicas
        return 1 if from_first < ctx.p.copies else 0

    # Client

    def read(self, ctx: Context, token: int, key: int, wanted: int) -> None:
        self.wanted[token] = wanted
        ctx.observe(READ, token, key)
        first = ctx.p.replicas + ctx.p.writers
        ctx.send(self.coordinator(ctx, ctx.rand(READER_DRAW), first, ctx.p.readers), GET, token, key)

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
            ctx.observe(READ_DONE, token, version)
            if version >= self.wanted[token]:
                ctx.count(FRESH)
            if self.only_reads[token]:
                ctx.observe(ACKNOWLEDGED, token)

    # Coordinators

    def on_put(self, ctx: Context, token: int, key: int) -> None:
        ctx.observe(ACCEPTED, token + 1, token)
        for replica in range(ctx.p.replicas):
            if self.is_home(ctx, replica, key):
                ctx.count(STORES)
                ctx.send(replica, STORE, token, key, token + 1)
        if ctx.p.patience_ns:
            ctx.timer(ctx.p.patience_ns, STAND_IN, token, key, 0)
        if ctx.p.timeout_ns:
            ctx.timer(ctx.p.timeout_ns, GIVE_UP, token)

    def on_get(self, ctx: Context, token: int, key: int) -> None:
        for replica in range(ctx.p.replicas):
            if self.is_home(ctx, replica, key):
                ctx.count(FETCHES)
                ctx.send(replica, FETCH, token, key)
        if ctx.p.patience_ns:
            ctx.timer(ctx.p.patience_ns, STAND_IN, token, key, 1)

    def stand_in(self, ctx: Context, token: int, key: int, is_read: int) -> None:
        """Ask the next replicas on the ring in the stead of homes that have not answered."""
        if is_read and self.fetched[token] >= ctx.p.read_quorum:
            return
        spare = ctx.p.replicas - ctx.p.copies
        asked = self.read_stand_ins[token] if is_read else self.write_stand_ins[token]
        answered = self.replied[token] if is_read else self.stored_by[token]
        missing = 0
        for place in range(ctx.p.copies):
            home = (key + place) % ctx.p.replicas
            if not answered >> home & 1 and asked < spare:
                target = (key + ctx.p.copies + asked) % ctx.p.replicas
                asked += 1
                missing = 1
                ctx.count(STAND_INS)
                if is_read:
                    ctx.send(target, SEEK, token, key)
                else:
                    ctx.send(target, HINT, token, key, home)
        if is_read:
            self.read_stand_ins[token] = asked
        else:
            self.write_stand_ins[token] = asked
        if missing and asked < spare:
            ctx.timer(ctx.p.patience_ns, STAND_IN, token, key, is_read)

    def on_stored(self, ctx: Context, source: int, token: int, key: int) -> None:
        if self.stored_by[token] >> source & 1:
            return
        self.stored_by[token] |= 1 << source
        self.stored[token] += 1
        if self.stored[token] == ctx.p.copies:
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
            if self.behind[token] >> replica & 1 and self.is_home(ctx, replica, key):
                ctx.count(REPAIRS)
                ctx.send(replica, STORE, token, key, self.newest[token], 1)
        self.behind[token] = 0

    # Replicas

    def on_store(self, ctx: Context, source: int, token: int, key: int, version: int, is_repair: int) -> None:
        self.take(ctx, key, version)
        if not is_repair:
            ctx.send(source, STORED, token, key)

    def take(self, ctx: Context, key: int, version: int) -> None:
        if version > self.version[key]:
            self.version[key] = version
            ctx.observe(APPLIED, version, version - 1)

    # Stand-ins

    def on_hint(self, ctx: Context, source: int, token: int, key: int, home: int) -> None:
        """Keep a write for its home; when full, leave it to others."""
        if not self.hint_home[token]:
            if self.hint_count >= ctx.p.hints:
                ctx.count(HINTS_REFUSED)
                return
            self.hint_home[token] = home + 1
            self.hint_key[token] = key
            self.hint_token[self.hint_end] = token
            self.hint_end += 1
            self.hint_count += 1
            ctx.count(HINTS)
            ctx.observe(KEPT, token, home)
        ctx.send(source, HINTED, token, key, home)

    def hinted_version(self, key: int) -> int:
        """Return the newest version of a key among the hints; 0 if there is none."""
        found = 0
        for place in range(self.hint_first, self.hint_end):
            token = self.hint_token[place]
            if self.hint_home[token] > 0 and self.hint_key[token] == key:
                found = max(found, token + 1)
        return found

    def hand_over(self, ctx: Context) -> None:
        """Offer every home that hints are kept for the first of them."""
        ctx.timer(ctx.p.handoff_ns, HAND_OVER)
        offered = 0
        for place in range(self.hint_first, self.hint_end):
            token = self.hint_token[place]
            home = self.hint_home[token] - 1
            if home >= 0:
                if not offered >> home & 1:
                    offered |= 1 << home
                    ctx.count(HANDOFFS)
                    ctx.send(home, HAND, token, self.hint_key[token], 1)

    def on_handed(self, ctx: Context, home: int, token: int, had_asked: int) -> None:
        """Forget a hint that its home has; one that answers again gets all the others."""
        if self.hint_home[token] <= 0:
            return
        self.hint_home[token] = DELIVERED
        self.hint_count -= 1
        ctx.count(HANDED_OVER)
        ctx.observe(GONE_HOME, token, home)
        while self.hint_first < self.hint_end and self.hint_home[self.hint_token[self.hint_first]] == DELIVERED:
            self.hint_first += 1
        if had_asked:
            for place in range(self.hint_first, self.hint_end):
                other = self.hint_token[place]
                if self.hint_home[other] == home + 1:
                    ctx.count(HANDOFFS)
                    ctx.send(home, HAND, other, self.hint_key[other], 0)


class Settings(ProtocolSettings):
    """Every key lives on `n` replicas of a ring (null: on all); a write waits for `write_quorum`, a read for
    `read_quorum`.

    After each acknowledgement the client waits `read_after` and reads the key (null: it never does); `reads` of the
    operations read instead of writing. A write that has not reached its quorum after `timeout` fails (0s: never). A
    replica coordinates, drawn for each write and read. With `sloppy` other replicas stand in for those that have not
    answered after `patience`; each keeps up to `hints` and, with `handoff`, offers them every `handoff_every`.
    """

    write_quorum: Annotated[int, Field(ge=1, le=62)] = 2
    read_quorum: Annotated[int, Field(ge=1, le=62)] = 2
    read_after: DurationNs | None = 0
    timeout: DurationNs = 1_000_000_000
    read_repair: Switch = "off"
    n: Annotated[int, Field(ge=1, le=62)] | None = None
    reads: SharePpm = 0
    sloppy: Switch = "off"
    patience: PositiveDurationNs = 100_000_000
    handoff: Switch = "off"
    handoff_every: PositiveDurationNs = 500_000_000
    hints: Annotated[int, Field(ge=1, le=200_000)] = 10_000

    def problems(self, experiment: Any) -> list[tuple[str, str]]:
        count = len(experiment.system.replicas)
        copies = count if self.n is None else self.n
        if copies > count:
            return [("n", f"{copies} copies are over the {count} replicas; lower it or add replicas")]
        where = (
            f"the {count} replicas; lower it or add replicas" if self.n is None else f"the {copies} copies; lower it"
        )
        found = [
            (key, f"a quorum of {size} is over {where}")
            for key, size in (("write_quorum", self.write_quorum), ("read_quorum", self.read_quorum))
            if size > copies
        ]
        if self.sloppy == "on" and copies == count:
            found.append(("sloppy", "every replica holds every key, so nobody can stand in; set n below the replicas"))
        if self.sloppy == "on" and 0 < self.timeout <= self.patience:
            end = duration_text(self.timeout)
            found.append(("patience", f"writes fail after {end}, before anybody stands in; lower it or raise timeout"))
        if self.handoff == "on" and self.sloppy == "off":
            found.append(("handoff", "without sloppy quorums there are no hints to hand over; write sloppy: on"))
        return found

    def parameters(self, experiment: Any) -> dict[str, int]:
        return {
            "replicas": len(experiment.system.replicas),
            "write_quorum": self.write_quorum,
            "read_quorum": self.read_quorum,
            "writers": 0,
            "readers": 0,
            "read_after_ns": -1 if self.read_after is None else self.read_after,
            "timeout_ns": self.timeout,
            "repair": int(self.read_repair == "on"),
            "copies": len(experiment.system.replicas) if self.n is None else self.n,
            "patience_ns": self.patience if self.sloppy == "on" else 0,
            "handoff_ns": self.handoff_every if self.handoff == "on" else 0,
            "hints": self.hints if self.sloppy == "on" else 0,
            "reads_ppm": self.reads,
        }
