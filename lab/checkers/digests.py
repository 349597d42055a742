"""All replicas must end in the state that the ground truth implies."""

from __future__ import annotations

from lab.checkers.validity import Checker, Validity
from lab.history import History


def _check(history: History) -> Validity:
    """Judge that every replica's final state digest is the truth's; a wrong one outweighs a missing one."""
    digests = {final.replica: final.digest for final in history.finals}
    if not history.truth_digest:
        return Validity(None, "the digest of the ground truth is not known")
    wrong = [name for name in history.replicas if digests.get(name, history.truth_digest) != history.truth_digest]
    silent = [name for name in history.replicas if not digests.get(name)]
    if wrong:
        return Validity(
            False,
            f"{', '.join(wrong)} ended in another state than the ground truth implies",
            {"replicas": wrong, "truth_digest": history.truth_digest, "digest": digests[wrong[0]]},
        )
    if silent:
        return Validity(None, f"{', '.join(silent)} did not report a final state", {"replicas": silent})
    return Validity(True, f"the states of all {len(history.replicas)} replicas equal the ground truth")


CHECKER = Checker("digests", "all replicas end in the state that the ground truth implies", _check, ("changelog",))
