"""The settings that are tuned: timeouts, retries, backoff, queues, ordering, reconciliation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lab.core.section import Section
from lab.core.sizes import BytesPerS, SizeBytes
from lab.core.units import DurationNs, PositiveDurationNs, SharePpm, duration_text


class Retry(Section):
    """How one update to one follower is repeated. Attempt 1 is the first try.

    `budget` lets each first transmission add that share of a retry to a bucket (Finagle's rule, see docs/replica.md
    §6);
    left out, retries are not limited by a budget.
    """

    attempts: Annotated[int, Field(ge=1, le=100)] = 8
    backoff: Literal["fixed", "exponential"] = "exponential"
    base: PositiveDurationNs = 50_000_000
    cap: PositiveDurationNs = 2_000_000_000
    jitter: Literal["none", "full", "equal", "decorrelated"] = "full"
    budget: SharePpm | None = None

    def problems(self) -> list[tuple[str, str]]:
        """Return (key, sentence) for each contradiction."""
        if self.cap < self.base:
            return [("cap", f"cap {duration_text(self.cap)} is below base {duration_text(self.base)}")]
        return []


class Breaker(Section):
    """A circuit breaker per follower: `failures` timeouts in a row open it, and for `open_for` nothing is sent.

    Then one attempt goes through; its answer closes the breaker, its timeout opens it again. What is held back is left
    to reconciliation (docs/replica.md §3). Without `failures` there is no breaker.
    """

    failures: Annotated[int, Field(ge=1, le=10_000)] | None = None
    open_for: PositiveDurationNs = 1_000_000_000


class Queue(Section):
    """Attempts a leader keeps outstanding per follower, and how far beyond its gapless prefix a follower takes entries.

    When a follower's queue is full, `reject` refuses the client's write (back-pressure), `defer` leaves the update to
    reconciliation.
    """

    limit: Annotated[int, Field(ge=1, le=65_536)] = 256
    overflow: Literal["reject", "defer"] = "reject"


class Channel(Section):
    """Limits of the frames from one replica to one peer (docs/replica.md §2); 0 is no limit. Containers only.

    A frame that would make more than `memory` bytes wait is dropped; frames leave at `bandwidth` at most.
    """

    memory: SizeBytes = 0
    bandwidth: BytesPerS = 0


class Policy(Section):
    """Everything a service owner can set without changing code."""

    timeout: PositiveDurationNs = 250_000_000
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    queue: Queue = Queue()
    ordering: Literal["sequence", "key"] = "sequence"
    bound: Annotated[int, Field(ge=0, le=65_536)] = 16
    reconcile_every: DurationNs = 1_000_000_000
    reconcile_batch: Annotated[int, Field(ge=1, le=4096)] = 256
    channel: Channel = Channel()
    progress_every: DurationNs = 0
