"""A replica stands still, as in a long garbage collection or a stopped virtual machine."""

from __future__ import annotations

from typing import ClassVar

from lab.faults.base import NodeFault
from lab.model.effects import Outage


class Pause(NodeFault):
    """Stop `node` for `for`: it loses nothing, but messages wait and timers fire late."""

    kind: ClassVar[str] = "pause"
    summary: ClassVar[str] = "stops a replica without losing anything; messages and timers wait"
    colour: ClassVar[str] = "#0072b2"
    hatch: ClassVar[str] = "--"

    def label(self) -> str:
        return f"pause {self.node}"

    def outages(self) -> list[Outage]:
        return [Outage(self.node, self.start_ns, self.stop_ns, None)]
