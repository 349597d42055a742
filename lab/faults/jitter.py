"""Messages on the links take longer by an amount that differs from message to message."""

from __future__ import annotations

from typing import ClassVar

from lab.core.laws import Law
from lab.core.units import PositiveDurationNs, duration_text
from lab.faults.base import MessageFault
from lab.model.effects import LinkEffect


class Jitter(MessageFault):
    """Add a delay uniform on [0, up_to], drawn per message, so that messages overtake each other."""

    kind: ClassVar[str] = "jitter"
    summary: ClassVar[str] = "adds a uniform delay between 0 and up_to, drawn per message"
    colour: ClassVar[str] = "#009e73"
    hatch: ClassVar[str] = "\\\\"
    evidence: ClassVar[str] = "delayed"

    up_to: PositiveDurationNs

    def label(self) -> str:
        return f"jitter up to {duration_text(self.up_to)} on {self.where()}"

    def link_effect(self, source: str, target: str) -> LinkEffect | None:
        return self.only(LinkEffect(delay=Law("uniform", (0, self.up_to)))) if self.hits(source, target) else None
