"""How long after the last disturbance everything agrees."""

from __future__ import annotations

from lab.history import History
from lab.metrics.convergence import lasts
from lab.metrics.estimate import UNDEFINED, RunValue
from lab.metrics.metric import Metric
from lab.metrics.prepare import NEVER_APPLIED, prepare


def _value(history: History) -> RunValue:
    """Return ns from q, the later of the last accepted write and the last heal, until every replica has every update.

    Updates count as applied after a replica's last loss of state. Censored at horizon - q when an update is missing at
    the horizon, a replica did not report its final state, or a final digest differs from the truth's. Not defined
    without a write.
    """
    prepared = prepare(history)
    if not len(prepared.codes):
        return UNDEFINED
    quiet_ns = int(prepared.truth_time_ns.max())
    for fault in history.faults:
        if lasts(fault):
            quiet_ns = max(quiet_ns, fault.stop_ns)
    latest_ns = int(prepared.final_ns.max())
    agreed = {final.replica for final in history.finals if final.digest == history.truth_digest}
    if latest_ns == NEVER_APPLIED or not agreed.issuperset(history.replicas):
        return RunValue(float(max(0, history.horizon_ns - quiet_ns)), censored=True)
    return RunValue(float(max(0, latest_ns - quiet_ns)))


METRIC = Metric(
    name="convergence_final",
    unit="ns",
    direction="lower",
    summary="time from the later of last write and last heal until all replicas equal the ground truth",
    function=_value,
    default="p50",
    protocols=("changelog",),
)
