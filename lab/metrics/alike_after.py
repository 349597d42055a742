"""How soon replicas that merge are alike when nobody writes any more."""

from __future__ import annotations

from lab.history import History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric


def _value(history: History) -> RunValue:
    """Return ns from the last accepted write to the last change of any replica; censored at the horizon if they end
    apart.
    """
    accepted_ns = history.accepted.time_ns
    if not len(accepted_ns):
        return UNDEFINED
    last_ns = int(accepted_ns.max())
    if len({final.digest for final in history.finals}) != 1 or len(history.finals) < len(history.replicas):
        return RunValue(float(history.horizon_ns - last_ns), censored=True)
    changed_ns = history.applies.time_ns[history.applies.time_ns <= history.horizon_ns]
    return RunValue(float(max(0, int(changed_ns.max(initial=last_ns)) - last_ns)))


METRIC = Metric(
    name="alike_after",
    unit="ns",
    direction="lower",
    summary="time from the last accepted write until all replicas show the same state for good",
    function=_value,
    default="p50",
    protocols=("crdt_merkle", "crdt_register"),
)
