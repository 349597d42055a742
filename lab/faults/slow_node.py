"""A replica needs longer for every message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lab.core.units import PositiveDurationNs, duration_text
from lab.faults.base import NodeFault
from lab.model.disturbance import Inside

SERVICE_MAX_NS = 10_000_000_000


class SlowNode(NodeFault):
    """Messages wait `service` at `node`, one after the other, before they are handled. Heals at once: what waits then
    is handled without delay.

    Of a changelog UPDATE and REPAIR wait, of other protocols every message; timers never do. In the simulator the wait
    comes before the service time of `network.nodes`, and a crash takes what waits (`lab.core.nodes.slowed_ns`).
    """

    kind: ClassVar[str] = "slow_node"
    summary: ClassVar[str] = "makes a replica slow: each message waits a fixed service time, one after the other"
    colour: ClassVar[str] = "#882255"
    hatch: ClassVar[str] = "//"
    evidence: ClassVar[str] = "slowed"

    service: PositiveDurationNs

    def label(self) -> str:
        return f"slow node {self.node} (+{duration_text(self.service)} a message)"

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        if self.service > SERVICE_MAX_NS:
            return [*super().problems(names), ("service", "a service time is at most 10s")]
        return super().problems(names)

    def inside(self) -> list[Inside]:
        return [Inside(self.node, self.start_ns, self.stop_ns, (("service_ns", self.service),), self.evidence)]
