"""What faults of replicas, named partitions and drawn schedules do, as text. Run: python -m lab.engines.node_picture

The strips are those of `lab.engines.picture`: 40 messages from a to b, the fault at b.
"""

from __future__ import annotations

from typing import Any

from lab.core.draws import SCHEDULE, chain
from lab.core.nodes import skew_ns
from lab.core.units import duration_text
from lab.engines.picture import LEGEND, MS, fault_of, strip
from lab.faults import FAULTS
from lab.faults.clock_offset import ClockOffset
from lab.model.fault_presets import PRESETS
from lab.model.presets import MEANS_MS, NETWORKS, REGIONS
from lab.model.shapes import SHAPES, picture

EXAMPLES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("slow_node +25ms", {"slow_node": {"node": "b", "service": "25ms"}}),
    ("disk_stall +25ms", {"disk_stall": {"node": "b", "by": "25ms"}}),
    ("pause", {"pause": {"node": "b"}}),
    ("crash", {"crash": {"node": "b"}}),
)
CLOCKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("offset 1s", {"offset": "1s"}),
    ("offset -1s, gaining 10%", {"offset": "-1s", "drift_ppm": 100_000}),
    ("offset 1s, strobe 50ms", {"offset": "1s", "strobe": "50ms"}),
)
NAMES = ("a", "b", "c", "d", "e")
SWARM: dict[str, Any] = {
    "at": "1s", "for": "4s", "count": "1..4", "heal_by": "6s",
    "faults": ["drop", "partition", "clog", "crash", "pause", "slow_node", "disk_stall"],
}  # fmt: skip
SEEDS = (1, 2, 3)


def _clock(parameters: dict[str, Any]) -> str:
    fault = ClockOffset.model_validate({"at": "100ms", "for": "200ms", "node": "b", **parameters})
    shown = []
    for now_ms in range(50, 400, 50):
        now, skew = now_ms * MS, 0
        if fault.start_ns <= now < fault.stop_ns:
            skew = skew_ns(now - fault.start_ns, fault.offset, fault.drift_ppm, fault.strobe or 0)
        shown.append(f"{(now + skew) // MS:>6}")
    return "".join(shown)


def _schedule(seed: int) -> list[str]:
    swarm = FAULTS["swarm"].model_validate(SWARM)
    lines = [f"seed {seed}"]
    for fault in swarm.drawn(NAMES, chain(seed, SCHEDULE, 0), ()):
        lines.append(f"  {duration_text(fault.start_ns):>7} to {duration_text(fault.stop_ns):>7}  {fault.label()}")
    return lines


def gallery() -> str:
    """Return the page `docs/node-faults.md`."""
    lines = [
        "# Faults of replicas, named partitions, presets, random schedules",
        "",
        "Made by `python -m lab.engines.node_picture` from runs; edits are lost. As in",
        "[link-faults.md](link-faults.md), 40 messages, one every 10 ms, go from a to b over a link of 10 ms; the",
        "fault at b lasts from 100 to 300 ms.",
        f"{LEGEND}.",
        "",
        "```",
        *(f"{name:<24} {strip(fault_of(written), 'message')}" for name, written in EXAMPLES),
        "```",
        "",
        "What the clock of b shows at 50, 100, … 350 ms (`clock_offset` from 100 to 300 ms), in ms:",
        "",
        "```",
        *(f"{name:<24} {_clock(parameters)}" for name, parameters in CLOCKS),
        "```",
        "",
        "Shapes of `partition` over five replicas in the order a b c d e. A row says whom a replica hears (`#`):",
        "",
        "```",
    ]
    for shape in SHAPES:
        size = 2 if shape == "random" else 0
        lines += [f"{shape}{' (size 2)' if size else ''}", *picture(shape, NAMES, size).splitlines(), ""]
    lines += [
        "```", "", "Schedules that three seeds draw from",
        "`swarm: { at: 1s, for: 4s, count: 1..4, heal_by: 6s, faults: [" + ", ".join(SWARM["faults"]) + "] }`:", "",
        "```", *(line for seed in SEEDS for line in _schedule(seed)), "```", "",
        "Named faults (`- preset: { name: gc_pause, at: 2s, node: f1 }`; keys beside `name` override):", "",
        "| name | is | |", "|---|---|---|",
    ]  # fmt: skip
    for name, (kind, parameters, about) in PRESETS.items():
        lines.append(
            f"| `{name}` | `{kind}` {', '.join(f'{key} {value}' for key, value in parameters.items())} | {about} |"
        )
    lines += [
        "",
        "Named networks (`network: { preset: wan }`; keys of the file override):",
        "",
        "| name | |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {about} |" for name, (_, about) in NETWORKS.items()]
    lines += ["", "Mean delays between `regions`, in ms:", "", "| | " + " | ".join(REGIONS) + " |", "|---" * 7 + "|"]
    lines += [f"| {name} | " + " | ".join(map(str, row)) + " |" for name, row in zip(REGIONS, MEANS_MS, strict=True)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(gallery())
