"""Stock toxics: which of them stand for an effect on a link, exactly, or the sentence that says what does. Pure.

On the wire `oneshot` every message has its own connection through an unmodified server, so a toxic's toxicity is a
share of messages. Every toxic is in place before the run with toxicity 0 and is switched by its toxicity alone, because
adding and removing toxics disturbs connections (`reset_peer` excepted, whose mere presence changes how they close).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from lab.core.laws import Law
from lab.core.units import duration_text
from lab.model.disturbance import StockToxic
from lab.model.effects import LinkEffect

BASELINE = -1  # the owner of what is in force from the start to the end of a run
WHOLE_PPM = 1_000_000
MS = 1_000_000
DELAY_MAX_NS = 60_000_000_000
SHIELD = "shield"  # the last of a chain to which one is added: the server interrupts the one before
ADDED = frozenset({"reset_peer"})
_FRAMED_NEEDS_WHOLE = "on the framed wire a link has one connection: write share: 100%, or system.wire: oneshot"
HOLD = "hold"  # our own server's toxic for what a stock one does with a bandwidth of 0
# What no stock toxic does, by the field of the effect; queue_bytes goes with bytes_per_s.
_LACKING = {
    "corrupt_ppm": "damaged messages",
    "chain": "bursts of loss",
    "correlated": "correlated loss",
    "bytes_per_s": "a bandwidth that the messages of a link share",
    "kinds": "messages of some kinds only",
    "first": "the first so many messages only",
}
_KNOWN = {"cut", "hold", "kill", "loss_ppm", "duplicate_ppm", "reorder_ppm", "reorder_by_ns", "delay", "queue_bytes"}


@dataclass(frozen=True, slots=True)
class Toxic:
    """A stock toxic in a link's chain. It acts on `share_ppm` of the connections while its owner, the index of a fault
    or BASELINE, is in force.
    """

    name: str
    type: str
    attributes: tuple[tuple[str, int], ...]
    share_ppm: int
    owner: int

    @property
    def added(self) -> bool:
        """Whether it is added when it begins and removed when it ends."""
        return self.type in ADDED

    def share(self, active: frozenset[int]) -> int:
        """Return the share (millionths) that it acts on while those faults are active."""
        return self.share_ppm if self.owner == BASELINE or self.owner in active else 0


def shield() -> Toxic:
    """Return a toxic that never acts, for the end of a chain."""
    return Toxic(SHIELD, "timeout", (("timeout", 0),), 0, BASELINE)


def gate(name: str, owner: int, share_ppm: int = WHOLE_PPM) -> Toxic:
    """Return the toxic that swallows what comes."""
    return Toxic(name, "timeout", (("timeout", 0),), share_ppm, owner)


def hold(name: str, owner: int, wire: str) -> Toxic:
    """Return the toxic that keeps what comes until it is switched off. It comes first in its chain, so that what it
    lets go is delayed from then on.
    """
    if wire == "framed":
        return Toxic(name, HOLD, (), WHOLE_PPM, owner)
    return Toxic(name, "bandwidth", (("rate", 0),), WHOLE_PPM, owner)


def latency(name: str, owner: int, middle_ms: int, jitter_ms: int = 0) -> Toxic:
    """Return the toxic that delays by a whole number of milliseconds in middle - jitter .. middle + jitter - 1."""
    return Toxic(name, "latency", (("latency", middle_ms), ("jitter", jitter_ms)), WHOLE_PPM, owner)


def of_law(name: str, owner: int, law: Law) -> tuple[list[Toxic], str]:
    """Return the toxic of a delay law, or the sentence with which it is refused."""
    if law.shape == "constant":
        low = high = law.arguments[0]
    elif law.shape == "uniform":
        low, high = law.arguments
    else:
        low, high = 0, 0
        return [], (
            f"a stock server draws no {law.shape} delays; write a constant such as 20ms or uniform(low=10ms, "
            "high=30ms), or system.wire: framed"
        )
    if low % MS or high % MS or (high - low) % (2 * MS):
        step = "whole milliseconds" if low == high else "whole milliseconds an even number apart"
        near = duration_text(max(MS, round(low / MS) * MS))
        fix = near if low == high else f"uniform(low={duration_text(low - low % MS)}, high={_even(low, high)})"
        return [], f"a stock server delays by {step}, not {law.text()}; write {fix}, or system.wire: framed"
    if high > DELAY_MAX_NS:
        return [], f"{law.text()} is over {duration_text(DELAY_MAX_NS)}, the most that a stock server may get"
    if high == 0:
        return [], ""
    return [latency(name, owner, (low + high) // (2 * MS), (high - low) // (2 * MS))], ""


def lasting(toxics: list[Toxic], lasts_ns: int) -> str:
    """Return a sentence if a delay that begins and ends is too long for how long it lasts, else "".

    What waits in a latency toxic when it is switched off leaves at once; that may concern a tenth of its messages.
    """
    for toxic in toxics:
        most_ns = sum(value for _, value in toxic.attributes) * MS if toxic.type == "latency" else 0
        if most_ns * 10 > lasts_ns:
            return (
                "a stock server lets go what waits when a delay ends; let the fault last ten times its delay "
                f"({duration_text(10 * most_ns)}), or write system.wire: framed"
            )
    return ""


def _even(low: int, high: int) -> str:
    low -= low % MS
    steps = max(1, round((high - low) / (2 * MS)))
    return duration_text(low + steps * 2 * MS)


def place(toxic: Toxic) -> int:
    """Return where in a chain a toxic belongs: what holds, what swallows (so that messages already on their way when it
    begins still arrive), the rest, the shield, what is added later.
    """
    if toxic.added or toxic.name == SHIELD:
        return 4 if toxic.added else 3
    if toxic.type == HOLD or (toxic.type, toxic.attributes) == ("bandwidth", (("rate", 0),)):
        return 0
    return 1 if toxic.type == "timeout" else 2


def of_effect(label: str, owner: int, effect: LinkEffect) -> tuple[list[Toxic], list[str]]:
    """Return the chain of an effect on the oneshot wire, and sentences for what it cannot carry."""
    toxics, refused = [], []
    if effect.hold:
        toxics.append(hold(f"{label}.hold", owner, "oneshot"))
    if effect.cut:
        toxics.append(gate(f"{label}.cut", owner))
    if effect.loss_ppm:
        toxics.append(gate(f"{label}.loss", owner, effect.loss_ppm))
    if effect.delay is not None:
        made, sentence = of_law(f"{label}.delay", owner, effect.delay)
        toxics += made
        refused += [sentence] if sentence else []
    if effect.reorder_ppm:
        refused.append(
            "a stock server holds no single messages back; jitter reorders on this wire: write delay: "
            "uniform(low=10ms, high=30ms), or system.wire: framed"
        )
    refused += [
        f"a stock server has nothing for {_LACKING.get(name, name)}; write system.wire: framed"
        for name, value, default in _others(effect)
        if value != default
    ]
    return toxics, refused


def _others(effect: LinkEffect) -> list[tuple[str, Any, Any]]:
    return [(one.name, getattr(effect, one.name), one.default) for one in fields(effect) if one.name not in _KNOWN]


def of_toxic(label: str, owner: int, toxic: StockToxic, wire: str) -> tuple[list[Toxic], list[str]]:
    """Return the chain of a stock toxic that is a fault, and sentences for what has no meaning on the wire."""
    refused = []
    if wire == "framed" and toxic.share_ppm != WHOLE_PPM:
        refused.append(_FRAMED_NEEDS_WHOLE)
    if wire == "framed" and toxic.type == "slow_close":
        refused.append("on the framed wire no connection closes, so slow_close has no effect; write wire: oneshot")
    return [Toxic(f"{label}.{toxic.type}", toxic.type, toxic.attributes, toxic.share_ppm, owner)], refused
