"""Some messages are held back so that later ones overtake them."""

from __future__ import annotations

from typing import ClassVar

from lab.core.units import PositiveDurationNs, SharePpm, duration_text, share_text
from lab.faults.base import MessageFault
from lab.model.effects import LinkEffect


class Reorder(MessageFault):
    """Hold back each message with probability `share` by `by`, on top of its delay.

    Unlike tc-netem, which sends some messages ahead, this holds some back: it needs no base delay to have an effect.
    """

    kind: ClassVar[str] = "reorder"
    summary: ClassVar[str] = "holds back a share of the messages by a fixed time"
    colour: ClassVar[str] = "#f0e442"
    hatch: ClassVar[str] = "xx"
    evidence: ClassVar[str] = "reordered"

    share: SharePpm
    by: PositiveDurationNs

    def label(self) -> str:
        return f"reorder {share_text(self.share)} by {duration_text(self.by)} on {self.where()}"

    def link_effect(self, source: str, target: str) -> LinkEffect | None:
        if not self.hits(source, target):
            return None
        return self.only(LinkEffect(reorder_ppm=self.share, reorder_by_ns=self.by))
