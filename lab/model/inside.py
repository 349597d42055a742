"""What faults inside replicas do in the simulator: messages that are kept back, and clocks that are wrong.

The same `Inside` values are told to real replicas; here they become integers that both executors read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lab.core.nodes import SLOW, STALL
from lab.model.disturbance import Inside
from lab.model.extras import KIND_MAX

ALL_KINDS = -1
# The messages that wait, where the protocol has real replicas that say so; of other protocols every message waits.
WAITING = {SLOW: ("update", "repair"), STALL: ("write", "update", "repair")}
_STAGE_OF = {"service_ns": SLOW, "fsync_ns": STALL}


@dataclass(frozen=True, slots=True)
class Stage:
    """Messages at a replica (an index) wait in [start_ns, stop_ns): `what` is SLOW or STALL, `mask` has a bit a kind.

    `fault` is the index of the fault that it comes from.
    """

    fault: int
    node: int
    start_ns: int
    stop_ns: int
    what: int
    wait_ns: int
    mask: int = ALL_KINDS

    def words(self) -> tuple[int, ...]:
        """Return it as `lab.core.nodes.is_kept` reads it."""
        return (self.node, self.start_ns, self.stop_ns, self.what, self.wait_ns, self.mask)


@dataclass(frozen=True, slots=True)
class Skew:
    """The clock of a node (an index) is wrong in [start_ns, stop_ns)."""

    fault: int
    node: int
    start_ns: int
    stop_ns: int
    offset_ns: int
    drift_ppm: int
    strobe_ns: int

    def words(self) -> tuple[int, ...]:
        """Return it without the fault."""
        return (self.node, self.start_ns, self.stop_ns, self.offset_ns, self.drift_ppm, self.strobe_ns)


def mask_of(what: int, kinds: Mapping[int, str], has_replicas: bool) -> int:
    """Return the mask of the message kinds that wait; `has_replicas` where real replicas speak the protocol."""
    if not has_replicas:
        return ALL_KINDS
    numbers = [number for number, name in kinds.items() if name in WAITING[what] and number <= KIND_MAX]
    return sum(1 << number for number in numbers)


def stages(
    inside: Iterable[tuple[int, Inside]], names: Sequence[str], kinds: Mapping[int, str], has_replicas: bool
) -> tuple[Stage, ...]:
    """Return the stages of all faults; `inside` holds (index of the fault, what it disturbs)."""
    found = []
    for fault, one in inside:
        for name, value in one.values:
            if name in _STAGE_OF:
                what = _STAGE_OF[name]
                mask = mask_of(what, kinds, has_replicas)
                found.append(Stage(fault, names.index(one.node), one.start_ns, one.stop_ns, what, value, mask))
    return tuple(found)


def skews(inside: Iterable[tuple[int, Inside]], names: Sequence[str]) -> tuple[Skew, ...]:
    """Return the wrong clocks of all faults."""
    found = []
    for fault, one in inside:
        values = dict(one.values)
        if "clock_offset_ns" in values:
            offset_ns, drift_ppm = values["clock_offset_ns"], values.get("clock_drift_ppm", 0)
            strobe_ns = values.get("clock_strobe_ns", 0)
            place = names.index(one.node)
            found.append(Skew(fault, place, one.start_ns, one.stop_ns, offset_ns, drift_ppm, strobe_ns))
    return tuple(found)
