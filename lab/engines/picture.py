"""What each link fault does to a stream of messages, as text made by running it. Run: python -m lab.engines.picture

40 messages go from a to b over a link of 10 ms, one every 10 ms; the fault lasts from the 11th to the 30th.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping
from typing import Any, ClassVar

from lab.engines import reference
from lab.engines.scenario import Scenario
from lab.faults import FAULTS, Fault
from lab.model.inside import stages
from lab.model.link import CLIENT, LinkFault, Network, plan_links
from lab.protocols.form import Context, durable, protocol

MS = 1_000_000
MESSAGES = 40
EVERY_NS = 10 * MS
DELAY_NS = 10 * MS
SEED = 5
NAMES = ("a", "b")
BEAT, TICK = 1, 1

# Faults as experiment files write them, without `at` and `for`; a name for each.
EXAMPLES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("delay +35ms", {"delay": {"by": "35ms"}}),
    ("jitter up to 60ms", {"jitter": {"up_to": "60ms"}}),
    ("drop 30%", {"drop": {"share": "30%"}}),
    ("drop, the first 5", {"drop": {"share": "100%", "first": 5}}),
    ("loss_bursts 15%/40%", {"loss_bursts": {"to_bad": "15%", "to_good": "40%"}}),
    ("loss_correlated 30% 60%", {"loss_correlated": {"share": "30%", "correlation": "60%"}}),
    ("the same, as written", {"loss_correlated": {"share": "30%", "correlation": "60%", "as": "written"}}),
    ("corrupt 30%", {"corrupt": {"share": "30%"}}),
    ("duplicate 40%", {"duplicate": {"share": "40%"}}),
    ("reorder 30% by 25ms", {"reorder": {"share": "30%", "by": "25ms"}}),
    ("throttle to 20KB/s", {"throttle": {"bandwidth": "20KB/s", "queue": "1000B"}}),
    ("cut: drop", {"cut": {"kind": "drop"}}),
    ("cut: hold", {"cut": {"kind": "hold"}}),
    ("cut: slow by 100ms", {"cut": {"kind": "slow", "by": "100ms"}}),
    ("cut: kill", {"cut": {"kind": "kill"}}),
    ("flapping 40% of 50ms", {"flapping": {"period": "50ms", "duty": "40%"}}),
    ("clog", {"clog": {"node": "b"}}),
)
NOT_ON_STREAMS = ("duplicate",)
STREAM = {"rto": "30ms", "rto_cap": "120ms", "dial": "20ms", "backoff": "20ms", "backoff_cap": "80ms"}

LEGEND = "`.` in time, `>` late, `<` overtaken by a later message, `2` twice, `x` lost, `~` garbage"


@protocol
class Metronome:
    """Node 0 sends a message to node 1 every `period_ns`."""

    parameters: ClassVar[tuple[str, ...]] = ("period_ns", "messages")
    counters: ClassVar[tuple[str, ...]] = ()
    kinds: ClassVar[Mapping[int, str]] = {BEAT: "beat"}
    timers: ClassVar[Mapping[int, str]] = {TICK: "tick"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}

    heard: int = durable()

    def on_start(self, ctx: Context) -> None:
        if ctx.me == 0:
            ctx.timer(0, TICK)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        ctx.send(1, BEAT, a)
        if a + 1 < ctx.p.messages:
            ctx.timer(ctx.p.period_ns, TICK, a + 1)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        self.heard += 1

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        """There are no operations."""

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""


def world(fault: Fault | None, transport: str) -> Scenario:
    """Return the scenario of the picture."""
    described: dict[str, Any] = {"transport": transport, "links": {"default": {"delay": "10ms"}}}
    if transport == "stream":
        described["stream"] = STREAM
    effects = []
    if fault is not None and (effect := fault.link_effect("a", "b")) is not None:
        effects += [LinkFault(0, 1, start_ns, stop_ns, effect) for start_ns, stop_ns in fault.spans()]
    inside = [(0, one) for one in fault.inside()] if fault is not None else []
    params = {"period_ns": EVERY_NS, "messages": MESSAGES}
    return Scenario(
        experiment=None,
        protocol=Metronome,
        names=(*NAMES, CLIENT),
        params=namedtuple("Params", Metronome.parameters)(**params),
        plan=plan_links(NAMES, Network.model_validate(described), effects, Metronome.kinds),
        outages=tuple(fault.outages()) if fault is not None else (),
        settings=(),
        faults=(fault,) if fault is not None else (),
        horizon_ns=20_000 * MS,
        stages=stages(inside, NAMES, Metronome.kinds, has_replicas=False),
    )


def fault_of(written: Mapping[str, Any]) -> Fault:
    """Return the fault of an example, from the 11th to the 30th message."""
    ((kind, parameters),) = written.items()
    return FAULTS[kind].model_validate({"at": "100ms", "for": "200ms", **parameters})


def strip(fault: Fault | None, transport: str) -> str:
    """Return one character a message in the order of sending, and what was latest."""
    trace: list[reference.TraceRow] = []
    history = reference.run(world(fault, transport), SEED, trace=trace)
    arrivals: dict[int, list[int]] = {}
    for row in trace:
        if row.what == reference.MESSAGE:
            arrivals.setdefault(row.words[0], []).append(row.time_ns)
    garbage = sum(link.corrupted for link in history.links)
    marks = []
    for number in range(MESSAGES):
        times = arrivals.get(number, [])
        later = [times[0] for after, times in arrivals.items() if after > number]
        if not times:
            marks.append("~" if garbage else "x")
        elif len(times) > 1:
            marks.append("2")
        elif any(time < times[0] for time in later):
            marks.append("<")
        else:
            marks.append("." if times[0] == number * EVERY_NS + DELAY_NS else ">")
    latest = max(times[-1] - number * EVERY_NS for number, times in arrivals.items())
    return f"{''.join(marks)}  latest after {latest // MS} ms"


def gallery() -> str:
    """Return the page `docs/link-faults.md`."""
    lines = [
        "# What link faults do to messages",
        "",
        "Made by `python -m lab.engines.picture` from runs; edits are lost. 40 messages, one every 10 ms, go over a",
        "link of 10 ms; the fault lasts from the 11th to the 30th message.",
        f"{LEGEND}.",
        "",
    ]
    for transport in ("message", "stream"):
        lines += [f"Transport `{transport}`:", "", "```", f"{'nothing':<24} {strip(None, transport)}"]
        for name, written in EXAMPLES:
            if transport != "stream" or next(iter(written)) not in NOT_ON_STREAMS:
                lines.append(f"{name:<24} {strip(fault_of(written), transport)}")
        lines += ["```", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(gallery())
