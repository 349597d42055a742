"""Run correct replicas under all faults and count false alarms: `python -m benchmarks.null_control [--runs N]`.

Runs `experiments/null_control.yaml` on containers, one seed after the other, until N runs were judged. A checker that
finds something, or a fault without evidence, is a false alarm. Runs that cannot be judged (a busy machine) are counted
and left out. With no alarm in N runs the 95 % upper bound of the rate is 3 / N. The exit code is 1 if there was one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.kills import outcome
from lab.plane import container_runner
from lab.spec.load import load_experiment

FILE = Path(__file__).parents[1] / "experiments" / "null_control.yaml"
INVALID_SHARE_MAX = 0.5


def run(runs: int, seed: int, json_file: Path | None) -> dict[str, Any]:
    """Return the counts; writes them after every run, so that an interrupted measurement is not lost."""
    experiment = load_experiment(FILE)
    result: dict[str, Any] = {"schema": "driftlab.null_control/1", "runs": 0, "alarms": [], "invalid": []}
    with container_runner(experiment, lambda *_: None) as run_variant:
        while result["runs"] < runs and len(result["invalid"]) <= max(5, runs * INVALID_SHARE_MAX):
            (row,) = run_variant("base", experiment, [seed]).rows
            found = outcome(row)
            if found.startswith("invalid"):
                result["invalid"].append({"seed": seed, "reason": found})
            else:
                result["runs"] += 1
                if found != "kept":
                    result["alarms"].append({"seed": seed, "reason": found})
            print(f"seed {seed}: {found}; {result['runs']}/{runs}", file=sys.stderr, flush=True)
            seed += 1
            if json_file:
                json_file.write_text(json.dumps(result, indent=2) + "\n")
    return result


def main() -> int:
    """Run and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = run(options.runs, options.seed, options.json)
    print(json.dumps(result, indent=2))
    return 1 if result["alarms"] or result["runs"] < options.runs else 0


if __name__ == "__main__":
    sys.exit(main())
