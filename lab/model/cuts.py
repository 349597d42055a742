"""The four kinds of cuts, shared by the faults `cut` and `partition`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lab.core.laws import Law
from lab.model.effects import LinkEffect

SLOW = Law("constant", (2_000_000_000,))  # the delay of `slow`, unless the file says otherwise

# The key is `kind`; faults have an attribute of that name already.
CutKind = Annotated[Literal["drop", "hold", "slow", "kill"], Field(alias="kind")]


def cut_effect(how: str, by: Law | None) -> LinkEffect:
    """Return what a cut of that kind does to a link."""
    if how == "slow":
        return LinkEffect(delay=by or SLOW)
    return LinkEffect(cut=how == "drop", hold=how == "hold", kill=how == "kill")


def cut_text(how: str, by: Law | None) -> str:
    """Return the kind as text."""
    return f"slow +{(by or SLOW).text()}" if how == "slow" else how


def cut_shows(how: str) -> str:
    """Return the counter that shows that the cut bit."""
    return {"hold": "held", "slow": "delayed"}.get(how, "cut")


def cut_problems(how: str, by: Law | None) -> list[tuple[str, str]]:
    """Return (key, sentence) for each contradiction."""
    if by is not None and how != "slow":
        return [("by", f"a cut of the kind {how} has no delay; write kind: slow, or remove by")]
    return []
