"""A replica's disk takes longer for every durable write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lab.core.units import PositiveDurationNs, duration_text
from lab.faults.base import NodeFault
from lab.model.disturbance import Inside

STALL_MAX_NS = 10_000_000_000


class DiskStall(NodeFault):
    """Each durable write of `node` takes `by` longer; writes committed together share it.

    In the simulator a message that writes is handled when its commit is over: one that finds the disk idle begins a
    commit at once, what arrives during a commit shares the next (`lab.core.nodes.committed_ns`). Of a changelog WRITE,
    UPDATE and REPAIR write, of other protocols every message is taken to. Timers, and what they write, do not wait.
    Heals at once.
    """

    kind: ClassVar[str] = "disk_stall"
    summary: ClassVar[str] = "makes every durable write of a replica take longer"
    colour: ClassVar[str] = "#aa4499"
    hatch: ClassVar[str] = ".."
    evidence: ClassVar[str] = "stalled"

    by: PositiveDurationNs

    def label(self) -> str:
        return f"disk stall {self.node} (+{duration_text(self.by)} a write)"

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        if self.by > STALL_MAX_NS:
            return [*super().problems(names), ("by", "a stall is at most 10s")]
        return super().problems(names)

    def inside(self) -> list[Inside]:
        return [Inside(self.node, self.start_ns, self.stop_ns, (("fsync_ns", self.by),), self.evidence)]
