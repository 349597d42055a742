"""Asked against observed, for each kind of fault on each wire: `python -m benchmarks.faults [--quick] [--json FILE]`.

Every case is an experiment whose link is translated by the lab itself, put on a real server, and met by messages at a
constant rate. Shares get a 99 % Wilson interval; delays are quantiles of what arrived, to be read against the hop's own
delay (the case "no fault"). Cuts hold for the middle third. Duplicates on the oneshot wire are made by the sender, so
there the share is that of a run of real replicas.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks import proxy
from lab.containers import links
from lab.containers.execute import run_once
from lab.containers.images import SERVERS, Images, build_images
from lab.containers.session import Session, open_session
from lab.core import draws
from lab.core.laws import parse_law
from lab.core.quantiles import lookup
from lab.spec.schema import Experiment

RATE = 250
COUNT = 2_400
QUANTILES = (50, 90, 99)
CONFIDENCE = 0.99
LINK = "leader->f1"


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement: the faults of an experiment (in force throughout, or cut for the middle third), and what was
    asked for.
    """

    name: str
    fault: Mapping[str, Any] | None = None
    wires: tuple[str, ...] = ("framed", "oneshot")
    law: str = "0s"
    share: tuple[str, float] | None = None  # (what is counted, the share asked for)
    middle: bool = False
    delay: str = "0s"


CASES = (
    Case("no fault"),
    Case("delay constant", {"delay": {"by": "20ms"}}, law="20ms"),
    Case("delay uniform", {"delay": {"by": "uniform(low=10ms, high=30ms)"}}, law="uniform(low=10ms, high=30ms)"),
    Case("jitter", {"jitter": {"up_to": "20ms"}}, law="uniform(low=0ms, high=20ms)"),
    Case("delay lognormal", {"delay": {"by": "lognormal(median=20ms, p99=60ms)"}}, ("framed",),
         law="lognormal(median=20ms, p99=60ms)"),
    Case("drop 5%", {"drop": {"share": "5%"}}, share=("lost", 0.05)),
    Case("drop 30%", {"drop": {"share": "30%"}}, share=("lost", 0.3)),
    Case("duplicate 5%", {"duplicate": {"share": "5%"}}, share=("duplicated", 0.05)),
    Case("reorder 10%", {"reorder": {"share": "10%", "by": "10ms"}}, ("framed",), share=("late", 0.1)),
    Case("cut drop", {"cut": {"kind": "drop"}}, share=("lost in the cut", 1.0), middle=True),
    Case("cut hold", {"cut": {"kind": "hold"}}, share=("held in the cut", 1.0), middle=True),
    Case("cut slow", {"cut": {"kind": "slow", "by": "50ms"}}, share=("slowed in the cut", 1.0), middle=True),
    Case("cut kill", {"cut": {"kind": "kill"}}, share=("lost in the cut", 1.0), middle=True),
    Case("toxic latency", {"toxic": {"type": "latency", "latency": "20ms", "jitter": "10ms"}}, ("oneshot",),
         law="uniform(low=10ms, high=30ms)"),
    Case("toxic timeout 30%", {"toxic": {"type": "timeout", "timeout": "0s", "share": "30%"}}, ("oneshot",),
         share=("lost", 0.3)),
    Case("toxic reset_peer 30%", {"toxic": {"type": "reset_peer", "timeout": "0s", "share": "30%"}}, ("oneshot",),
         share=("lost", 0.3)),
)  # fmt: skip


def experiment(case: Case, wire: str, seconds: float) -> Experiment:
    """Return a case as an experiment with two replicas, whose first link is measured."""
    faults = []
    if case.fault is not None:
        ((kind, parameters),) = case.fault.items()
        at, lasts = (seconds / 3, seconds / 3) if case.middle else (0, seconds + 60)
        timed = {"at": f"{at * 1000:.0f}ms", "for": f"{lasts * 1000:.0f}ms", "links": [LINK], **parameters}
        faults.append({kind: timed})
    return Experiment.model_validate(
        {
            "title": case.name,
            "system": {"wire": wire, "replicas": [{"name": "leader"}, {"name": "f1"}]},
            "network": {"links": {"default": {"delay": case.delay}}},
            "workload": {"arrivals": f"constant({RATE}/s)", "duration": f"{seconds * 1000:.0f}ms"},
            "faults": faults,
        }
    )


def measure(bench: proxy.Bench, case: Case, count: int) -> dict[str, Any]:
    """Return asked and observed of one case."""
    seconds = count / RATE
    planned = links.plan(experiment(case, bench.wire, seconds), 7)
    link = planned.links[0]
    proxy.run(lambda: bench.prepare(link, bench.frames_port))
    times = dict[str, int]()

    def disturb(start_ns: int) -> None:
        asyncio.run(_switch(bench, planned, start_ns, times))

    result = bench.send(RATE, count, disturb if case.middle else lambda _: None)
    return {"case": case.name, "wire": bench.wire, **_observed(case, result, times)}


async def _switch(bench: proxy.Bench, planned: links.Links, start_ns: int, times: dict[str, int]) -> None:
    """Begin and end the faults of a link at their times."""
    server, link = bench.api, planned.links[0]
    server.in_force[link.name] = link.row_of_epoch[0]
    await server.version()
    for epoch, at_ns in enumerate(planned.boundaries_ns):
        row = link.row_of_epoch[epoch]
        if row == server.in_force[link.name]:
            continue
        await asyncio.sleep(max(0.0, (start_ns + at_ns - time.monotonic_ns()) / 1e9))
        done = await server.switch([(link, row)])
        await server.confirm([link])
        if link.faults[row]:
            times["begun"] = done.finished_ns
        else:
            times["healed_from"], times["healed"] = done.started_ns, done.finished_ns
    server.close()


def _observed(case: Case, result: proxy.Sent, times: Mapping[str, int]) -> dict[str, Any]:
    first: dict[int, int] = {}
    for number, at_ns in result.received:
        first.setdefault(number, at_ns)
    sent = [number for number, at_ns in enumerate(result.sent_ns) if at_ns >= 0]
    delays = np.array([(at_ns - result.sent_ns[number]) / 1e6 for number, at_ns in first.items()])
    table = parse_law(case.law).table()
    asked = [lookup(table, q * (1 << draws.KEY_BITS) // 100) / 1e6 for q in QUANTILES]
    found: dict[str, Any] = {
        "messages": len(sent),
        "unsent": result.unsent,
        "asked_ms": {f"p{q}": round(float(value), 3) for q, value in zip(QUANTILES, asked, strict=True)},
        "seen_ms": {f"p{q}": round(float(np.quantile(delays, q / 100)), 3) for q in QUANTILES} if len(delays) else {},
        "reordered": round(proxy.reordered_share([number for number, _ in result.received]), 4),
    }
    if case.share is not None:
        what, share = case.share
        inside = range(len(result.sent_ns)) if not case.middle else _inside(result, times)
        hits, trials = _count(what, inside, result, first, times)
        low, high = stats.binomtest(hits, trials).proportion_ci(CONFIDENCE, "wilson")
        found |= {"counted": what, "asked": share, "seen": hits / trials, "interval": [low, high], "of": trials}
        found["agrees"] = bool(low <= share <= high)
    return found


def _inside(result: proxy.Sent, times: Mapping[str, int]) -> list[int]:
    """Return the messages of the cut, those that found no connection in it included; 5 ms off at both ends."""
    gap_ns = 5_000_000
    start_ns = next(at_ns - number * 1e9 / RATE for number, at_ns in enumerate(result.sent_ns) if at_ns >= 0)
    due = [start_ns + number * 1e9 / RATE for number in range(len(result.sent_ns))]
    return [n for n, at_ns in enumerate(due) if times["begun"] + gap_ns <= at_ns <= times["healed_from"] - gap_ns]


def _count(
    what: str, inside: Any, result: proxy.Sent, first: Mapping[int, int], times: Mapping[str, int]
) -> tuple[int, int]:
    """Return (how many messages show it, of how many)."""
    if what == "duplicated":
        return len(result.received) - len(first), len(first)
    if what == "late":
        late = [number for number, at_ns in first.items() if at_ns - result.sent_ns[number] >= 9_000_000]
        return len(late), len(first)
    trials = [number for number in inside if what != "lost" or result.sent_ns[number] >= 0]
    if what.startswith("lost"):
        return sum(number not in first for number in trials), len(trials)
    if what.startswith("held"):
        return sum(first.get(number, 0) >= times["healed_from"] for number in trials), len(trials)
    # The last ones are let go by a stock server when the delay ends.
    trials = [number for number in trials if result.sent_ns[number] <= times["healed_from"] - 60_000_000]
    return sum(first.get(n, 0) - result.sent_ns[n] >= 50_000_000 for n in trials), len(trials)


def replicas_duplicate(session: Session, images: Images, case: Case, count: int) -> dict[str, Any]:
    """Return the share of duplicates that a real leader makes on the oneshot wire."""
    history = run_once(experiment(case, "oneshot", count / RATE), 7, session=session, images=images)
    frames, twice = history.counters["transmissions"], history.counters["duplicated"]
    low, high = stats.binomtest(twice, frames).proportion_ci(CONFIDENCE, "wilson")
    assert case.share is not None
    share = {"counted": case.share[0], "asked": case.share[1], "seen": twice / frames, "interval": [low, high]}
    return {
        "case": case.name, "wire": "oneshot", "messages": frames, "unsent": history.counters["unsent"], **share,
        "of": frames, "agrees": bool(low <= case.share[1] <= high), "asked_ms": {}, "seen_ms": {}, "reordered": 0.0,
    }  # fmt: skip


def line(row: Mapping[str, Any]) -> str:
    """Return a measurement as a line of the table."""
    quantiles = " ".join(f"{row['asked_ms'][q]:.1f}/{row['seen_ms'][q]:.1f}" for q in row["seen_ms"])
    share = ""
    if "counted" in row:
        low, high = row["interval"]
        share = f"{row['counted']} {row['asked']:.1%}/{row['seen']:.2%} [{low:.2%}, {high:.2%}] of {row['of']}"
        share += "" if row["agrees"] else "  DIFFERS"
    return f"{row['case']:<21} {row['wire']:<8} {row['messages']:>6} {quantiles:<30} {row['reordered']:>7.2%}  {share}"


def main() -> None:
    """Measure every case on its wires, print the table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few messages, to see that it works")
    parser.add_argument("--json", type=Path, help="file to write to")
    chosen = parser.parse_args()
    count, rows = (240 if chosen.quick else COUNT), list[dict[str, Any]]()
    images = build_images(lambda text: print(text, file=sys.stderr), {*SERVERS.values(), "go"})
    print(
        "case                  wire     messages  delay p50 p90 p99 asked/seen ms  reordered  share asked/seen [99 %]"
    )
    with open_session() as session:
        for wire in SERVERS:
            with proxy.bench(session, images, wire) as bench:
                for case in CASES:
                    if wire not in case.wires:
                        continue
                    if (case.name, wire) == ("duplicate 5%", "oneshot"):
                        rows.append(replicas_duplicate(session, images, case, count))
                    else:
                        rows.append(measure(bench, case, count))
                    print(line(rows[-1]), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
