"""Faults, one a file, listed here and nowhere else. A fault is a half-open interval with a pure effect."""

from __future__ import annotations

from lab.faults.base import Fault
from lab.faults.blue_green import BlueGreen
from lab.faults.clock_offset import ClockOffset
from lab.faults.clog import Clog
from lab.faults.corrupt import Corrupt
from lab.faults.crash import Crash
from lab.faults.cut import Cut
from lab.faults.delay import Delay
from lab.faults.disk_stall import DiskStall
from lab.faults.drop import Drop
from lab.faults.duplicate import Duplicate
from lab.faults.flapping import Flapping
from lab.faults.jitter import Jitter
from lab.faults.loss_bursts import LossBursts
from lab.faults.loss_correlated import LossCorrelated
from lab.faults.overload import Overload
from lab.faults.partition import Partition
from lab.faults.pause import Pause
from lab.faults.reorder import Reorder
from lab.faults.replace import Replace
from lab.faults.set_mode import Set
from lab.faults.slow_node import SlowNode
from lab.faults.swarm import Swarm
from lab.faults.swizzle_clog import SwizzleClog
from lab.faults.throttle import Throttle
from lab.faults.toxic import Toxic

FAULTS: dict[str, type[Fault]] = {
    fault.kind: fault
    for fault in (
        Delay,
        Jitter,
        Drop,
        Duplicate,
        Reorder,
        Partition,
        Cut,
        Flapping,
        Clog,
        SwizzleClog,
        LossBursts,
        LossCorrelated,
        Corrupt,
        Throttle,
        Crash,
        Pause,
        Set,
        SlowNode,
        ClockOffset,
        DiskStall,
        Overload,
        Swarm,
        Toxic,
        Replace,
        BlueGreen,
    )
}

__all__ = ["FAULTS", "Fault"]
