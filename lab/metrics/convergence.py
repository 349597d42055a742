"""How long after a heal the replicas agree again, on what had been accepted by then."""

from __future__ import annotations

from lab.history import FaultRecord, History
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric
from lab.metrics.prepare import NEVER_APPLIED, prepare


def lasts(fault: FaultRecord) -> bool:
    """Return whether a fault has a heal: a switch, which stays, has none."""
    return fault.stop_ns > fault.start_ns


def convergence_of(history: History, fault_index: int) -> RunValue:
    """Return the convergence of one fault in ns: with h its heal, the maximum over replicas r and updates u accepted
    at or before h of p(u, r) - h, at least 0.

    p(u, r) is the first apply of u at r, after r's last loss of state at or before h if it had one. An update not
    applied by the horizon, or a fault that did not heal, censors the value at horizon - h. Not defined where the fault
    has no heal or nothing had been accepted by it.
    """
    fault = history.faults[fault_index]
    prepared = prepare(history)
    heal_ns = fault.stop_ns
    counted = prepared.accepted_ns <= heal_ns
    if not lasts(fault) or not counted.any():
        return UNDEFINED
    left_ns = max(0, history.horizon_ns - heal_ns)
    latest_ns = int(prepared.first_since_ns(heal_ns)[:, counted].max())
    if latest_ns == NEVER_APPLIED or not fault.healed:
        return RunValue(float(left_ns), censored=True)
    return RunValue(float(max(0, latest_ns - heal_ns)))


def _worst(history: History) -> RunValue:
    values = [convergence_of(history, index) for index in range(len(history.faults))]
    known = [value.value for value in values if value.value is not None]
    if not known:
        return UNDEFINED
    return RunValue(max(known), censored=any(value.censored for value in values))


METRIC = Metric(
    name="convergence",
    unit="ns",
    direction="lower",
    summary="time from a heal until every replica has all that was accepted by then; the worst fault of the run",
    function=_worst,
    default="p50",
    protocols=("changelog",),
)
