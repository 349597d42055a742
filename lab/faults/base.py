"""What every fault file provides: parameters, effect, translation, cure and colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from lab.core.section import Section
from lab.core.units import DurationNs, PositiveDurationNs, shown
from lab.model.disturbance import Inside, Replacement, StockToxic
from lab.model.effects import LinkEffect, Outage, Setting
from lab.model.workload import Spike

LINK_ARROW = "->"
# What faults that are drawn from the seed may need of the compiled executor.
LINK_MEMORY, STAGES, CLOCKS = "link memory", "stages", "clocks"


class Fault(Section):
    """A fault in [at, at + for). Subclasses say what it does; nothing here depends on which plane runs it.

    Class attributes: `kind` is the key in experiment files, `summary` one sentence for `lab list`, `colour` and
    `hatch` shade
    it in figures, `containers` is "" where the container plane carries it exactly, else the sentence with which it is
    refused,
    `evidence` names the counter that must be above 0 for the fault to have bitten ("" where the plane itself reports
    it).
    """

    kind: ClassVar[str]
    summary: ClassVar[str]
    colour: ClassVar[str]
    hatch: ClassVar[str]
    containers: ClassVar[str] = ""
    simulator: ClassVar[str] = ""  # "" where the simulator carries it exactly, else the sentence of its refusal
    evidence: ClassVar[str] = ""

    at: DurationNs

    @property
    def start_ns(self) -> int:
        """When it begins, from the start of the run."""
        return self.at

    @property
    def stop_ns(self) -> int:
        """When it has healed; equal to `start_ns` for a switch."""
        raise NotImplementedError

    def label(self) -> str:
        """Return a short text for figures and tables."""
        raise NotImplementedError

    def refusal(self) -> str:
        """Return "" where the container plane carries this very fault exactly, else the sentence of its refusal."""
        return self.containers

    def shows(self) -> str:
        """Return the counter that must be above 0 for this very fault to have bitten."""
        return self.evidence

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return (path below this fault, sentence) for each contradiction with the replicas `names`."""
        return []

    def link_effect(self, source: str, target: str) -> LinkEffect | None:
        """Return what it does to one directed link while it lasts, or None."""
        return None

    @property
    def acts_on_links(self) -> bool:
        """Whether it is a fault of this kind's links."""
        return type(self).link_effect is not Fault.link_effect

    def outages(self) -> list[Outage]:
        """Return the nodes it stops."""
        return []

    def settings(self) -> list[Setting]:
        """Return the settings it switches."""
        return []

    def spikes(self) -> list[Spike]:
        """Return the arrivals that it adds to the workload."""
        return []

    def spans(self) -> list[tuple[int, int]]:
        """Return the half-open intervals in which its effect on links holds."""
        return [(self.start_ns, self.stop_ns)]

    def is_drawn(self) -> bool:
        """Return whether something about it is drawn from the seed."""
        return False

    def drawn(self, names: Sequence[str], key: int, beside: Sequence[Fault]) -> list[Fault]:
        """Return the faults that stand in its place under one seed: a pure function of the replicas' `names`, the
        `key`, and the faults `beside` it that are known already.
        """
        return [self]

    def may_need(self) -> frozenset[str]:
        """Return what it may need of the compiled executor under some seed (names above)."""
        return frozenset()

    def toxic(self, source: str, target: str) -> StockToxic | None:
        """Return the stock toxic that it puts on one directed link (containers only), or None."""
        return None

    def inside(self) -> list[Inside]:
        """Return what it disturbs inside replicas."""
        return []

    def replacements(self) -> list[Replacement]:
        """Return the programs that take the place of others during its outages (containers only)."""
        return []


class LastingFault(Fault):
    """A fault with a duration."""

    for_: Annotated[PositiveDurationNs, Field(alias="for")]

    @property
    def stop_ns(self) -> int:
        return self.at + self.for_


class LinkFault(LastingFault):
    """A fault on the links in `links`: a list of `a->b`, or `all`."""

    links: Annotated[list[str], Field(max_length=1024)] | str = "all"

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        if isinstance(self.links, str):
            return [] if self.links == "all" else [("links", f"{shown(self.links)} is neither all nor a list of links")]
        if not self.links:
            return [("links", "no link is named: write all or for example [leader->f1]")]
        return [
            (f"links.{index}", sentence)
            for index, link in enumerate(self.links)
            if (sentence := link_problem(link, names))
        ]

    def hits(self, source: str, target: str) -> bool:
        """Return whether the directed link is named."""
        return self.links == "all" or f"{source}{LINK_ARROW}{target}" in self.links

    def where(self) -> str:
        """Return the links as text."""
        return "all links" if isinstance(self.links, str) else ", ".join(self.links)


class MessageFault(LinkFault):
    """A link fault that acts on single messages: on all, on those of some `kinds`, or on the `first` so many.

    `first` counts the messages (of these kinds) that each link is given while the fault lasts. On the transport
    `stream` both are about the first transmission of a message, not about its repetitions.
    """

    kinds: Annotated[list[str], Field(max_length=62)] = []
    first: Annotated[int, Field(ge=0, le=1_000_000)] = 0

    def only(self, effect: LinkEffect) -> LinkEffect:
        """Return the effect for the messages that are meant."""
        return replace(effect, kinds=tuple(self.kinds), first=self.first)

    def where(self) -> str:
        kinds = " and ".join(self.kinds) or ("messages" if self.first else "")
        which = f"the first {self.first} {kinds}" if self.first else kinds
        return f"{which} of {super().where()}" if which else super().where()


class NodeFault(LastingFault):
    """A fault of one replica."""

    node: str

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        sentence = name_problem(self.node, names)
        return [("node", sentence)] if sentence else []


def name_problem(name: str, names: Sequence[str]) -> str:
    """Return a sentence if `name` is not a replica, else ''."""
    from difflib import get_close_matches

    if name in names:
        return ""
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"replicas: {', '.join(names)}"
    return f"{shown(name)} is not a replica; {hint}"


def link_problem(link: str, names: Sequence[str]) -> str:
    """Return a sentence if `link` is not `a->b` of two different replicas, else ''."""
    source, arrow, target = link.partition(LINK_ARROW)
    if not arrow:
        return f"{shown(link)} is not a link; write for example {names[0]}->{names[-1]}"
    for name in (source, target):
        sentence = name_problem(name, names)
        if sentence:
            return sentence
    return f"{shown(link)} joins a replica to itself" if source == target else ""
