"""Broadcast of many values: flooding over a fixed topology (Maelstrom's broadcast challenge) and infect-and-die gossip.

Every operation is a value that the client hands to a random node, or with share `reads_ppm` a read at a random node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lab.core.draws import below, scale
from lab.core.units import SharePpm
from lab.protocols.form import ACKNOWLEDGED, APPLIED, ATTEMPTED, Context, Vector, durable, protocol
from lab.protocols.settings import ProtocolSettings, Switch

# Message kinds.
BROADCAST = 1  # token
BROADCAST_OK = 2  # token
READ = 3  # token
VALUE = 4  # token

# Topologies. GRID is row by row, `width` wide; TREE has up to `width` children a node, node 0 is the root.
TOTAL = 0
LINE = 1
GRID = 2
TREE = 3
FANOUT = 4  # `width` random others (with repetition excluded only against oneself)
BINOMIAL = 5  # each other node with share `width` millionths

ROLE_DRAW = 1
TARGET_DRAW = 2
PEER_DRAW = 3

READ_SERVED = 0  # the sequence of an APPLIED fact that stands for a read; values have token + 1

FORWARDED = 0
RECEIPTS = 1
READS = 2


@protocol
class Flood:
    """A node forwards a value when it first receives it: to its neighbours except the sender (with `echo` 1 to all)."""

    parameters: ClassVar[tuple[str, ...]] = ("topology", "width", "echo", "reads_ppm")
    counters: ClassVar[tuple[str, ...]] = ("forwarded", "receipts", "reads")
    kinds: ClassVar[Mapping[int, str]] = {
        BROADCAST: "broadcast", BROADCAST_OK: "broadcast_ok", READ: "read", VALUE: "value",
    }  # fmt: skip
    timers: ClassVar[Mapping[int, str]] = {}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}

    seen: Vector[int] = durable("updates")

    def on_start(self, ctx: Context) -> None:
        """A node begins idle."""

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        """There are no timers."""

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        kind = READ if below(ctx.rand(ROLE_DRAW), ctx.p.reads_ppm) else BROADCAST
        if kind == BROADCAST:
            ctx.observe(ATTEMPTED, token)
        ctx.send(scale(ctx.rand(TARGET_DRAW), ctx.n), kind, token)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == READ:
            ctx.count(READS)
            ctx.observe(APPLIED, READ_SERVED, a)
        elif kind == BROADCAST_OK:
            ctx.observe(ACKNOWLEDGED, a)
        else:
            if kind == BROADCAST:
                ctx.send(ctx.client, BROADCAST_OK, a)
            if not self.seen[a]:
                self.seen[a] = 1
                ctx.count(RECEIPTS)
                ctx.observe(APPLIED, a + 1, a)
                self.forward(ctx, source, a)

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    def forward(self, ctx: Context, source: int, token: int) -> None:
        if ctx.p.topology == FANOUT:
            for number in range(ctx.p.width):
                peer = scale(ctx.rand(PEER_DRAW + (number << 8)), ctx.n - 1)
                if peer >= ctx.me:
                    peer += 1
                ctx.count(FORWARDED)
                ctx.send(peer, VALUE, token)
            return
        for target in range(ctx.n):
            if target == ctx.me or (target == source and not ctx.p.echo):
                continue
            if self.adjacent(ctx, ctx.me, target):
                ctx.count(FORWARDED)
                ctx.send(target, VALUE, token)

    def adjacent(self, ctx: Context, one: int, other: int) -> int:
        """Return whether `one` forwards to `other`."""
        low = min(one, other)
        high = max(one, other)
        width = ctx.p.width
        if ctx.p.topology == LINE:
            return 1 if high == low + 1 else 0
        if ctx.p.topology == GRID:
            return 1 if high == low + width or (high == low + 1 and high % width != 0) else 0
        if ctx.p.topology == TREE:
            return 1 if (high - 1) // width == low else 0
        if ctx.p.topology == BINOMIAL:
            return below(ctx.rand(PEER_DRAW + (other << 8)), width)
        return 1


TOPOLOGIES = {"total": TOTAL, "line": LINE, "grid": GRID, "tree": TREE, "fanout": FANOUT, "binomial": BINOMIAL}


class Settings(ProtocolSettings):
    """Every operation is a value for a random replica; a replica forwards a value once.

    `width` is the width of the grid, the children of a node of the tree, or the fan-out; `edges` is the share of the
    others to which a node of the binomial topology forwards. With `echo` on a value goes back to its sender too.
    """

    topology: Literal["total", "line", "grid", "tree", "fanout", "binomial"] = "total"
    width: Annotated[int, Field(ge=1, le=62)] = 3
    edges: SharePpm = 100_000
    echo: Switch = "off"

    def parameters(self, experiment: Any) -> dict[str, int]:
        return {
            "topology": TOPOLOGIES[self.topology],
            "width": self.edges if self.topology == "binomial" else self.width,
            "echo": int(self.echo == "on"),
            "reads_ppm": 0,
        }
