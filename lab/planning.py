"""`lab plan`: what a run would do and what it would take, before anything starts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from lab.core.units import duration_text
from lab.spec.document import resolved
from lab.spec.drawing import for_seed, is_drawn
from lab.spec.schema import Experiment
from lab.suite import variants

PILOT_SEED = 1
CONTAINER_START_S = 3  # measured start and tear-down of a stack of three replicas, rounded up


def describe(experiment: Experiment, plane: str, seed_count: int) -> dict[str, Any]:
    """Return the plan: runs, faults on a time line, containers, and estimates from a pilot of one simulated seed."""
    from lab.run import judge, simulate

    started = time.perf_counter()
    history = simulate(experiment, PILOT_SEED)
    judge(history)
    pilot_s = time.perf_counter() - started
    runs = seed_count * len(variants(experiment))
    per_run_s = pilot_s if plane == "sim" else experiment.horizon_ns / 1e9 + CONTAINER_START_S
    return {
        "schema": "driftlab.plan/1",
        "title": experiment.title,
        "plane": plane,
        "runs": runs,
        "seeds": seed_count,
        "variants": list(variants(experiment)),
        "operations_per_run": experiment.workload.expected_operations(),
        "horizon": duration_text(experiment.horizon_ns),
        "faults": _faults(experiment),
        "drawn": _faults(for_seed(experiment, PILOT_SEED)) if is_drawn(experiment) else [],
        "containers": _containers(experiment) if plane == "containers" else [],
        "pilot": {"events": history.event_count, "wall_s": round(pilot_s, 3)},
        "estimate": {"wall_s": round(per_run_s * runs, 1), "upper_bound": plane == "containers"},
        "spec": resolved(experiment),
    }


def _faults(experiment: Experiment) -> list[dict[str, str]]:
    return [
        {
            "at": duration_text(fault.start_ns),
            "until": duration_text(fault.stop_ns),
            "what": fault.label(),
            "containers": fault.refusal() or "as it is",
        }
        for fault in sorted(experiment.faults, key=lambda fault: fault.start_ns)
    ]


def _containers(experiment: Experiment) -> list[str]:
    return ["toxiproxy", *(f"{replica.name} ({replica.runtime})" for replica in experiment.system.replicas)]


def plan_lines(document: dict[str, Any]) -> Sequence[str]:
    """Return the plan as lines for a terminal."""
    lines = [
        document["title"],
        f"  plane       {document['plane']}",
        f"  runs        {document['runs']} ({document['seeds']} seeds × {', '.join(document['variants'])})",
        f"  one run     about {document['operations_per_run']} operations, ends by {document['horizon']}",
    ]
    for fault in document["faults"]:
        lines.append(f"  fault       {fault['at']:>8} to {fault['until']:>8}  {fault['what']}")
    for fault in document["drawn"]:
        lines.append(f"  seed {PILOT_SEED} draws {fault['at']:>7} to {fault['until']:>8}  {fault['what']}")
    if document["containers"]:
        lines.append(f"  containers  {', '.join(document['containers'])}")
    estimate = document["estimate"]
    bound = "at most about" if estimate["upper_bound"] else "about"
    lines.append(
        f"  takes       {bound} {estimate['wall_s']:.0f} s on one core (pilot: {document['pilot']['events']} events)"
    )
    lines.append("Nothing was started.")
    return lines
