"""An answer takes work, and limits hold."""

from __future__ import annotations

import numpy as np

from lab.checkers.validity import Checker, Validity
from lab.history import ACKNOWLEDGED, History


def _check(history: History) -> Validity:
    """Judge that no more operations were answered than requests served, and none had more attempts than allowed."""
    operations, most = history.operations, history.parameters.get("attempts", 0)
    if not len(operations):
        return Validity(None, "no operation was intended: raise the rate of arrivals or let the workload last longer")
    answered = int(np.count_nonzero(operations.outcome == ACKNOWLEDGED))
    served = history.counters.get("served", 0)
    if answered > served:
        return Validity(
            False, f"{answered} operations were answered, but {served} served", {"answered": answered, "served": served}
        )
    beyond = np.flatnonzero(operations.attempts > most)
    if most and len(beyond):
        token = int(beyond[0])
        return Validity(
            False,
            f"{len(beyond)} operations had more than {most} attempts",
            {"operations": len(beyond), "token": token, "attempts": int(operations.attempts[token])},
        )
    return Validity(True, f"{answered} answers to {served} served requests, each operation within its attempts")


CHECKER = Checker(
    "answers_served", "no answer without a served request, no operation beyond its attempts", _check, protocols=("rpc",)
)
