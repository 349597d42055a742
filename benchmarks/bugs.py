"""Give replicas a known defect and see that the lab catches it: `python -m benchmarks.bugs [B1 …] [--runs N]`.

For every seeded bug (docs/replica.md §10) that a whole run can show, an experiment under which it does harm runs on
containers until a checker or a claim catches it, at most N times; the same experiment with correct replicas is the
control and must pass. B12, B15, B16 and B17 need more control over single messages than a run gives: they are caught by
tests/conformance/test_seeded_bugs.py. A table and a JSON document (`--json FILE`) say how many runs each needed. The
exit code is 1 if a bug was not caught or a control was not silent.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.containers.execute import Plane, open_session
from lab.metrics import measures
from lab.run import RunRow, judge, units_of
from lab.spec.claims import parse_claim
from lab.spec.schema import Experiment

INVALID_MAX = 4
PLAIN: dict[str, Any] = {
    "title": "A seeded bug",
    "system": {
        "mode": "quorum",
        "replicas": [
            {"name": "leader", "runtime": "go"},
            {"name": "f1", "runtime": "rust"},
            {"name": "f2", "runtime": "go"},
        ],
    },
    "network": {"links": {"default": {"delay": "uniform(2ms, 8ms)", "loss": "0.5%"}}},
    "workload": {
        "arrivals": "poisson(60/s)",
        "duration": "4s",
        "keys": 20,
        "client": {"timeout": "400ms", "attempts": 4, "deadline": "2s"},
    },
    "policy": {"timeout": "60ms", "retry": {"base": "30ms", "cap": "500ms"}, "reconcile_every": "300ms"},
    "drain": "4s",
}
CUT_F2 = {"partition": {"at": "1s", "for": "1500ms", "groups": [["leader", "f1"], ["f2"]]}}


@dataclass(frozen=True, slots=True)
class Case:
    """A bug, who has it, what differs from PLAIN, and claims beside the checkers that may catch it."""

    bug: str
    nodes: tuple[str, ...]
    changes: dict[str, Any]
    claims: tuple[str, ...] = ()
    found: Callable[[RunRow], str] = field(default=lambda row: "")

    def experiment(self) -> Experiment:
        """Return the case's experiment."""
        merged = {**PLAIN, **{key: _merged(PLAIN.get(key), value) for key, value in self.changes.items()}}
        return Experiment.model_validate(merged | {"title": f"Seeded bug {self.bug}"})


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    return new


def _bad_snapshot(row: RunRow) -> str:
    count = int(row.environment.get("reconciler.invalid", "0"))
    return f"the reconciler refused {count} snapshots" if count else ""


CASES = (
    Case(
        "B1", ("leader",),
        {
            "system": {"mode": "async"},
            "faults": [
                {"disk_stall": {"at": "500ms", "for": "1400ms", "node": "leader", "by": "300ms"}},
                {"crash": {"at": "1500ms", "for": "300ms", "node": "leader"}},
            ],
        },
    ),
    Case(
        "B2", ("leader",),
        {"system": {"mode": "sync"}, "workload": {"client": {"timeout": "200ms", "attempts": 6}}, "faults": [CUT_F2]},
    ),
    Case("B3", ("f1",), {"faults": [{"jitter": {"at": "500ms", "for": "2s", "up_to": "60ms"}}]}),
    Case(
        "B4", ("leader", "f1", "f2"),
        {"faults": [{"clock_offset": {"at": "1s", "for": "1s", "node": "leader", "offset": "3s"}}]},
    ),
    Case("B5", ("f1",), {"faults": [{"duplicate": {"at": "500ms", "for": "2s", "share": "20%"}}]}),
    Case(
        "B6", ("leader",),
        {"system": {"mode": "sync"}, "workload": {"client": {"timeout": "450ms", "attempts": 4}}, "faults": [CUT_F2]},
    ),
    Case(
        "B9", ("leader",),
        {
            "policy": {"retry": {"attempts": 40, "budget": "10%"}},
            "faults": [CUT_F2],
        },
        claims=("amplification < 1.5",),
    ),
    Case(
        "B13", ("leader",),
        {"system": {"reconciler": {"every": "500ms", "snapshot_every": "700ms"}}},
        found=_bad_snapshot,
    ),
    Case(
        "B18", ("leader",),
        {
            "policy": {"breaker": {"failures": 3, "open_for": "200ms"}, "reconcile_every": "0s"},
            "faults": [{"partition": {"at": "1s", "for": "700ms", "groups": [["leader", "f1"], ["f2"]]}}],
            "measure": {"allow": ["convergence", "digests"]},
        },
        claims=("count.breaker_rejected < 170",),
    ),
    Case(
        "B19", ("leader",),
        {"faults": [{"cut": {"at": "1s", "for": "500ms", "links": ["leader->f2"], "kind": "kill"}}]},
    ),
)  # fmt: skip


def caught(case: Case, row: RunRow) -> str:
    """Return what a judged run says against the replicas; "" if nothing."""
    allowed = case.experiment().measure.allow
    for name, validity in row.validities.items():
        if validity.valid is False and name not in allowed:
            return f"{name}: {validity.reason}"
    estimates = measures([row.values])
    for text in case.claims:
        claim = parse_claim(text, units_of("changelog"))
        value = row.values.get(claim.measure)
        estimate = estimates.get(claim.measure)
        known = value.value if value is not None else estimate.value if estimate is not None else None
        if known is not None and not claim.holds(known):
            return f"{text}: {known:g}"
    return case.found(row)


def unjudged(row: RunRow) -> str:
    """Return why a run cannot be judged at all (a busy machine, a proxy that died)."""
    validity = row.validities.get("invalid")
    return "" if validity is None or validity.valid is True else validity.reason


def run_case(case: Case, plane: Plane, runs: int, with_bug: bool, seed: int) -> dict[str, Any]:
    """Run a case until it is caught or `runs` runs were judged."""
    bugs = dict.fromkeys(case.nodes, case.bug) if with_bug else {}
    plane.session = replace(plane.session, seeded_bugs=bugs)
    result: dict[str, Any] = {"bug": case.bug, "seeded": with_bug, "runs": 0, "invalid": 0, "caught_by": ""}
    while result["runs"] < runs and result["invalid"] <= INVALID_MAX and not result["caught_by"]:
        row = judge(plane.run_once(case.experiment(), seed))
        seed += 1
        said = caught(case, row)
        if not said and unjudged(row):
            result["invalid"] += 1
            continue
        result["runs"] += 1
        result["caught_by"] = said
    return result


def main() -> int:
    """Run the cases and their controls; print the table and, if asked, write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bugs", nargs="*", help="names of bugs [default: all]")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for case in CASES:
        if options.bugs and case.bug not in options.bugs:
            continue
        with open_session(case.experiment()) as plane:
            for with_bug, runs in ((True, options.runs), (False, 1)):
                row = run_case(case, plane, runs, with_bug, options.seed)
                rows.append(row)
                kind = "seeded " if with_bug else "control"
                said = row["caught_by"] or "nothing found"
                print(f"{case.bug:<4} {kind} {row['runs']} runs, {row['invalid']} invalid: {said}"[:150], flush=True)
    if options.json:
        options.json.write_text(json.dumps({"schema": "driftlab.bugs/1", "rows": rows}, indent=2) + "\n")
    failed = [row for row in rows if bool(row["caught_by"]) != row["seeded"] or not row["runs"]]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
