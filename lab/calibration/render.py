"""The calibration as a page of Markdown: what was measured, how to read it, and nothing left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]

HEAD = """# Calibration: how far the simulator may be trusted

Written by `{command}`; do not edit. {date}, {machine}, Docker {engine}.
"""

FEW = """
**Too little was measured to judge by**: {runs} runs of {episodes} episodes a row. `lab calibrate --table --page
docs/calibration.md` on a quiet machine measures in full, in under 20 minutes.
"""
EPISODES_MIN = 40

LEGS = """
## What real links add

Measured with constant delays switched on, at the load of the table, and stored in `{folder}` as samples that an
experiment can name (`network.base`, see [the experiment file](experiment-file.md)). A leg goes from event to event, so
reading, disk and the proxy's timers are part of it.

| leg | from → to | samples | median | p95 | p99 |
|---|---|---|---|---|---|
{rows}

| also measured | samples | median | p99 |
|---|---|---|---|
{others}

Work at a follower, from a message read to durable and answered (its own histogram, mean): {service}.
It is part of `forward` and `back` and not added again. {failed}
"""

READ = """
## Simulator against containers

{head}
{rows}

**Limits:** the median of convergence within 3 %, the acknowledgement KS at most 0.05, the convergence KS inside its
null band (the 95 % critical value for two samples of these sizes from one law). A row that misses one of them is
`outside`, and what it misses is **bold**. Differences are simulator against containers.

**How to read it.** A row is many short episodes of one fault; convergence is the time from the end of an episode until
every replica has all that was accepted by then (`none`: from moments a tenth of a second apart). The interval
beside a median says what luck alone could have done: where it holds 0 %, `outside` by the median may be luck, and more
repetitions tell. The band takes episodes as independent, and one band in twenty is missed by luck. Latencies of one
episode are alike, so their KS is not a test but a distance.

**What the simulator was given:** the samples above, and the times at which faults really began and ended (a container
needs time to start: `crash` ends late; it ends when all that send to the replica are connected again). **What it leaves
out:** it takes retry timers as exact, and each message's own share as independent of its neighbours', so that a machine
that stalls, which delays many at once, shows as a simulated tail that is too long: measure on a machine that does
nothing else. Probes were spread among the runs, so that a drift of the machine meets both. Reconciliation was off, so
nothing here is about it. Acknowledgements in `async` wait for no link: their distribution is the request and the answer
alone, a few tenths of a millisecond on an idle machine.
"""

COLUMNS = (
    *("fault", "mode", "verdict", "episodes real / simulated", "convergence p50: real, difference (95 %)"),
    *("p95: real, difference (95 %)", "convergence KS (band)", "latencies real / simulated"),
    *("acknowledgement p50: real, difference", "acknowledgement KS (limit)", "began / ended late by"),
    "not as it should be",
)


def page(document: Json) -> str:
    """Return the whole page."""
    parts = [HEAD.format(**document), _legs(document)]
    rows, effort = document.get("rows"), document["effort"]
    if effort["runs"] * effort["episodes"] < EPISODES_MIN:
        parts.insert(1, FEW.format(**effort))
    if rows:
        head = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"
        parts.append(READ.format(head=head, rows="\n".join(_row(row) for row in rows)))
        counts = {name: sum(row["verdict"] == name for row in rows) for name in ("inside", "outside", "not measured")}
        parts.append("\n" + ", ".join(f"{count} {name}" for name, count in counts.items() if count) + ".\n")
    return "".join(parts)


_ENDS = {
    "request": "intended by the client → accepted by the leader",
    "forward": "accepted → applied by a follower",
    "back": "applied by the follower → released by the leader",
    "answer": "released → heard by the client",
}


def _legs(document: Json) -> str:
    legs = document["legs"]
    rows = [
        f"| `{name}` | {ends} | {legs[name]['n']:,} | " + " | ".join(_ms(legs[name].get(q)) for q in _QUANTILES) + " |"
        for name, ends in _ENDS.items()
    ]
    others = [
        f"| {text} | {found['n']:,} | {_ms(found.get('p50_ns'))} | {_ms(found.get('p99_ns'))} |"
        for text, found in (
            ("lateness of a repetition's timers (two a repetition)", document["retry_late"]),
            ("a switch of links begins or ends late by", document["switch_late"]),
            *((f"`forward` of {name}", found) for name, found in document["followers"].items()),
        )
    ]
    service = ", ".join(f"{name} {_ms(value)}" for name, value in document["service_ns"].items()) or "not told"
    broken = len(document["failed"]) + len(document["invalid"])
    return LEGS.format(
        folder=document["folder"], rows="\n".join(rows), others="\n".join(others), service=service,
        failed=f"{broken} runs failed and were repeated, or left out." if broken else "",
    )  # fmt: skip


_QUANTILES = ("p50_ns", "p95_ns", "p99_ns")


def _ms(value_ns: float | None) -> str:
    return "–" if value_ns is None else f"{value_ns / 1e6:.3g} ms"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1%}"


def _bold(text: str, is_inside: bool) -> str:
    return text if is_inside else f"**{text}**"


def _difference(found: Json, which: str) -> str:
    point, low, high = (_percent(found[f"{which}_{side}"]) for side in ("difference", "low", "high"))
    return f"{point} ({low} to {high})"


def _row(row: Json) -> str:
    convergence, latency = row["convergence"], row["acknowledgement"]
    cells = [row["kind"], row["mode"], _bold(row["verdict"], row["verdict"] == "inside")]
    if convergence:
        median = f"{_ms(convergence['median_containers'])}, {_difference(convergence, 'median')}"
        ks = f"{convergence['ks']:.3f} ({convergence['ks_limit']:.3f})"
        cells += [
            f"{convergence['n_containers']:,} / {convergence['n_simulator']:,}",
            _bold(median, convergence["median_inside"]),
            f"{_ms(convergence['p95_containers'])}, {_difference(convergence, 'p95')}",
            _bold(ks, convergence["ks_inside"]),
        ]
    else:
        cells += ["–"] * 4
    if latency:
        ks = f"{latency['ks']:.3f} ({latency['ks_limit']:.2f})"
        cells += [
            f"{latency['n_containers']:,} / {latency['n_simulator']:,}",
            f"{_ms(latency['median_containers'])}, {_percent(latency['median_difference'])}",
            _bold(ks, latency["ks_inside"]),
        ]
    else:
        cells += ["–"] * 3
    cells.append("–" if row["kind"] == "none" else f"{_ms(row['begun_late_ns'])} / {_ms(row['ended_late_ns'])}")
    return "| " + " | ".join([*cells, _remarks(row)]) + " |"


def _remarks(row: Json) -> str:
    said = [f"{len(row['invalid'])} runs could not be judged"] if row["invalid"] else []
    said += [f"{row['censored']} convergences cut"] if row["censored"] else []
    said += [f"{row['unacknowledged']} writes unanswered"] if row["unacknowledged"] else []
    return "; ".join(said) or "–"
