"""A run in which nothing happened proves nothing: what every protocol must have done."""

from __future__ import annotations

from lab.checkers.validity import Checker, Validity
from lab.history import ACKNOWLEDGED, History


def _check(history: History) -> Validity:
    """Judge that replicas heard of each other and, if there are clients, that they were answered and met each fault.

    A fault is met if an operation was intended while it lasted; of a protocol without clients it is enough that the
    fault left evidence (see `faults_bit`).
    """
    among = [link for link in history.links if "client" not in (link.source, link.target)]
    if among and not any(link.delivered for link in among):
        return Validity(None, "no replica received a message from another: let the run last longer or cut less")
    if not any(link.delivered for link in history.links):
        return Validity(None, "no replica received a message: let the run last longer")
    if not history.deadline_ns:
        return Validity(True, "replicas heard of each other")
    operations = history.operations
    if not len(operations):
        return Validity(None, "no operation was intended: raise the rate of arrivals or let the workload last longer")
    if not (operations.outcome == ACKNOWLEDGED).any():
        return Validity(None, "no operation was acknowledged: raise the client's deadline or let faults heal earlier")
    for index, fault in enumerate(history.faults):
        met = (operations.intended_ns >= fault.start_ns) & (operations.intended_ns < fault.stop_ns)
        if fault.stop_ns > fault.start_ns and not met.any():
            return Validity(
                None,
                f"no operation met the fault '{fault.label}': let the workload outlast it or raise the arrival rate",
                {"fault": index, "start_ns": fault.start_ns, "stop_ns": fault.stop_ns},
            )
    return Validity(True, "operations were acknowledged, and each fault met some")


CHECKER = Checker(
    "exercised",
    "replicas heard of each other, operations were acknowledged and met each fault",
    _check,
    without=("changelog",),
)
