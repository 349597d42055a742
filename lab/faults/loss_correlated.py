"""Messages are lost with a share and a correlation."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from lab.core.units import SharePpm, share_text
from lab.faults.base import MessageFault
from lab.model.effects import CorrelatedLoss, LinkEffect, LossChain


class LossCorrelated(MessageFault):
    """Lose messages with `share`, each like the one before with `correlation`.

    `as: delivered` loses exactly that share, and the correlation of two messages in a row is exactly that: a chain of
    two states. `as: written` computes what tc-netem does with `loss random SHARE CORRELATION`: draws are mixed with the
    one before, which delivers less than is written (20 % with 75 % loses about 0.11 %). On the transport `stream` every
    transmission counts.
    """

    kind: ClassVar[str] = "loss_correlated"
    summary: ClassVar[str] = "loses a share of the messages with correlation: as delivered, or as tc-netem computes it"
    colour: ClassVar[str] = "#117733"
    hatch: ClassVar[str] = ".."
    evidence: ClassVar[str] = "lost"

    share: SharePpm
    correlation: SharePpm
    meaning: Literal["delivered", "written"] = Field("delivered", alias="as")

    def label(self) -> str:
        loss = f"{share_text(self.share)} correlated {share_text(self.correlation)}"
        return f"loss {loss} as {self.meaning} on {self.where()}"

    def link_effect(self, source: str, target: str) -> LinkEffect | None:
        if not self.hits(source, target):
            return None
        if self.meaning == "written":
            return self.only(LinkEffect(correlated=CorrelatedLoss(self.share, self.correlation)))
        apart = 1_000_000 - self.correlation
        to_bad, to_good = self.share * apart // 1_000_000, (1_000_000 - self.share) * apart // 1_000_000
        return self.only(LinkEffect(chain=LossChain(to_bad, to_good, start_ppm=self.share)))
