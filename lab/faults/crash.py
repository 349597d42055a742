"""A replica stops at once and comes back."""

from __future__ import annotations

from typing import ClassVar, Literal

from lab.faults.base import NodeFault
from lab.model.effects import Keep, Outage


class Crash(NodeFault):
    """Kill `node` at `at` and start it again at `at + for`.

    `keep: durable` keeps what was written durably; `keep: nothing` starts it empty. Timers and messages waiting
    inside the node
    are gone; messages that arrive while it is down are lost.
    """

    kind: ClassVar[str] = "crash"
    summary: ClassVar[str] = "kills a replica and restarts it with its durable state or with none"
    colour: ClassVar[str] = "#999999"
    hatch: ClassVar[str] = "++"

    keep: Literal["durable", "nothing"] = "durable"

    def label(self) -> str:
        return f"crash {self.node} (keeps {self.keep})"

    def outages(self) -> list[Outage]:
        return [Outage(self.node, self.start_ns, self.stop_ns, Keep(self.keep))]
