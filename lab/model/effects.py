"""What a fault does to a link or a node while it lasts. Effects compose; they are never swapped in and restored."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lab.core.laws import Law


@dataclass(frozen=True, slots=True)
class LinkEffect:
    """What holds on one directed link. Shares are millionths per message; `delay` adds to what is there."""

    cut: bool = False
    loss_ppm: int = 0
    duplicate_ppm: int = 0
    reorder_ppm: int = 0
    reorder_by_ns: int = 0
    delay: Law | None = None


class Keep(Enum):
    """What of a node's state survives a crash."""

    DURABLE = "durable"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Outage:
    """A node that does not run in [start_ns, stop_ns). `keep` is None for a pause: everything survives, late."""

    node: str
    start_ns: int
    stop_ns: int
    keep: Keep | None


@dataclass(frozen=True, slots=True)
class Setting:
    """A value the protocol is told to use from `at_ns` on (a feature gate)."""

    at_ns: int
    name: str
    value: str
