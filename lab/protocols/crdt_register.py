"""A map of last-writer-wins registers over clocks that are wrong (Johnson & Thomas 1975; Shapiro et al. 2011, spec. 8).

The write with the larger stamp wins everywhere, so replicas agree; whether the write that wins is the last one depends
on the clock. By the wall clock a write through a fast clock hides later ones. A hybrid clock (Kulkarni et al. 2014)
never falls behind a stamp that it has seen, so a write is newer than whatever its writer knew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lab.core.draws import mix, scale
from lab.core.units import DurationNs, PositiveDurationNs, duration_text
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
from lab.protocols.settings import ProtocolSettings, Switch

# Message kinds.
PUT = 1  # token, key, stamp that the client knows
PUT_OK = 2  # token, key, stamp
ENTRY = 3  # key, stamp, version
ENTRY_OK = 4  # key, stamp, version

# Timer kinds.
ROUND = 1

# Clocks and laws of their offsets.
WALL, HYBRID = 0, 1
UNIFORM, NORMAL = 0, 1

PHASE_DRAW = 1
PEER_DRAW = 2
REPLICA_DRAW = 3
OFFSET_DRAW = 4
DRIFT_DRAW = 5

UNIFORMS = 64  # summed for a normal offset
WORD_BYTES = 8
MILLION = 1_000_000
SKEW_MAX_NS = 100_000_000_000

WRITES = 0
HIDDEN = 1
CONFLICTS = 2
ENTRIES = 3
BYTES = 4
MERGES = 5
USELESS = 6


@protocol
class CrdtRegister:
    """The client writes keys through random replicas; each round a replica sends registers to a random other one.

    A clock shows now + offset + drift. The offset is drawn once a node: uniform in [-skew_ns, skew_ns], or with
    `skew_law` 1 normal with deviation `skew_ns` (the sum of 64 uniform draws, whose law is within .0005 of the normal
    one); the drift is uniform in [-drift_ppm, drift_ppm]. `clock` 0 stamps with the clock, 1 with the larger of the
    clock and the newest stamp that replica or client know, plus 1. Equal stamps are decided by the version, which is
    the token + 1.

    Every `full_every`-th round carries all registers (1: state-based), the others those that the peer has not
    acknowledged in their present state (0: deltas alone); with `eager` a write goes to everyone at once. HIDDEN counts
    writes that lost at their own replica to an earlier operation, CONFLICTS merges in which the write that lost was the
    later operation. APPLIED (version, token) says that a replica shows a write. State must survive crashes. Replicas
    are at most 62. BYTES counts 8 a word of registers and their acknowledgements.
    """

    parameters: ClassVar[tuple[str, ...]] = (
        "keys", "period_ns", "full_every", "eager", "clock", "skew_law", "skew_ns", "drift_ppm",
    )  # fmt: skip
    counters: ClassVar[tuple[str, ...]] = (
        "writes", "hidden", "conflicts", "entries", "bytes", "merges", "useless",
    )  # fmt: skip
    kinds: ClassVar[Mapping[int, str]] = {PUT: "put", PUT_OK: "put_ok", ENTRY: "entry", ENTRY_OK: "entry_ok"}
    timers: ClassVar[Mapping[int, str]] = {ROUND: "round"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    read_state: ClassVar[tuple[str, ...]] = ("version",)

    stamp: Vector[int] = durable("keys")  # at the client the newest that it was told
    version: Vector[int] = durable("keys")
    held_by: Vector[int] = durable("keys")  # bits of replicas known to have a register in its present state
    done: Vector[int] = durable("updates", on="replica")  # operations that this replica carried out
    newest_stamp: int = durable()
    has_clock: int = durable()
    offset_ns: int = durable()
    rate_ppm: int = durable()
    rounds: int = volatile()

    def on_start(self, ctx: Context) -> None:
        if ctx.me >= ctx.n:
            return
        if not self.has_clock:
            self.has_clock = 1
            self.offset_ns = self.offset(ctx)
            self.rate_ppm = scale(ctx.rand(DRIFT_DRAW), 2 * ctx.p.drift_ppm + 1) - ctx.p.drift_ppm
        if ctx.p.period_ns:
            ctx.timer(1 + scale(ctx.rand(PHASE_DRAW), ctx.p.period_ns), ROUND)

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        ctx.observe(ATTEMPTED, token)
        ctx.send(scale(ctx.rand(REPLICA_DRAW), ctx.n), PUT, token, key, self.stamp[key])

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        ctx.timer(ctx.p.period_ns, ROUND)
        if ctx.n < 2:
            return
        self.rounds += 1
        is_full = ctx.p.full_every > 0 and self.rounds % max(1, ctx.p.full_every) == 0
        peer = scale(ctx.rand(PEER_DRAW), ctx.n - 1)
        if peer >= ctx.me:
            peer += 1
        for key in range(ctx.p.keys):
            if self.version[key] and (is_full or not self.held_by[key] >> peer & 1):
                self.send_entry(ctx, peer, key)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == ENTRY:
            self.merge(ctx, source, a, b, c)
        elif kind == ENTRY_OK:
            if self.stamp[a] == b and self.version[a] == c:
                self.held_by[a] |= 1 << source
        elif kind == PUT:
            if not self.done[a]:
                self.done[a] = 1
                self.write(ctx, a, b, self.new_stamp(ctx, c))
            ctx.send(ctx.client, PUT_OK, a, b, self.stamp[b])
        else:
            ctx.observe(ACKNOWLEDGED, a)
            self.stamp[b] = max(self.stamp[b], c)

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    # Clocks

    def offset(self, ctx: Context) -> int:
        """Return an offset in nanoseconds by the law."""
        draw = ctx.rand(OFFSET_DRAW)
        if ctx.p.skew_law == UNIFORM:
            return self.part(scale(draw, 2 * MILLION + 1) - MILLION, ctx.p.skew_ns, MILLION)
        total = 0
        for number in range(UNIFORMS):
            total += scale(mix(draw, number), 2 * MILLION + 1) - MILLION
        # One of the draws has variance 1/3 (in squares of MILLION), their sum 64/3: its root is 4.618802.
        return self.part(total, ctx.p.skew_ns, 4_618_802)

    def part(self, share: int, whole: int, unit: int) -> int:
        """Return a share, in units, of a whole."""
        return share * whole // unit

    def new_stamp(self, ctx: Context, known: int) -> int:
        """Return the stamp of a write."""
        clock_ns = ctx.clock + self.offset_ns + ctx.now // MILLION * self.rate_ppm
        if ctx.p.clock == WALL:
            return clock_ns
        return max(clock_ns, max(self.newest_stamp, known) + 1)

    # Registers

    def is_newer(self, ctx: Context, key: int, stamp: int, version: int) -> int:
        """Return whether a write wins over what the register shows."""
        mine = self.stamp[key]
        return 1 if not self.version[key] or stamp > mine or (stamp == mine and version > self.version[key]) else 0

    def write(self, ctx: Context, token: int, key: int, stamp: int) -> None:
        """Carry out a write of the client."""
        ctx.count(WRITES)
        ctx.observe(ACCEPTED, token + 1, token)
        if not self.is_newer(ctx, key, stamp, token + 1):
            if self.version[key] < token + 1:
                ctx.count(HIDDEN)
            return
        self.show(ctx, key, stamp, token + 1)
        if ctx.p.eager:
            for peer in range(ctx.n):
                if peer != ctx.me:
                    self.send_entry(ctx, peer, key)

    def show(self, ctx: Context, key: int, stamp: int, version: int) -> None:
        """Make a write what the register shows; nobody else is known to have it."""
        ctx.observe(APPLIED, version, version - 1)
        self.stamp[key] = stamp
        self.version[key] = version
        self.held_by[key] = 1 << ctx.me
        self.newest_stamp = max(self.newest_stamp, stamp)

    def send_entry(self, ctx: Context, target: int, key: int) -> None:
        """Tell a replica what a register shows."""
        ctx.count(ENTRIES)
        ctx.count(BYTES, 3 * WORD_BYTES)
        ctx.send(target, ENTRY, key, self.stamp[key], self.version[key])

    def merge(self, ctx: Context, source: int, key: int, stamp: int, version: int) -> None:
        """Take the write with the larger stamp and say so."""
        if self.is_newer(ctx, key, stamp, version):
            ctx.count(MERGES)
            if version < self.version[key]:
                ctx.count(CONFLICTS)
            self.show(ctx, key, stamp, version)
        else:
            ctx.count(USELESS)
        if self.stamp[key] == stamp and self.version[key] == version:
            self.held_by[key] |= 1 << source
            if ctx.p.full_every != 1:
                ctx.count(BYTES, 3 * WORD_BYTES)
                ctx.send(source, ENTRY_OK, key, stamp, version)


CLOCKS = {"wall": WALL, "hybrid": HYBRID}
SKEW_LAWS = {"uniform": UNIFORM, "normal": NORMAL}


class Settings(ProtocolSettings):
    """Every operation writes its key at a random replica, stamped by the replica's `clock`; the larger stamp wins.

    Clocks are off by up to `skew` either way (uniform) or with deviation `skew` (normal), and drift by up to
    `drift_ppm` either way. Every `period` a replica sends what another one lacks, and every `full_every`-th time all it
    has (1: state-based, 0: deltas alone); with `eager` on a write goes to all at once too.
    """

    period: PositiveDurationNs = 100_000_000
    full_every: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    eager: Switch = "off"
    clock: Literal["wall", "hybrid"] = "wall"
    skew: DurationNs = 0
    skew_law: Literal["uniform", "normal"] = "uniform"
    drift_ppm: Annotated[int, Field(ge=0, le=100_000)] = 0

    def problems(self, experiment: Any) -> list[tuple[str, str]]:
        if self.skew <= SKEW_MAX_NS:
            return []
        return [("skew", f"is over {duration_text(SKEW_MAX_NS)}")]

    def parameters(self, experiment: Any) -> dict[str, int]:
        return {
            "keys": experiment.workload.keys,
            "period_ns": self.period,
            "full_every": self.full_every,
            "eager": int(self.eager == "on"),
            "clock": CLOCKS[self.clock],
            "skew_law": SKEW_LAWS[self.skew_law],
            "skew_ns": self.skew,
            "drift_ppm": self.drift_ppm,
        }
