"""A random schedule of faults for every seed, then a liveness phase without any (swarm testing, Groce et al. 2012)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lab.core.dice import Dice
from lab.core.draws import chain
from lab.core.ranges import CountRange, DurationRange, ShareRange
from lab.core.sizes import bytes_text
from lab.core.units import DurationNs, duration_text, rate_text, share_text
from lab.faults.base import CLOCKS, LINK_ARROW, LINK_MEMORY, STAGES, Fault, LastingFault
from lab.faults.clock_offset import ClockOffset
from lab.faults.clog import Clog
from lab.faults.corrupt import Corrupt
from lab.faults.crash import Crash
from lab.faults.cut import Cut
from lab.faults.delay import Delay
from lab.faults.disk_stall import DiskStall
from lab.faults.drop import Drop
from lab.faults.duplicate import Duplicate
from lab.faults.flapping import Flapping
from lab.faults.jitter import Jitter
from lab.faults.loss_bursts import LossBursts
from lab.faults.overload import Overload
from lab.faults.partition import Partition
from lab.faults.pause import Pause
from lab.faults.reorder import Reorder
from lab.faults.slow_node import SlowNode
from lab.faults.throttle import Throttle
from lab.model.shapes import SHAPES

MILLION = 1_000_000
PERCENT = 10_000
MS = 1_000_000
TRIES = 8  # a fault that clashes with those drawn before is drawn anew so often, then left out
DELAYS_MAX = 2  # delay laws that swarm faults may add up to at the same time; a link holds four

Kind = Literal[
    "delay", "jitter", "drop", "loss_bursts", "corrupt", "duplicate", "reorder", "throttle", "cut", "flapping",
    "partition", "clog", "crash", "pause", "slow_node", "disk_stall", "clock_offset", "overload",
]  # fmt: skip
Drawn = tuple[type[Fault], dict[str, Any]]


def _share(most_ppm: int, hardness_ppm: int) -> str:
    return share_text(max(1, most_ppm * hardness_ppm // MILLION // PERCENT) * PERCENT)


def _time(most_ms: int, hardness_ppm: int) -> str:
    return duration_text(max(1, most_ms * hardness_ppm // MILLION) * MS)


def _links(dice: Dice, names: Sequence[str]) -> list[str]:
    """Return the links of a drawn replica: those to it, those from it, or both."""
    node, which = dice.choice(names), dice.choice(("both", "in", "out"))
    others = [name for name in names if name != node]
    into = [f"{other}{LINK_ARROW}{node}" for other in others] if which != "out" else []
    return into + ([f"{node}{LINK_ARROW}{other}" for other in others] if which != "in" else [])


def _shape(dice: Dice, names: Sequence[str]) -> str:
    return dice.choice([shape for shape, (_, fewest) in SHAPES.items() if fewest <= len(names)])


# Kind -> how one is drawn at a hardness (millionths): the ranges follow TigerBeetle's swarm (loss to 30 %, delay to
# 100 ms, replay to 50 %, features of its simulator in `src/vopr.zig`); those of other kinds are ours.
RECIPES: dict[str, Callable[[Dice, Sequence[str], int], Drawn]] = {
    "delay": lambda d, n, h: (Delay, {"by": f"exponential(mean={_time(100, h)})"}),
    "jitter": lambda d, n, h: (Jitter, {"up_to": _time(200, h)}),
    "drop": lambda d, n, h: (Drop, {"share": _share(300_000, h)}),
    "loss_bursts": lambda d, n, h: (LossBursts, {"to_bad": _share(200_000, h), "to_good": "30%"}),
    "corrupt": lambda d, n, h: (Corrupt, {"share": _share(200_000, h)}),
    "duplicate": lambda d, n, h: (Duplicate, {"share": _share(500_000, h)}),
    "reorder": lambda d, n, h: (Reorder, {"share": _share(500_000, h), "by": _time(100, h)}),
    "throttle": lambda d, n, h: (Throttle, {"bandwidth": bytes_text(100_000 - 90_000 * h // MILLION) + "/s"}),
    "cut": lambda d, n, h: (Cut, {"kind": d.choice(("drop", "hold", "kill")), "links": _links(d, n)}),
    "flapping": lambda d, n, h: (Flapping, {"period": "100ms", "duty": _share(900_000, h), "links": _links(d, n)}),
    "partition": lambda d, n, h: (Partition, {"shape": _shape(d, n), "kind": d.choice(("drop", "drop", "hold"))}),
    "clog": lambda d, n, h: (Clog, {"node": d.choice(n), "direction": d.choice(("both", "in", "out"))}),
    "crash": lambda d, n, h: (Crash, {"node": d.choice(n)}),
    "pause": lambda d, n, h: (Pause, {"node": d.choice(n)}),
    "slow_node": lambda d, n, h: (SlowNode, {"node": d.choice(n), "service": _time(20, h)}),
    "disk_stall": lambda d, n, h: (DiskStall, {"node": d.choice(n), "by": _time(100, h)}),
    "clock_offset": lambda d, n, h: (
        ClockOffset,
        {"node": d.choice(n), "offset": d.choice(("", "-")) + _time(10_000, h)},
    ),
    "overload": lambda d, n, h: (Overload, {"rate": rate_text(max(1, 200 * h // MILLION) * 1000)}),
}
_NEED = {
    **dict.fromkeys(("loss_bursts", "corrupt", "throttle", "cut", "partition", "clog"), LINK_MEMORY),
    **dict.fromkeys(("slow_node", "disk_stall"), STAGES),
    "clock_offset": CLOCKS,
}


class Swarm(LastingFault):
    """Begin `count` faults in [at, at + for), drawn from the seed, of kinds drawn from `faults`.

    Each kind takes part in a run with probability one half (at least one does), so that some runs have one kind alone.
    Each fault lasts a time in `lasting`; `hardness` is drawn once a run and scales shares, delays and rates from
    nothing to the kind's most. At `heal_by` (left out: at + for + the longest `lasting`) everything is healed for good:
    what is left of the run is the liveness phase, in which the replicas must converge. Crashes keep what is durable.
    Each drawn fault is one of its own in the run's record; `lab plan` and `lab replay --seed` print them.
    """

    kind: ClassVar[str] = "swarm"
    summary: ClassVar[str] = "draws a schedule of faults from the seed, and ends with a phase without any"
    colour: ClassVar[str] = "#555555"
    hatch: ClassVar[str] = "**"

    faults: Annotated[list[Kind], Field(min_length=1, max_length=len(RECIPES))]
    count: CountRange = (1, 4)
    lasting: DurationRange = (200_000_000, 1_000_000_000)
    hardness: ShareRange = (100_000, 1_000_000)
    heal_by: DurationNs | None = None

    @property
    def stop_ns(self) -> int:
        return self.at + self.for_ + self.lasting[1] if self.heal_by is None else self.heal_by

    def is_drawn(self) -> bool:
        return True

    def drawn(self, names: Sequence[str], key: int, beside: Sequence[Fault]) -> list[Fault]:
        dice = Dice(key)
        kinds = [kind for kind in self.faults if dice.chance(500_000)] or [dice.choice(self.faults)]
        hardness = dice.between(*self.hardness)
        found: list[Fault] = []
        for number in range(dice.between(*self.count)):
            for attempt in range(TRIES):
                own = chain(key, 1 + number, attempt)
                (fault,) = self._one(Dice(own), kinds, names, hardness).drawn(names, own, ())
                if not any(_clash(fault, other) for other in (*beside, *found)) and _fits(fault, found):
                    found.append(fault)
                    break
        return sorted(found, key=lambda fault: fault.start_ns)

    def _one(self, dice: Dice, kinds: Sequence[str], names: Sequence[str], hardness: int) -> Fault:
        at = self.at + dice.between(0, self.for_ - 1) // MS * MS
        stop = min(at + max(MS, dice.between(*self.lasting) // MS * MS), self.stop_ns)
        cls, parameters = RECIPES[dice.choice(kinds)](dice, names, hardness)
        return cls.model_validate({"at": duration_text(at), "for": duration_text(stop - at), **parameters})

    def may_need(self) -> frozenset[str]:
        return frozenset(_NEED[kind] for kind in self.faults if kind in _NEED)

    def refusal(self) -> str:
        names = ("leader", "f1", "f2", "f3")
        refused = [kind for kind in self.faults if self._one(Dice(0), [kind], names, MILLION).refusal()]
        return f"containers cannot carry the drawn kinds {', '.join(refused)}; name others" if refused else ""

    def touches_links(self) -> bool:
        """Return whether any of its kinds acts on links."""
        return any(_class_of(kind).link_effect is not Fault.link_effect for kind in self.faults)

    def label(self) -> str:
        return f"swarm of {', '.join(self.faults)} (drawn)"

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        found = []
        if len(set(self.faults)) < len(self.faults):
            found.append(("faults", "a kind is named twice; name each once"))
        if self.count[0] < 1 or self.count[1] > 64:
            found.append(("count", "draw 1 to 64 faults a run"))
        if self.lasting[0] < MS:
            found.append(("lasting", "the shortest fault lasts 1ms"))
        if not 0 < self.hardness[0] <= self.hardness[1] <= MILLION:
            found.append(("hardness", "a hardness is above 0% and at most 100%"))
        if self.heal_by is not None and self.heal_by < self.at + self.for_:
            found.append(("heal_by", f"faults begin until {duration_text(self.at + self.for_)}; heal no earlier"))
        return found


def _class_of(kind: str) -> type[Fault]:
    return RECIPES[kind](Dice(0), ("a", "b", "c", "d"), MILLION)[0]


def _clash(one: Fault, other: Fault) -> bool:
    """Return whether two faults cannot hold at the same time: outages or disturbances of a replica, loss by states."""
    if one.stop_ns <= other.start_ns or other.stop_ns <= one.start_ns:
        return False
    if {outage.node for outage in one.outages()} & {outage.node for outage in other.outages()}:
        return True
    if one.kind == other.kind and one.inside():
        return {inside.node for inside in one.inside()} == {inside.node for inside in other.inside()}
    return one.kind.startswith("loss_") and other.kind.startswith("loss_")


def _fits(fault: Fault, found: Sequence[Fault]) -> bool:
    """Return whether a link can hold the delay laws that would add up."""
    if fault.kind not in ("delay", "jitter"):
        return True
    same = [other for other in found if other.kind in ("delay", "jitter") and other.start_ns < fault.stop_ns]
    return sum(fault.start_ns < other.stop_ns for other in same) < DELAYS_MAX
