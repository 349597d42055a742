"""A replica's links are clogged: messages wait, and none is lost (FoundationDB's word; others drop them)."""

from __future__ import annotations

from typing import ClassVar, Literal

from lab.faults.base import NodeFault
from lab.model.effects import LinkEffect


class Clog(NodeFault):
    """Keep every message from or to `node` until it heals: `direction: in` those to it alone, `out` those from it.

    As `cut` with `kind: hold` on all links of the replica.
    """

    kind: ClassVar[str] = "clog"
    summary: ClassVar[str] = "keeps all messages from and to a replica until it heals; none is lost"
    colour: ClassVar[str] = "#661100"
    hatch: ClassVar[str] = "oo"
    evidence: ClassVar[str] = "held"

    direction: Literal["both", "in", "out"] = "both"

    def label(self) -> str:
        return f"clog {self.node}" + ("" if self.direction == "both" else f" ({self.direction})")

    def link_effect(self, source: str, target: str) -> LinkEffect | None:
        out, into = source == self.node, target == self.node
        hit = (out and self.direction != "in") or (into and self.direction != "out")
        return LinkEffect(hold=True) if hit else None
