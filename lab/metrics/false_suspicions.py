"""How often a detector accuses a replica that runs."""

from __future__ import annotations

from lab.history import History
from lab.metrics.detection import suspicions
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return how many suspicions began while their member was not crashed (one that is paused or cut off runs)."""
    down: dict[int, list[tuple[int, int]]] = {}
    for replica, start_ns, stop_ns in history.crashes:
        down.setdefault(replica, []).append((start_ns, stop_ns))
    false = [
        since_ns
        for (_, member), spans in suspicions(history).items()
        for since_ns, _ in spans
        if not any(start_ns <= since_ns < stop_ns for start_ns, stop_ns in down.get(member, []))
    ]
    return RunValue(float(len(false)))


METRIC = Metric(
    name="false_suspicions",
    unit="count",
    direction="lower",
    summary="suspicions of replicas that had not crashed; paused and cut off ones run",
    function=_value,
    default="mean",
    protocols=("heartbeat", "phi_accrual", "swim"),
)
