"""A fault that did nothing tests nothing."""

from __future__ import annotations

from lab.checkers.validity import Checker, Validity
from lab.history import History


def _check(history: History) -> Validity:
    """Judge that each fault that must leave evidence left some, and that each was healed."""
    for index, fault in enumerate(history.faults):
        if fault.bit == 0:
            return Validity(None, f"fault not applied: '{fault.label}' touched nothing", {"fault": index})
    for index, fault in enumerate(history.faults):
        if not fault.healed:
            return Validity(None, f"fault not healed: '{fault.label}' was still in force", {"fault": index})
    return Validity(True, f"all {len(history.faults)} faults took effect and healed")


CHECKER = Checker("faults_bit", "every fault took effect and was healed", _check)
