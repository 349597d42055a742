"""Groups of replicas cannot reach each other: messages between them are dropped, connections stay open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lab.faults.base import LastingFault, name_problem
from lab.model.effects import LinkEffect


class Partition(LastingFault):
    """Cut every link between different `groups`. Replicas in no group keep all their links.

    `direction: one_way` cuts only links from an earlier to a later group in the list. The cut drops messages (it
    neither holds
    them nor closes connections); messages already on their way when it begins still arrive.
    """

    kind: ClassVar[str] = "partition"
    summary: ClassVar[str] = "drops all messages between groups, in both directions or one way"
    colour: ClassVar[str] = "#e69f00"
    hatch: ClassVar[str] = "||"
    evidence: ClassVar[str] = "cut"

    groups: Annotated[list[Annotated[list[str], Field(max_length=32)]], Field(min_length=2, max_length=32)]
    direction: Literal["both", "one_way"] = "both"

    def label(self) -> str:
        arrow = " -x-> " if self.direction == "one_way" else " | "
        return "partition " + arrow.join("+".join(group) for group in self.groups)

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        seen: dict[str, int] = {}
        for index, group in enumerate(self.groups):
            if not group:
                found.append((f"groups.{index}", "the group is empty: no link is cut between it and the others"))
            for place, name in enumerate(group):
                path = f"groups.{index}.{place}"
                sentence = name_problem(name, names)
                if sentence:
                    found.append((path, sentence))
                elif name in seen:
                    found.append((path, f"{name} is already in group {seen[name] + 1}; name it once"))
                seen.setdefault(name, index)
        return found

    def link_effect(self, source: str, target: str) -> LinkEffect | None:
        a, b = self._group(source), self._group(target)
        if a is None or b is None or a == b:
            return None
        if self.direction == "one_way" and a > b:
            return None
        return LinkEffect(cut=True)

    def _group(self, name: str) -> int | None:
        return next((index for index, group in enumerate(self.groups) if name in group), None)
