"""Every message on the links takes longer."""

from __future__ import annotations

from typing import ClassVar

from lab.core.laws import DelayLaw
from lab.faults.base import MessageFault
from lab.model.effects import LinkEffect


class Delay(MessageFault):
    """Add `by` (a delay law, drawn per message) to the links. Heals by itself: later messages are not affected."""

    kind: ClassVar[str] = "delay"
    summary: ClassVar[str] = "adds a delay law to every message on the links"
    colour: ClassVar[str] = "#56b4e9"
    hatch: ClassVar[str] = "//"
    evidence: ClassVar[str] = "delayed"

    by: DelayLaw

    def label(self) -> str:
        return f"delay +{self.by.text()} on {self.where()}"

    def link_effect(self, source: str, target: str) -> LinkEffect | None:
        return self.only(LinkEffect(delay=self.by)) if self.hits(source, target) else None
