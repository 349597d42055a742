"""Messages arrive twice."""

from __future__ import annotations

from typing import ClassVar

from lab.core.units import SharePpm, share_text
from lab.faults.base import MessageFault
from lab.model.effects import LinkEffect


class Duplicate(MessageFault):
    """Send a second copy with probability `share`; the copy has its own loss, delay and reordering."""

    kind: ClassVar[str] = "duplicate"
    summary: ClassVar[str] = "sends a second, independent copy with probability share"
    colour: ClassVar[str] = "#cc79a7"
    hatch: ClassVar[str] = "oo"
    evidence: ClassVar[str] = "duplicated"

    share: SharePpm

    def label(self) -> str:
        return f"duplicate {share_text(self.share)} on {self.where()}"

    def link_effect(self, source: str, target: str) -> LinkEffect | None:
        return self.only(LinkEffect(duplicate_ppm=self.share)) if self.hits(source, target) else None
