"""Faults, one a file, listed here and nowhere else. A fault is a half-open interval with a pure effect."""

from __future__ import annotations

from lab.faults.base import Fault
from lab.faults.crash import Crash
from lab.faults.delay import Delay
from lab.faults.drop import Drop
from lab.faults.duplicate import Duplicate
from lab.faults.jitter import Jitter
from lab.faults.partition import Partition
from lab.faults.pause import Pause
from lab.faults.reorder import Reorder
from lab.faults.set_mode import Set

FAULTS: dict[str, type[Fault]] = {
    fault.kind: fault for fault in (Delay, Jitter, Drop, Duplicate, Reorder, Partition, Crash, Pause, Set)
}

__all__ = ["FAULTS", "Fault"]
