"""Messages are lost in bursts (Gilbert-Elliott)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lab.core.units import SharePpm, share_text
from lab.faults.base import MessageFault
from lab.model.effects import LinkEffect, LossChain


class LossBursts(MessageFault):
    """Lose messages by a chain of two states a link, as tc-netem's `loss gemodel p r 1-h 1-k`.

    The link begins in the good state. For every message the state moves first (to bad with `to_bad`, netem's p; back
    with `to_good`, r), then the state it had before the move decides: lost with `bad_loss` (1-h) or `good_loss` (1-k).
    The chain moves with messages, not with time. On the transport `stream` every transmission moves it.
    """

    kind: ClassVar[str] = "loss_bursts"
    summary: ClassVar[str] = "loses messages in bursts: a Gilbert-Elliott chain a link, moved by every message"
    colour: ClassVar[str] = "#aa4499"
    hatch: ClassVar[str] = "oo"
    evidence: ClassVar[str] = "lost"

    to_bad: SharePpm
    to_good: SharePpm
    bad_loss: SharePpm = 1_000_000
    good_loss: SharePpm = 0

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        found = super().problems(names)
        if self.to_bad == 0 and self.good_loss == 0:
            found.append(("to_bad", "0% never reaches the bad state, and the good one loses nothing; raise it"))
        return found

    def label(self) -> str:
        chain = f"{share_text(self.to_bad)}/{share_text(self.to_good)}"
        return f"loss bursts {chain} losing {share_text(self.bad_loss)} on {self.where()}"

    def link_effect(self, source: str, target: str) -> LinkEffect | None:
        if not self.hits(source, target):
            return None
        return self.only(LinkEffect(chain=LossChain(self.to_bad, self.to_good, self.bad_loss, self.good_loss)))
