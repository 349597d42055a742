"""SWIM: probing, indirect probing, suspicion and infection-style membership (Das, Gupta & Motivala 2002).

What is known of a member is one number, 4 * incarnation + status, and the larger number wins everywhere: suspicion
beats life, death beats suspicion, a later incarnation beats both. That is the order of memberlist; in the paper death
is final, here a member that comes back refutes it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lab.core.draws import mix, scale
from lab.core.units import DurationNs, PositiveDurationNs, duration_text
from lab.protocols.form import Context, Vector, durable, protocol, volatile
from lab.protocols.settings import ProtocolSettings

# Message kinds. `probe` is number << 20 | node whose probe it is; words b, c and d carry rumours.
PING = 1  # probe
ACK = 2  # probe
PING_REQUEST = 3  # number << 20 | target
ACK_FOR = 4  # probe

# Timer kinds.
PERIOD = 1  # number
INDIRECT = 2  # number
VERDICT = 3  # number
SUSPICION = 4  # member, what was known of it

# Status of a member.
ALIVE = 0
SUSPECT = 1
DEAD = 2

PHASE_DRAW = 1
TARGET_DRAW = 2
HELPER_DRAW = 3

NODE_BITS = 20
NODE_MASK = 1_048_575

# Marks: member, incarnation.
SUSPECTED = 16
TRUSTED = 17
DEAD_HERE = 18

PROBES = 0
FAILED = 1
SUSPICIONS = 2
DEATHS = 3
REFUTATIONS = 4
RUMOURS = 5
MESSAGES = 6


@protocol
class Swim:
    """Each period a node pings a member; without ack after `direct_ns` it asks `helpers` others to; then it suspects.

    `order` 0 probes a random member each period, 1 all in turn from a random one on. A suspicion becomes a death after
    `suspicion_ns` (0: at once) unless a larger number arrives; a member that hears that it is not alive raises its own
    incarnation. Every message carries up to `rumours` (0 to 3) of them, those sent least often first, each at most
    `spread` * (bits of the number of nodes) times from a node; a member that is not held alive is told so first. Dead
    members are not probed. Helpers are drawn one by one, so one may be asked twice. A node that begins holds everyone
    for alive. `direct_ns` is below `period_ns`. Nodes are below 2^20.

    A node marks suspected when a member begins to be not alive for it, dead when it is dead, trusted when it is alive
    again. FAILED counts probes without ack, SUSPICIONS and DEATHS those marks, whether by the node's own probe or by a
    rumour, REFUTATIONS raised incarnations.
    """

    parameters: ClassVar[tuple[str, ...]] = (
        "period_ns", "direct_ns", "helpers", "suspicion_ns", "rumours", "spread", "order",
    )  # fmt: skip
    counters: ClassVar[tuple[str, ...]] = (
        "probes", "failed", "suspicions", "deaths", "refutations", "rumours", "messages",
    )  # fmt: skip
    kinds: ClassVar[Mapping[int, str]] = {PING: "ping", ACK: "ack", PING_REQUEST: "ping_request", ACK_FOR: "ack_for"}
    timers: ClassVar[Mapping[int, str]] = {
        PERIOD: "period", INDIRECT: "indirect", VERDICT: "verdict", SUSPICION: "suspicion",
    }  # fmt: skip
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    marks: ClassVar[Mapping[str, int]] = {"suspected": SUSPECTED, "trusted": TRUSTED, "dead": DEAD_HERE}

    number: int = durable()  # own incarnation
    target: int = volatile()
    probing: int = volatile()  # number of the period whose probe is open
    target_known: int = volatile()  # what was known of the target when it was pinged
    answered: int = volatile()
    known: Vector[int] = volatile("nodes")  # 4 * incarnation + status
    left: Vector[int] = volatile("nodes")  # how often a rumour may still be sent

    def on_start(self, ctx: Context) -> None:
        if ctx.me >= ctx.n:
            return
        self.known[ctx.me] = 4 * self.number
        self.target = ctx.me
        if ctx.n > 1:
            ctx.timer(scale(ctx.rand(PHASE_DRAW), ctx.p.period_ns), PERIOD, 1)

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        """There are no operations."""

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == PERIOD:
            ctx.timer(ctx.p.period_ns, PERIOD, a + 1)
            self.probe(ctx, a)
        elif kind == INDIRECT and a == self.probing and not self.answered:
            for helper in range(ctx.p.helpers):
                self.tell(ctx, self.helper(ctx, helper), PING_REQUEST, (a << NODE_BITS) + self.target)
            ctx.timer(ctx.p.period_ns - ctx.p.direct_ns - 1, VERDICT, a)
        elif kind == VERDICT and a == self.probing and not self.answered:
            ctx.count(FAILED)
            status = SUSPECT if ctx.p.suspicion_ns else DEAD
            self.learn(ctx, self.target, self.target_known // 4 * 4 + status)
        elif kind == SUSPICION and self.known[a] == b:
            self.learn(ctx, a, b // 4 * 4 + DEAD)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        self.hear(ctx, b)
        self.hear(ctx, c)
        self.hear(ctx, d)
        node = a & NODE_MASK
        if kind == PING:
            self.tell(ctx, source, ACK, a)
        elif kind == PING_REQUEST:
            self.tell(ctx, node, PING, (a >> NODE_BITS << NODE_BITS) + source)
        elif kind == ACK and node != ctx.me:
            self.tell(ctx, node, ACK_FOR, a)
        elif a >> NODE_BITS == self.probing:
            self.answered = 1

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    # Probing

    def probe(self, ctx: Context, number: int) -> None:
        """Ping a member that is not dead, if there is one."""
        target = self.target
        if ctx.p.order == 0 or number == 1:
            target = ctx.me + scale(ctx.rand(TARGET_DRAW), ctx.n - 1)  # the next one is never this node
        for step in range(1, ctx.n + 1):
            member = (target + step) % ctx.n
            if member != ctx.me and self.known[member] % 4 != DEAD:
                ctx.count(PROBES)
                self.target = member
                self.target_known = self.known[member]
                self.answered = 0
                self.probing = number
                self.tell(ctx, member, PING, (number << NODE_BITS) + ctx.me)
                ctx.timer(ctx.p.direct_ns, INDIRECT, number)
                return
        self.probing = 0

    def helper(self, ctx: Context, number: int) -> int:
        """Return a random node that is neither this one nor the target; the target if there is no other."""
        if ctx.n < 3:
            return self.target
        low = min(ctx.me, self.target)
        high = max(ctx.me, self.target)
        node = scale(mix(ctx.rand(HELPER_DRAW), number), ctx.n - 2)
        if node >= low:
            node += 1
        if node >= high:
            node += 1
        return node

    # Rumours: (what is known << 20) + member + 1 in a word; 0 is none

    def tell(self, ctx: Context, target: int, kind: int, word: int) -> None:
        """Send a message with the rumours that are due."""
        ctx.count(MESSAGES)
        first = 0
        if ctx.p.rumours > 0 and self.known[target] % 4 != ALIVE:
            first = self.rumour(ctx, target)
        elif ctx.p.rumours > 0:
            first = self.next_rumour(ctx, 0, 0)
        second = self.next_rumour(ctx, first, 0) if ctx.p.rumours > 1 else 0
        third = self.next_rumour(ctx, first, second) if ctx.p.rumours > 2 else 0
        ctx.send(target, kind, word, first, second, third)

    def rumour(self, ctx: Context, member: int) -> int:
        """Return what is known of a member as a word, and count that it is sent."""
        ctx.count(RUMOURS)
        self.left[member] = max(0, self.left[member] - 1)
        return (self.known[member] << NODE_BITS) + member + 1

    def next_rumour(self, ctx: Context, first: int, second: int) -> int:
        """Return the rumour that was sent least often and is not among two others, 0 if there is none."""
        most = 0
        best = 0
        for member in range(ctx.n):
            is_new = member + 1 != first & NODE_MASK and member + 1 != second & NODE_MASK
            if is_new and self.left[member] > most:
                most = self.left[member]
                best = member
        return self.rumour(ctx, best) if most else 0

    def hear(self, ctx: Context, word: int) -> None:
        """Take a rumour; refute one that says that this node is not alive."""
        if word == 0:
            return
        member = (word & NODE_MASK) - 1
        known = word >> NODE_BITS
        if member != ctx.me:
            self.learn(ctx, member, known)
        elif known > 4 * self.number:
            ctx.count(REFUTATIONS)
            self.number = known // 4 + 1
            self.known[member] = 4 * self.number
            self.left[member] = self.budget(ctx)

    def learn(self, ctx: Context, member: int, known: int) -> None:
        """Take what is newer of a member, and pass it on."""
        before = self.known[member]
        if known <= before:
            return
        self.known[member] = known
        self.left[member] = self.budget(ctx)
        status = known % 4
        if status != ALIVE and before % 4 == ALIVE:
            ctx.count(SUSPICIONS)
            ctx.observe(SUSPECTED, member, known // 4)
        if status == ALIVE and before % 4 != ALIVE:
            ctx.observe(TRUSTED, member, known // 4)
        if status == SUSPECT:
            ctx.timer(ctx.p.suspicion_ns, SUSPICION, member, known)
        elif status == DEAD:
            ctx.count(DEATHS)
            ctx.observe(DEAD_HERE, member, known // 4)

    def budget(self, ctx: Context) -> int:
        """Return how often a node sends a rumour."""
        bits = 0
        budget = 0
        while ctx.n >> bits:
            bits += 1
            budget += ctx.p.spread
        return budget


ORDERS = {"random": 0, "in_turn": 1}


class Settings(ProtocolSettings):
    """Each `period` a replica probes another one, asks `helpers` to probe it too if no ack came in `ack_timeout`, and
    suspects it at the end of the period.

    A suspicion becomes a death after `suspicion` (0s: at once). Every message carries up to `rumours` of changes, each
    at most `spread` times the number of bits of the number of replicas.
    """

    has_client: ClassVar[bool] = False
    replicas_max: ClassVar[int] = 1000

    period: PositiveDurationNs = 1_000_000_000
    ack_timeout: PositiveDurationNs = 300_000_000
    helpers: Annotated[int, Field(ge=0, le=62)] = 3
    suspicion: DurationNs = 3_000_000_000
    rumours: Annotated[int, Field(ge=0, le=3)] = 3
    spread: Annotated[int, Field(ge=1, le=100)] = 3
    order: Literal["random", "in_turn"] = "in_turn"

    def problems(self, experiment: Any) -> list[tuple[str, str]]:
        if self.ack_timeout < self.period:
            return []
        return [
            (
                "ack_timeout",
                f"an ack awaited for {duration_text(self.ack_timeout)} does not fit into a period of "
                f"{duration_text(self.period)}; lower the one or raise the other",
            )
        ]

    def parameters(self, experiment: Any) -> dict[str, int]:
        return {
            "period_ns": self.period,
            "direct_ns": self.ack_timeout,
            "helpers": self.helpers,
            "suspicion_ns": self.suspicion,
            "rumours": self.rumours,
            "spread": self.spread,
            "order": ORDERS[self.order],
        }
