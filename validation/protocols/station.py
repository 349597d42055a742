"""A queueing station: the client queues operations, the delay of its link to a server is the time of service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lab.core.draws import scale
from lab.protocols.form import APPLIED, Context, Vector, protocol, volatile

# Message kinds.
SERVE = 1  # token, number of the service
DONE = 2  # token, number of the service

# Disciplines.
SHARED = 0  # one queue, first come first served, any idle server
REDUNDANT = 1  # copies in the queues of `copies` random servers; the first to finish cancels the others

CHOICE_DRAW = 1

JOBS = 0
REFUSED = 1
WAIT_NS = 2
SOJOURN_NS = 3
LONG_WAITS = 4
LONG_SOJOURNS = 5
DELAYED = 6
AREA_NS = 7
SPAN_NS = 8


@protocol
class Station:
    """Servers are the nodes 0..n-1. An operation that finds `room` others in the station is refused.

    Operations before `warm_up` are served but not counted; a wait or sojourn above `long_ns` is counted as long.
    """

    parameters: ClassVar[tuple[str, ...]] = ("discipline", "copies", "room", "warm_up", "long_ns")
    counters: ClassVar[tuple[str, ...]] = (
        "jobs", "refused", "wait_ns", "sojourn_ns", "long_waits", "long_sojourns", "delayed", "area_ns", "span_ns",
    )  # fmt: skip
    kinds: ClassVar[Mapping[int, str]] = {SERVE: "serve", DONE: "done"}
    timers: ClassVar[Mapping[int, str]] = {}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}

    arrived_ns: Vector[int] = volatile("updates", on="client")
    choice: Vector[int] = volatile("updates", on="client")  # bits of servers that may serve it; 0: gone
    begun: Vector[int] = volatile("updates", on="client")
    serving: Vector[int] = volatile("nodes", on="client")  # token + 1
    service: Vector[int] = volatile("nodes", on="client")
    position: Vector[int] = volatile("nodes", on="client")
    inside: int = volatile()
    arrivals: int = volatile()
    changed_ns: int = volatile()

    def on_start(self, ctx: Context) -> None:
        """A station begins empty."""

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        """There are no timers."""

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        self.measure_area(ctx, token)
        self.arrivals = token + 1
        if token >= ctx.p.warm_up:
            ctx.count(JOBS)
        if self.inside >= ctx.p.room:
            if token >= ctx.p.warm_up:
                ctx.count(REFUSED)
            return
        self.inside += 1
        self.arrived_ns[token] = ctx.now
        self.choice[token] = self.choose(ctx)
        for server in range(ctx.n):
            if self.serving[server] == 0 and (ctx.p.discipline == REDUNDANT or not self.begun[token]):
                self.next_job(ctx, server)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == SERVE:
            ctx.send(source, DONE, a, b)
            return
        if self.serving[source] != a + 1 or self.service[source] != b:
            return
        self.measure_area(ctx, a)
        self.inside -= 1
        self.choice[a] = 0
        if a >= ctx.p.warm_up:
            sojourn_ns = ctx.now - self.arrived_ns[a]
            ctx.count(SOJOURN_NS, sojourn_ns)
            ctx.count(LONG_SOJOURNS, 1 if sojourn_ns > ctx.p.long_ns else 0)
            ctx.observe(APPLIED, a + 1, a)
        for server in range(ctx.n):
            if self.serving[server] == a + 1:
                self.serving[server] = 0
                self.next_job(ctx, server)

    def choose(self, ctx: Context) -> int:
        """Return the bits of the servers that may serve an operation."""
        if ctx.p.discipline == SHARED:
            return (1 << ctx.n) - 1
        chosen = 0
        for number in range(ctx.p.copies):
            rank = scale(ctx.rand(CHOICE_DRAW + (number << 8)), ctx.n - number)
            for server in range(ctx.n):
                if chosen >> server & 1:
                    continue
                if rank == 0:
                    chosen |= 1 << server
                    break
                rank -= 1
        return chosen

    def next_job(self, ctx: Context, server: int) -> None:
        """Give an idle server the oldest operation that it may serve."""
        token = self.position[server]
        while token < self.arrivals:
            may = self.choice[token] >> server & 1
            if may and (ctx.p.discipline == REDUNDANT or not self.begun[token]):
                break
            token += 1
        self.position[server] = token
        if token == self.arrivals:
            return
        self.position[server] = token + 1
        if not self.begun[token]:
            self.begun[token] = 1
            self.count_wait(ctx, token)
        self.serving[server] = token + 1
        self.service[server] += 1
        ctx.send(server, SERVE, token, self.service[server])

    def count_wait(self, ctx: Context, token: int) -> None:
        if token < ctx.p.warm_up:
            return
        wait_ns = ctx.now - self.arrived_ns[token]
        ctx.count(WAIT_NS, wait_ns)
        ctx.count(DELAYED, 1 if wait_ns > 0 else 0)
        ctx.count(LONG_WAITS, 1 if wait_ns > ctx.p.long_ns else 0)

    def measure_area(self, ctx: Context, token: int) -> None:
        """Add to the integral of the number inside over time."""
        if token >= ctx.p.warm_up:
            ctx.count(AREA_NS, self.inside * (ctx.now - self.changed_ns))
            ctx.count(SPAN_NS, ctx.now - self.changed_ns)
        self.changed_ns = ctx.now
