"""Kill replicas at random moments under load: `python -m benchmarks.kills [--moments N] [--seed S] [--json FILE]`.

For each mode in which an acknowledgement promises that a majority or all have the update, replicas are killed (SIGKILL)
and started again until N moments have passed, leader and followers alike. Every run must keep what it acknowledged and
end with equal digests; the exit code is 1 if one does not. Runs that cannot be judged (a busy machine, a kill between a
write and its event) are counted and repeated with the next seed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lab.core import draws
from lab.core.units import duration_text
from lab.plane import container_runner
from lab.run import RunRow
from lab.spec.schema import Experiment

NAMES = ("leader", "f1", "f2")
RUNTIMES = ("go", "rust", "go")
MODES = ("sync", "quorum")
A_RUN = 5  # kills in one run
SPACING_NS, DOWN_NS, FIRST_NS = 1_500_000_000, 400_000_000, 500_000_000
INVALID_MAX = 10


def experiment(mode: str, seed: int) -> Experiment:
    """Return a run with five kills whose moments and victims are drawn from the seed."""
    faults = []
    for number in range(A_RUN):
        key = draws.chain(seed, draws.RUN, number)
        at_ns = FIRST_NS + number * SPACING_NS + draws.scale(draws.mix(key, 1), SPACING_NS - 2 * DOWN_NS)
        node = NAMES[draws.scale(draws.mix(key, 2), len(NAMES))]
        faults.append({"crash": {"at": duration_text(at_ns), "for": duration_text(DOWN_NS), "node": node}})
    return Experiment.model_validate(
        {
            "title": f"Kills under load, {mode}",
            "system": {
                "mode": mode,
                "replicas": [{"name": n, "runtime": r} for n, r in zip(NAMES, RUNTIMES, strict=True)],
            },
            "network": {"links": {"default": {"delay": "uniform(2ms, 8ms)", "loss": "0.5%"}}},
            "workload": {
                "arrivals": "poisson(60/s)",
                "duration": duration_text(FIRST_NS + A_RUN * SPACING_NS),
                "keys": 50,
                "client": {"timeout": "300ms", "attempts": 8, "deadline": "4s"},
            },
            "policy": {"timeout": "60ms", "retry": {"base": "30ms", "cap": "500ms"}, "reconcile_every": "300ms"},
            "faults": faults,
            "drain": "5s",
        }
    )


def outcome(row: RunRow) -> str:
    """Return "kept", "invalid" or what was violated."""
    wrong = [name for name, validity in row.validities.items() if validity.valid is False]
    if wrong:
        return ", ".join(f"{name}: {row.validities[name].reason}" for name in wrong)
    open_ = [name for name, validity in row.validities.items() if validity.valid is None]
    return "invalid: " + row.validities[open_[0]].reason if open_ else "kept"


def run_mode(mode: str, moments: int, seed: int) -> dict[str, Any]:
    """Kill until `moments` kills have been judged; return the counts and every run that was not `kept`."""
    result: dict[str, Any] = {"mode": mode, "moments": 0, "runs": 0, "kept": 0, "by_node": dict.fromkeys(NAMES, 0)}
    result |= {"acknowledged": 0, "lost_acknowledged": 0, "invalid": [], "violated": []}
    with container_runner(experiment(mode, seed), lambda *_: None) as run_variant:
        while result["moments"] < moments and len(result["invalid"]) <= INVALID_MAX:
            chosen = experiment(mode, seed)
            (row,) = run_variant(mode, chosen, [seed]).rows
            found = outcome(row)
            if found.startswith("invalid"):
                result["invalid"].append({"seed": seed, "reason": found})
            else:
                result["runs"] += 1
                result["moments"] += A_RUN
                operations, rejected, unknown, lost = (
                    int(row.values[name].value or 0)
                    for name in ("operations", "rejected", "unknown", "lost_acknowledged")
                )
                result["acknowledged"] += operations - rejected - unknown
                result["lost_acknowledged"] += lost
                for fault in chosen.faults:
                    result["by_node"][fault.outages()[0].node] += 1
                if found == "kept":
                    result["kept"] += 1
                else:
                    result["violated"].append({"seed": seed, "reason": found})
            print(f"{mode}: seed {seed}: {found}; {result['moments']}/{moments} kills", file=sys.stderr, flush=True)
            seed += 1
    return result


def main() -> int:
    """Run every mode and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    document = {"schema": "driftlab.kills/1", "modes": [run_mode(m, options.moments, options.seed) for m in MODES]}
    text = json.dumps(document, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    print(text)
    return 1 if any(mode["violated"] or mode["moments"] < options.moments for mode in document["modes"]) else 0


if __name__ == "__main__":
    sys.exit(main())
