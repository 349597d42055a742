"""Epidemics of one update (Demers et al. 1987): anti-entropy and rumour mongering by push, pull or both.

Rounds are synchronous if `period_ns` is above 0: all nodes act at multiples of it, and "already knows" is judged at the
start of the round, so every answer must arrive within the round. With `period_ns` 0 a node's clock is a message to
itself: the delay of the link to itself is the time between its contacts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lab.core.draws import scale
from lab.core.units import PositiveDurationNs, duration_text
from lab.protocols.form import APPLIED, Context, durable, protocol, volatile
from lab.protocols.settings import ProtocolSettings, Switch

SOURCE = 0  # the node that knows the update at first

# Message kinds.
RUMOUR = 1  # round
POLL = 2  # round, whether the sender needs the update
FEEDBACK = 3  # round, whether the rumour was needed
CLOCK = 4

# Timer kinds.
ROUND = 1
JUDGE = 2

# Ways, bits of `ways`.
PUSH = 1
PULL = 2

# What ends a node's interest in spreading.
NEVER = 0  # anti-entropy
COUNTER = 1  # `k` useless contacts in a row (every contact counts if blind)
COIN = 2  # after a useless contact (after every contact if blind) with probability 1 / k

# States of a node.
SUSCEPTIBLE = 0
INFECTIVE = 1
REMOVED = 2

PEER_DRAW = 1
COIN_DRAW = 2

REACHED = 0
SENT = 1
USELESS = 2
REMOVALS = 3
RECEIPTS_NS = 4


@protocol
class Epidemic:
    """One update spreads from node 0. A node that has it is infective until `stop` says otherwise.

    A useful contact resets the counter. With pull, the counter judges a whole round: it is raised once if the node was
    polled and no poller needed the update.
    """

    parameters: ClassVar[tuple[str, ...]] = ("period_ns", "ways", "stop", "feedback", "k")
    counters: ClassVar[tuple[str, ...]] = ("reached", "sent", "useless", "removals", "receipts_ns")
    kinds: ClassVar[Mapping[int, str]] = {RUMOUR: "rumour", POLL: "poll", FEEDBACK: "feedback", CLOCK: "clock"}
    timers: ClassVar[Mapping[int, str]] = {ROUND: "round", JUDGE: "judge"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}

    state: int = durable()
    learned_round: int = durable()
    useless: int = volatile()
    polled_round: int = volatile()
    needed: int = volatile()

    def on_start(self, ctx: Context) -> None:
        if ctx.me >= ctx.n:
            return
        if ctx.me == SOURCE and self.state == SUSCEPTIBLE:
            self.state = INFECTIVE
            ctx.count(REACHED)
            ctx.observe(APPLIED, 1)
        if ctx.p.period_ns == 0:
            ctx.send(ctx.me, CLOCK)
        elif ctx.p.ways & PULL or self.state == INFECTIVE:
            self.next_round(ctx)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == JUDGE:
            self.judge(ctx, self.needed)
            return
        self.contact(ctx)
        if ctx.p.ways & PULL or self.state == INFECTIVE:
            self.next_round(ctx)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == CLOCK:
            self.contact(ctx)
            ctx.send(ctx.me, CLOCK)
        elif kind == RUMOUR:
            self.on_rumour(ctx, source, a)
        elif kind == POLL:
            self.on_poll(ctx, source, b)
        else:
            self.judge(ctx, b)

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        """There are no operations."""

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    def round(self, ctx: Context) -> int:
        return ctx.now // ctx.p.period_ns if ctx.p.period_ns else 0

    def next_round(self, ctx: Context) -> None:
        ctx.timer(ctx.p.period_ns - ctx.now % ctx.p.period_ns, ROUND)

    def knew(self, ctx: Context) -> int:
        """Return whether the node had the update when the round began."""
        if self.state == SUSCEPTIBLE:
            return 0
        return 1 if ctx.p.period_ns == 0 or ctx.me == SOURCE or self.learned_round < self.round(ctx) else 0

    def contact(self, ctx: Context) -> None:
        """Push to or poll (or both) a random other node."""
        peer = scale(ctx.rand(PEER_DRAW), ctx.n - 1)
        if peer >= ctx.me:
            peer += 1
        if ctx.p.ways & PUSH and self.state == INFECTIVE:
            ctx.count(SENT)
            ctx.send(peer, RUMOUR, self.round(ctx))
            if not ctx.p.feedback:
                self.judge(ctx, 0)
        if ctx.p.ways & PULL:
            ctx.send(peer, POLL, self.round(ctx), 1 - self.knew(ctx))

    def on_rumour(self, ctx: Context, source: int, round_number: int) -> None:
        was_needed = 1 - self.knew(ctx)
        if self.state == SUSCEPTIBLE:
            self.state = INFECTIVE
            self.learned_round = round_number
            ctx.count(REACHED)
            ctx.count(RECEIPTS_NS, ctx.now)
            ctx.observe(APPLIED, 1)
            if ctx.p.period_ns and not ctx.p.ways & PULL:
                self.next_round(ctx)
        if not was_needed:
            ctx.count(USELESS)
        if ctx.p.ways & PUSH and ctx.p.feedback:
            ctx.send(source, FEEDBACK, round_number, was_needed)

    def on_poll(self, ctx: Context, source: int, is_needed: int) -> None:
        if self.state != INFECTIVE or not self.knew(ctx):
            return
        ctx.count(SENT)
        ctx.send(source, RUMOUR, self.round(ctx))
        if ctx.p.stop == NEVER or ctx.p.period_ns == 0:
            return
        if self.polled_round != self.round(ctx):
            self.polled_round = self.round(ctx)
            self.needed = 0
            # Polls of this round are all here before the next round begins.
            ctx.timer(ctx.p.period_ns - ctx.now % ctx.p.period_ns - 1, JUDGE)
        self.needed = self.needed | is_needed

    def judge(self, ctx: Context, was_needed: int) -> None:
        """Lose interest, or not, after a contact."""
        if self.state != INFECTIVE or ctx.p.stop == NEVER:
            return
        if was_needed:
            self.useless = 0
            return
        self.useless += 1
        if ctx.p.stop == COUNTER and self.useless >= ctx.p.k:
            self.state = REMOVED
        elif ctx.p.stop == COIN and scale(ctx.rand(COIN_DRAW), ctx.p.k) == 0:
            self.state = REMOVED
        if self.state == REMOVED:
            ctx.count(REMOVALS)


WAYS = {"push": PUSH, "pull": PULL, "push_pull": PUSH | PULL}
STOPS = {"never": NEVER, "counter": COUNTER, "coin": COIN}


class Settings(ProtocolSettings):
    """One update spreads from the first replica in rounds of `period`.

    A node that has it spreads it until `stop`: after `k` useless contacts (counter), or after each with probability
    1 / k (coin); never is anti-entropy.

    With `feedback` off every contact counts as useless. The whole exchange of a round must fit into the round.
    """

    has_client: ClassVar[bool] = False
    replicas_max: ClassVar[int] = 1000

    style: Literal["push", "pull", "push_pull"] = "push_pull"
    period: PositiveDurationNs = 100_000_000
    stop: Literal["never", "counter", "coin"] = "counter"
    k: Annotated[int, Field(ge=1, le=1000)] = 2
    feedback: Switch = "on"

    def problems(self, experiment: Any) -> list[tuple[str, str]]:
        links = experiment.network.links.values()
        slowest_ns = max((int(link.delay.table()[-1]) for link in links), default=0)
        if 2 * slowest_ns < self.period:
            return []
        return [
            (
                "period",
                f"a message and its answer may take {duration_text(2 * slowest_ns)}, which does not fit into a round "
                f"of {duration_text(self.period)}; lengthen the round or shorten the links' delays",
            )
        ]

    def parameters(self, experiment: Any) -> dict[str, int]:
        return {
            "period_ns": self.period,
            "ways": WAYS[self.style],
            "stop": STOPS[self.stop],
            "feedback": int(self.feedback == "on"),
            "k": self.k,
        }
