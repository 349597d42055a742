"""What a fault does to a link or a node while it lasts. Effects compose; they are never swapped in and restored."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lab.core.laws import Law


@dataclass(frozen=True, slots=True)
class LossChain:
    """Loss that depends on a state which every message may change (Gilbert-Elliott); all in millionths.

    As in tc-netem: the state moves first, and the state before the move decides with its share.
    """

    to_bad_ppm: int
    to_good_ppm: int
    bad_ppm: int = 1_000_000
    good_ppm: int = 0
    start_ppm: int = 0  # the chance to begin in the bad state


@dataclass(frozen=True, slots=True)
class CorrelatedLoss:
    """tc-netem's correlated loss as written: every draw is mixed with the one before, then compared with the share."""

    share_ppm: int
    correlation_ppm: int


@dataclass(frozen=True, slots=True)
class LinkEffect:
    """What holds on one directed link. Shares are millionths per message; `delay` adds to what is there.

    `cut` loses messages, `hold` keeps them until it ends, `kill` breaks the connection (`lab.faults.cut` says what that
    means). With `kinds` it holds for messages of these kinds alone, with `first` for that many of them.
    """

    cut: bool = False
    loss_ppm: int = 0
    duplicate_ppm: int = 0
    reorder_ppm: int = 0
    reorder_by_ns: int = 0
    delay: Law | None = None
    hold: bool = False
    kill: bool = False
    corrupt_ppm: int = 0
    chain: LossChain | None = None
    correlated: CorrelatedLoss | None = None
    bytes_per_s: int = 0
    queue_bytes: int = 0
    kinds: tuple[str, ...] = ()
    first: int = 0

    @property
    def has_rule(self) -> bool:
        """Whether it holds for some messages only."""
        return bool(self.kinds or self.first)

    @property
    def remembers_itself(self) -> bool:
        """Whether the link must remember something for it, or look beyond the message at hand, rules aside."""
        return bool(self.hold or self.kill or self.corrupt_ppm or self.chain or self.correlated or self.bytes_per_s)

    @property
    def remembers(self) -> bool:
        """Whether the link must remember something for it, or for the rule that confines it."""
        return self.remembers_itself or self.has_rule


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
