"""When each follower lacked each update, for the staleness metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lab.history import Column, History
from lab.metrics.prepare import NEVER_APPLIED, prepare


@dataclass(frozen=True, slots=True)
class Missing:
    """Half-open intervals [start, stop) in which one follower lacked an update accepted at `accepted_ns` (all of one
    length).

    `endless`: at least one interval was cut by the horizon.
    """

    accepted_ns: Column
    start_ns: Column
    stop_ns: Column
    endless: bool


def missing_intervals(history: History) -> Iterator[Missing]:
    """Yield the missing intervals of each life of each follower; a life that ends in a loss hands its intervals to the
    next.
    """
    prepared = prepare(history)
    for life in np.flatnonzero(prepared.life_replica > 0):
        last = life + 1 == len(prepared.life_replica) or prepared.life_replica[life + 1] != prepared.life_replica[life]
        applied_ns = prepared.first_apply_ns[life]
        start_ns = np.maximum(prepared.accepted_ns, prepared.life_start_ns[life])
        stop_ns = np.minimum(applied_ns, prepared.life_stop_ns[life])
        lacking = (stop_ns > start_ns) & (applied_ns != prepared.along_ns[life])
        endless = bool(last) and bool((applied_ns == NEVER_APPLIED).any())
        yield Missing(prepared.accepted_ns[lacking], start_ns[lacking], stop_ns[lacking], endless)
