"""Links carry nothing for a while: what that means for messages has four kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lab.core.laws import DelayLaw
from lab.faults.base import LinkFault
from lab.model.cuts import CutKind, cut_effect, cut_problems, cut_shows, cut_text
from lab.model.effects import LinkEffect


class Cut(LinkFault):
    """Cut `links` for `for`. What becomes of messages depends on `kind` and on the transport.

    On the transport `message`, of the messages sent during the cut:
    - `drop`: they are lost. Those under way when it begins still arrive.
    - `hold`: they leave when it has healed.
    - `slow`: they take longer by `by` (2s unless written).
    - `kill`: they are lost, and so are those under way when it begins; there is no connection to wait for afterwards.

    On the transport `stream`, in order as always:
    - `drop`: they are transmitted again until the cut has healed: late, not lost, unless the connection is given up.
    - `hold` and `slow`: as above.
    - `kill`: what is under way when it begins is lost with the connection; what is sent later waits until a dial after
      the heal gets through and the new connection is up.

    Conditions are those at the time of sending: a held message meets no other fault when it leaves, except that a kill
    takes whatever is under way.
    """

    kind: ClassVar[str] = "cut"
    summary: ClassVar[str] = "cuts links: drops, holds or slows messages, or kills the connections"
    colour: ClassVar[str] = "#882255"
    hatch: ClassVar[str] = "||"
    evidence: ClassVar[str] = "cut"

    how: CutKind = "drop"
    by: DelayLaw | None = None

    def label(self) -> str:
        return f"cut ({cut_text(self.how, self.by)}) on {self.where()}"

    def shows(self) -> str:
        return cut_shows(self.how)

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        return [*super().problems(names), *cut_problems(self.how, self.by)]

    def link_effect(self, source: str, target: str) -> LinkEffect | None:
        return cut_effect(self.how, self.by) if self.hits(source, target) else None
