"""The reconciler beside the replicas: what it reported, as notes of the run. It is never needed: that it is gone is a
note too.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from lab.containers.collect import Seen
from lab.containers.errors import PlaneError, printable
from lab.containers.stack import Stack
from lab.containers.topology import RECONCILER

DRIFT_SHOWN = 3


def collect(stack: Stack, seen: Seen) -> None:
    """Add to the notes and the environment of a run what the reconciler reported."""
    try:
        lines, death = stack.events(RECONCILER), stack.death_of(RECONCILER)
    except PlaneError as error:
        seen.notes.append(f"reconciler: {error}")
        return
    if death:
        seen.notes.append(f"reconciler: {printable(death, 200)}")
    notes, environment = summary(lines)
    seen.notes += notes
    seen.environment |= environment


def summary(data: bytes) -> tuple[list[str], dict[str, str]]:
    """Return notes and figures for the reconciler's report lines; lines that are none are counted."""
    total: Counter[str] = Counter()
    why: Counter[str] = Counter()
    shown: list[str] = []
    for line in data.splitlines():
        try:
            report = json.loads(line)
            _add(report, total, why, shown)
        except (ValueError, KeyError, TypeError, AttributeError):
            total["broken"] += 1
    causes = ", ".join(f"{count} {name}" for name, count in sorted(why.items())) or "none"
    notes = [
        f"reconciler: {total['rounds']} rounds, {total['nodes']} nodes read, drift: {causes}, {total['corrected']} "
        f"corrected, {total['left']} left for later, {total['unreachable']} rounds without an answer, "
        f"{total['snapshots']} snapshots ({total['invalid']} not valid)"
    ]
    notes += [f"reconciler: {text}" for text in shown]
    if total["broken"]:
        notes.append(f"reconciler: {total['broken']} report lines could not be read")
    names = ("rounds", "nodes", "corrected", "left", "unreachable", "snapshots", "invalid")
    return notes, {f"reconciler.{name}": str(total[name]) for name in names} | {
        "reconciler.drift": str(sum(why.values()))
    }


def _add(report: dict[str, Any], total: Counter[str], why: Counter[str], shown: list[str]) -> None:
    if report["e"] == "snapshot":
        total["snapshots"] += 1
        total["invalid"] += not report["valid"]
        return
    total["rounds"] += 1
    for name in ("nodes", "corrected", "left"):
        total[name] += int(report.get(name, 0))
    total["unreachable"] += bool(report.get("unreachable"))
    for row in report.get("drift") or []:
        why[str(row["why"])] += 1
        if len(shown) < DRIFT_SHOWN:
            shown.append(f"{report['replica']} {printable(str(row['key']), 80)}: {row['why']}")
