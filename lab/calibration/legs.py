"""From the moments of a run to what each leg of a write took beyond what was asked of it.

A write goes client -> leader (`request`), leader -> follower (`forward`), follower -> leader (`back`), leader -> client
(`answer`). A leg is measured from event to event, so the work at its end (reading, disk, the proxy's timers) is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lab.history import Column

REQUEST, FORWARD, BACK, ANSWER = "request", "forward", "back", "answer"
LEGS = (REQUEST, FORWARD, BACK, ANSWER)
Moments = Mapping[int, int]  # token -> CLOCK_MONOTONIC, ns


@dataclass(frozen=True, slots=True)
class Times:
    """When what happened to each operation of a run; what did not happen is left out."""

    intended: Moments
    accepted: Moments
    released: Moments
    acknowledged: Moments
    applied: Mapping[str, Moments] = field(default_factory=dict)  # by follower


def between(start: Moments, stop: Moments, asked_ns: int = 0) -> Column:
    """Return stop - start - asked of every token that has both, in order of tokens; below 0 counts as 0."""
    tokens = sorted(start.keys() & stop.keys())
    found = np.array([stop[token] - start[token] - asked_ns for token in tokens], dtype=np.int64)
    return np.maximum(found, 0)


def legs(times: Times, asked_ns: Mapping[str, int], slow: str) -> dict[str, Column]:
    """Return the samples of each leg, `forward` by follower as `forward.NAME`.

    `asked_ns` maps a follower to the constant delay of its links, each way; `slow` is the one that releases writes.
    """
    found = {f"{FORWARD}.{name}": between(times.accepted, its, asked_ns[name]) for name, its in times.applied.items()}
    found[REQUEST] = between(times.intended, times.accepted)
    found[BACK] = between(times.applied[slow], times.released, asked_ns[slow])
    found[ANSWER] = between(times.released, times.acknowledged)
    return found


def retry_lateness(accepted: Moments, applied: Moments, asked_ns: int, base_ns: int, period_ns: int) -> Column:
    """Return how late each timer was (ns) on the way of updates that came by a repetition.

    `period_ns` is the time from one attempt to the next, `base_ns` what a link takes beyond `asked_ns`. An update that
    is k periods late waited for k periods, each of two timers; what it is late beyond that is shared among the k.
    """
    late = np.array([applied[token] - accepted[token] for token in sorted(accepted.keys() & applied.keys())])
    late = late - asked_ns - base_ns
    repetitions = np.rint(late / period_ns).astype(np.int64)
    kept = repetitions >= 1
    return np.asarray((late[kept] - repetitions[kept] * period_ns) // repetitions[kept], dtype=np.int64)
