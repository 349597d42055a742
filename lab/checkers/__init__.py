"""Was it right? Checkers of one run, one a file, listed here and nowhere else.

Checkers share no code with protocols, executors or metrics. To add one: one file with a `CHECKER` and one line in the
table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from lab.checkers import (
    acknowledged_kept,
    answers_served,
    committed_kept,
    convergence,
    digests,
    duplicate_effects,
    exercised,
    faults_bit,
    fresh_reads,
    heard,
    invalid,
    invented,
    lost_updates,
    one_leader,
    order,
    same_log,
    same_state,
    spread_complete,
    spread_once,
    suspicions_alternate,
    trusted_again,
    vacuity,
    written_reads,
)
from lab.checkers.validity import Checker, Validity
from lab.history import History

CHECKERS: dict[str, Checker] = {
    module.CHECKER.name: module.CHECKER
    for module in (
        invalid,
        vacuity,
        faults_bit,
        lost_updates,
        duplicate_effects,
        order,
        invented,
        digests,
        convergence,
        exercised,
        one_leader,
        same_log,
        committed_kept,
        fresh_reads,
        written_reads,
        acknowledged_kept,
        spread_once,
        spread_complete,
        suspicions_alternate,
        trusted_again,
        same_state,
        answers_served,
        heard,
    )
}


def checker_names(protocol: str) -> tuple[str, ...]:
    """Return the names of the checkers that apply to a protocol."""
    return tuple(name for name, checker in CHECKERS.items() if checker.applies(protocol))


def check(checker: Checker, history: History) -> Validity:
    """Return a checker's answer; one that fails could not tell, and never passes."""
    try:
        return checker.function(history)
    except Exception as error:
        return Validity(None, f"the checker failed: {type(error).__name__}: {error}")


def check_all(history: History, checkers: Mapping[str, Checker] = CHECKERS) -> dict[str, Validity]:
    """Return the answer of every checker that applies to the history's protocol, by name.

    Of a history marked invalid nothing is known: its gaps may come from the apparatus as well as from the replicas, so
    no checker says True or False of it.
    """
    chosen = {name: checker for name, checker in checkers.items() if checker.applies(history.protocol)}
    found = {name: check(checker, history) for name, checker in chosen.items()}
    if not history.invalid:
        return found
    unknown = Validity(None, f"not judged, the run is invalid: {history.invalid}")
    return {name: validity if validity.valid is None else unknown for name, validity in found.items()}


def worst(answers: Iterable[bool | None]) -> bool | None:
    """Return the gravest of three-valued answers: False beats None beats True; True for none at all."""
    found = set(answers)
    return False if False in found else None if None in found else True


def verdict(
    validities: Mapping[str, Validity] | Iterable[Validity], claims: Iterable[bool | None] = ()
) -> Literal["pass", "fail", "inconclusive"]:
    """Return the verdict on runs from their checkers' answers and the claims about them (None: cannot be told)."""
    answers = validities.values() if isinstance(validities, Mapping) else validities
    found = worst([*(answer.valid for answer in answers), *claims])
    return "inconclusive" if found is None else "pass" if found else "fail"


__all__ = ["CHECKERS", "Checker", "Validity", "check", "check_all", "checker_names", "verdict", "worst"]
