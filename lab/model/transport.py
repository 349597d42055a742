"""How messages travel and what replicas need to take them: streams, bursts of loss, service times, inboxes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lab.core.laws import DelayLaw, Law
from lab.core.section import Section
from lab.core.units import PositiveDurationNs, SharePpm, duration_text


class Stream(Section):
    """A connection per directed link, as TCP looks to services: in order, nothing twice, loss becomes delay.

    A transmission that is lost, cut off or corrupted is repeated after `rto`, doubling up to `rto_cap`, and everything
    sent behind it waits (head-of-line blocking); what was lost behind it is repeated as soon as it gets through. Each
    transmission meets the faults of its own time. There is no fast retransmission: messages are few and small. After
    `retransmissions` of one message the connection is given up, and what is under way is lost with it. A new one is
    dialled after `backoff`, doubling up to `backoff_cap` until a dial gets through, and is up `dial` later (a round
    trip); messages wait for it. The defaults are Linux's (a timeout of at least 200 ms, 15 retransmissions).
    """

    rto: PositiveDurationNs = 200_000_000
    rto_cap: PositiveDurationNs = 120_000_000_000
    retransmissions: Annotated[int, Field(ge=0, le=30)] = 15
    dial: PositiveDurationNs = 50_000_000
    backoff: PositiveDurationNs = 100_000_000
    backoff_cap: PositiveDurationNs = 10_000_000_000

    def problems(self) -> list[tuple[str, str]]:
        """Return (key, sentence) for each contradiction."""
        found = []
        for low, high in (("rto", "rto_cap"), ("backoff", "backoff_cap")):
            if getattr(self, high) < getattr(self, low):
                texts = (
                    f"{high} {duration_text(getattr(self, high))} is below {low} {duration_text(getattr(self, low))}"
                )
                found.append((high, texts))
        return found


class TimedBursts(Section):
    """Loss on every link that comes and goes with time: each link alternates between a good and a bad state.

    The times in a state are exponential with the means `good` and `bad` (at least 1ms); `good_loss` and `bad_loss` are
    the shares lost in them.
    """

    good: PositiveDurationNs
    bad: PositiveDurationNs
    good_loss: SharePpm = 0
    bad_loss: SharePpm = 1_000_000

    def problems(self) -> list[tuple[str, str]]:
        """Return (key, sentence) for each contradiction."""
        return [
            (name, f"{duration_text(value)} is too short; mean times in a state are at least 1ms")
            for name, value in (("good", self.good), ("bad", self.bad))
            if value < 1_000_000
        ]


class Node(Section):
    """What a replica needs for one message, and how many may be with it (the one in service included).

    A message that meets a full inbox is dropped and counted `overflow`. Keys left out come from `default`.
    """

    service: DelayLaw | None = None
    inbox: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    def over(self, default: Node) -> Node:
        """Return it with the keys it leaves out taken from `default`."""
        service = default.service if self.service is None else self.service
        return Node(service=service, inbox=default.inbox if self.inbox is None else self.inbox)


NO_SERVICE = Law("constant", (0,))
