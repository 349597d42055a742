"""Named faults: a kind with its parameters, as something that happens. `- preset: { name: …, at: … }`.

Each is (kind, parameters as in a file, what it is and where the numbers come from); keys of the file override them.
"""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, tuple[str, dict[str, Any], str]] = {
    "flaky_switch": (
        "flapping",
        {"for": "2s", "period": "200ms", "duty": "30%"},
        "a switch that restarts its ports: links are down 60ms of every 200ms for 2s (our numbers)",
    ),
    "bad_cable": (
        "loss_bursts",
        {"for": "5s", "to_bad": "1%", "to_good": "25%"},
        "loss in bursts of 4 messages, 3.8 % in all, for 5s (our numbers; the chain of tc-netem's gemodel)",
    ),
    "jepsen_loss": (
        "loss_correlated",
        {"for": "5s", "share": "20%", "correlation": "75%", "as": "written"},
        "Jepsen's packet loss as the kernel carries it out: 20 % with correlation 75 %, about 0.11 % lost",
    ),
    "jepsen_delay": (
        "delay",
        {"for": "5s", "by": "normal(mean=50ms, deviation=10ms)"},
        "Jepsen's packet delay: normal, 50ms and 10ms; its correlation of 25 % is left out",
    ),
    "gc_pause": (
        "pause",
        {"for": "500ms"},
        "a stop-the-world collection: a replica stands still for 500ms (our number)",
    ),
    "slow_disk": ("disk_stall", {"for": "3s", "by": "100ms"}, "a disk that takes 100ms a write for 3s (our numbers)"),
    "noisy_neighbour": (
        "slow_node",
        {"for": "3s", "service": "5ms"},
        "a replica that gets little processor: 5ms a message for 3s (our numbers)",
    ),
    "clock_jump": (
        "clock_offset",
        {"for": "5s", "offset": "4s"},
        "a clock set wrong by 4s for 5s (inside Jepsen's bumps, which reach 288s)",
    ),
    "clock_strobe": (
        "clock_offset",
        {"for": "5s", "offset": "262144ms", "strobe": "32ms"},
        "a clock that flips by 2^18 ms every 2^5 ms (Jepsen's strobe: up to 2^18 ms, 2^0 to 2^10 ms)",
    ),
    "retry_storm": ("overload", {"for": "1s", "rate": "500/s"}, "500 more operations a second for 1s (our numbers)"),
}


def written(value: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return (kind, parameters) of `{ name: PRESET, … }`: the file's keys over those of the preset."""
    from difflib import get_close_matches

    given = dict(value)
    name = given.pop("name", None)
    if name not in PRESETS:
        close = get_close_matches(str(name), PRESETS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"presets: {', '.join(PRESETS)}"
        raise ValueError(f"{'name' if name is None else name} is {'missing' if name is None else 'no preset'}; {hint}")
    kind, parameters, _ = PRESETS[name]
    return kind, {**parameters, **given}
