"""Messages are lost one by one, independently."""

from __future__ import annotations

from typing import ClassVar

from lab.core.units import SharePpm, share_text
from lab.faults.base import MessageFault
from lab.model.effects import LinkEffect


class Drop(MessageFault):
    """Lose each message with probability `share` (Bernoulli). Lost messages never arrive; healing affects later ones
    only.
    """

    kind: ClassVar[str] = "drop"
    summary: ClassVar[str] = "loses each message independently with probability share"
    colour: ClassVar[str] = "#d55e00"
    hatch: ClassVar[str] = ".."
    evidence: ClassVar[str] = "lost"

    share: SharePpm

    def label(self) -> str:
        return f"drop {share_text(self.share)} on {self.where()}"

    def link_effect(self, source: str, target: str) -> LinkEffect | None:
        return self.only(LinkEffect(loss_ppm=self.share)) if self.hits(source, target) else None
