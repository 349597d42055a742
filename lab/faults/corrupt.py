"""Messages arrive as garbage."""

from __future__ import annotations

from typing import ClassVar

from lab.core.units import SharePpm, share_text
from lab.faults.base import MessageFault
from lab.model.effects import LinkEffect


class Corrupt(MessageFault):
    """Damage each copy with probability `share`: it arrives as garbage, the receiver discards it and counts it.

    On the transport `stream` the checksum finds it, and the message is transmitted again.
    """

    kind: ClassVar[str] = "corrupt"
    summary: ClassVar[str] = "turns a share of the messages into garbage, which receivers discard"
    colour: ClassVar[str] = "#999933"
    hatch: ClassVar[str] = "xx"
    evidence: ClassVar[str] = "corrupted"

    share: SharePpm

    def label(self) -> str:
        return f"corrupt {share_text(self.share)} on {self.where()}"

    def link_effect(self, source: str, target: str) -> LinkEffect | None:
        return self.only(LinkEffect(corrupt_ppm=self.share)) if self.hits(source, target) else None
