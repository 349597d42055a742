"""Every note that arrives is heard, and none is invented."""

from __future__ import annotations

from lab.checkers.validity import Checker, Validity
from lab.history import History


def _check(history: History) -> Validity:
    """Judge that replicas heard as many notes as the links delivered."""
    heard, delivered = history.counters.get("heard"), sum(link.delivered for link in history.links)
    if heard is None or not delivered:
        return Validity(None, "no note was delivered: let the run last longer")
    if heard != delivered:
        return Validity(
            False, f"{heard} notes were heard, but {delivered} delivered", {"heard": heard, "delivered": delivered}
        )
    return Validity(True, f"all {heard} notes that were delivered were heard")


CHECKER = Checker("heard", "replicas hear as many notes as the links deliver", _check, protocols=("mesh",))
