"""A run in which nothing happened proves nothing."""

from __future__ import annotations

import numpy as np

from lab.checkers.validity import Checker, Validity
from lab.history import ACKNOWLEDGED, History


def _check(history: History) -> Validity:
    """Judge that the run exercised what it claims: writes accepted and acknowledged, each lasting fault under load,
    all answered.

    A fault is under load if a write was accepted while it lasted. Where the fault itself kept the leader from
    accepting (a crashed leader cannot), a write intended in that time counts, provided that the leader accepted one
    again later.
    """
    accepted_ns, intended_ns = history.accepted.time_ns, history.operations.intended_ns
    if not len(accepted_ns):
        return Validity(None, "no write was accepted: raise the rate of arrivals or let the workload last longer")
    if not np.any(history.operations.outcome == ACKNOWLEDGED):
        return Validity(None, "no write was acknowledged: raise the client's deadline or weaken the replication mode")
    for index, fault in enumerate(history.faults):
        if fault.stop_ns <= fault.start_ns:
            continue
        if np.any((accepted_ns >= fault.start_ns) & (accepted_ns < fault.stop_ns)):
            continue
        intended = np.any((intended_ns >= fault.start_ns) & (intended_ns < fault.stop_ns))
        if not intended or not np.any(accepted_ns >= fault.stop_ns):
            return Validity(
                None,
                f"no write met the fault '{fault.label}': let the workload outlast it or raise the rate of arrivals",
                {"fault": index, "start_ns": fault.start_ns, "stop_ns": fault.stop_ns},
            )
    silent = [name for name in history.replicas if name not in {final.replica for final in history.finals}]
    if silent:
        return Validity(
            None, f"{', '.join(silent)} did not answer at the end: lengthen the drain", {"replicas": silent}
        )
    return Validity(True, "writes were accepted and acknowledged, each fault met one, every replica answered")


CHECKER = Checker(
    "vacuity", "the run did what it claims to test: writes, writes during each fault, answers", _check, ("changelog",)
)
