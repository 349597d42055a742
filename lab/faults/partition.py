"""Groups of replicas cannot reach each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lab.core.dice import Dice
from lab.core.laws import DelayLaw
from lab.faults.base import LINK_MEMORY, Fault, LastingFault, name_problem
from lab.model.cuts import CutKind, cut_effect, cut_problems, cut_shows, cut_text
from lab.model.effects import LinkEffect
from lab.model.shapes import SHAPES, cuts_of

Shape = Literal["halves", "isolate", "bridge", "majorities_ring", "minority_third", "one_way", "random"]


class Partition(LastingFault):
    """Cut every link between different `groups`, or those that `shape` names. Replicas in no group keep all their
    links.

    `direction: one_way` cuts only links from an earlier to a later group in the list. A shape (`lab.model.shapes`)
    takes the replicas in `order`, which is drawn from the seed where the file does not give it; so is the `size` of
    `random`. `node` stands first in the drawn order: with `shape: isolate` it is the one that is cut off. `kind` says
    what becomes of the messages, on each transport as `lab.faults.cut` tells; with `drop` connections stay open, and
    messages already on their way when it begins still arrive.
    """

    kind: ClassVar[str] = "partition"
    summary: ClassVar[str] = "cuts all links between groups, in both directions or one way, or those of a named shape"
    colour: ClassVar[str] = "#e69f00"
    hatch: ClassVar[str] = "||"
    evidence: ClassVar[str] = "cut"

    groups: Annotated[list[Annotated[list[str], Field(max_length=32)]], Field(max_length=32)] = []
    direction: Literal["both", "one_way"] = "both"
    shape: Shape | None = None
    node: str | None = None
    order: Annotated[list[str], Field(max_length=64)] = []
    size: Annotated[int, Field(ge=0, le=64)] = 0
    how: CutKind = "drop"
    by: DelayLaw | None = None

    def is_drawn(self) -> bool:
        return self.shape is not None and (not self.order or (self.shape == "random" and not self.size))

    def drawn(self, names: Sequence[str], key: int, beside: Sequence[Fault]) -> list[Fault]:
        dice = Dice(key)
        shuffled = dice.shuffled(names)
        size = self.size or dice.between(1, max(1, len(names) - 1))
        if self.node is not None:
            shuffled = [self.node, *(name for name in shuffled if name != self.node)]
        fixed = {"order": self.order or shuffled, "size": size if self.shape == "random" else 0, "node": None}
        return [self.model_copy(update=fixed)]

    def may_need(self) -> frozenset[str]:
        return frozenset({LINK_MEMORY}) if self.is_drawn() and self.how in ("hold", "kill") else frozenset()

    def label(self) -> str:
        kind = "" if self.how == "drop" else f" ({cut_text(self.how, self.by)})"
        if self.shape is not None:
            order = " ".join(self.order) or "drawn" + (f" from {self.node} on" if self.node else "")
            size = f" {self.size}" if self.size else ""
            return f"partition{kind} {self.shape.replace('_', ' ')}{size} of {order}"
        arrow = " -x-> " if self.direction == "one_way" else " | "
        return f"partition{kind} " + arrow.join("+".join(group) for group in self.groups)

    def shows(self) -> str:
        return cut_shows(self.how)

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        found = cut_problems(self.how, self.by)
        if self.shape is not None:
            return [*found, *self._shape_problems(self.shape, names)]
        for name in ("node", "order", "size"):
            if getattr(self, name):
                found.append((name, f"{name} is for partitions with a shape; remove it, or write a shape"))
        if len(self.groups) == 1:
            some = f"[[{names[0]}], [{', '.join(names[1:3])}]]"
            found.append(("groups", f"no link is cut: is that meant? Write at least two groups, for example {some}"))
        elif not self.groups:
            found.append(("groups", "write at least two groups of replicas, or a shape, for example shape: halves"))
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

    def _shape_problems(self, shape: str, names: Sequence[str]) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for name in ("groups", "direction"):
            if name in self.model_fields_set and getattr(self, name) not in ([], "both"):
                found.append((name, f"the shape {shape} says what is cut; remove {name}, or the shape"))
        fewest = SHAPES[shape][1]
        if len(names) < fewest:
            found.append(("shape", f"{shape} needs {fewest} replicas or more to cut anything; here are {len(names)}"))
        if self.order and sorted(self.order) != sorted(names):
            found.append(("order", f"name every replica once; replicas: {', '.join(names)}"))
        if self.node is not None and self.order:
            found.append(("node", "with an order its first replica is meant; remove one of them"))
        if self.node is not None and name_problem(self.node, names):
            found.append(("node", name_problem(self.node, names)))
        if self.size and shape != "random":
            found.append(("size", f"the shape {shape} has its own sizes; remove size"))
        elif self.size >= len(names):
            found.append(("size", f"{self.size} of {len(names)} replicas leave nobody on the other side"))
        return found

    def link_effect(self, source: str, target: str) -> LinkEffect | None:
        """Return the cut; of a shape that is not drawn yet any link may be cut."""
        if self.shape is not None:
            is_cut = self.is_drawn() or (source, target) in cuts_of(self.shape, tuple(self.order), self.size)
            return cut_effect(self.how, self.by) if is_cut else None
        a, b = self._group(source), self._group(target)
        if a is None or b is None or a == b:
            return None
        if self.direction == "one_way" and a > b:
            return None
        return cut_effect(self.how, self.by)

    def _group(self, name: str) -> int | None:
        return next((index for index, group in enumerate(self.groups) if name in group), None)
