"""The recommendation: search, confirm, and say it so that it can be pasted, or refuse."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lab.spec.schema import Experiment, Tune
from lab.tuning.confirm import Confirmation, confirm
from lab.tuning.search import Candidate, Progress, Run, candidates, race

FRESH_SEED_OFFSET = 1_000_000  # confirmation seeds lie this far beyond the search's, so that none is met twice


@dataclass(slots=True)
class Recommendation:
    """The result of `lab tune`."""

    confirmation: Confirmation
    current: Candidate
    proposed: Candidate
    ranked: list[Candidate]
    tune: Tune

    def as_json(self) -> dict[str, Any]:
        """Return the `recommendation` object of `lab tune --json`."""
        found = self.confirmation
        assert self.current.runs is not None
        return {
            "status": found.status,
            "sentence": found.sentence,
            "current": self.current.values,
            "proposed": self.proposed.values,
            "gain": asdict(found.gain),
            "objectives": [
                {"measure": measure, "current": asdict(a), "proposed": asdict(b), "difference": asdict(difference)}
                for measure, a, b, difference in found.objectives
            ],
            "constraints": [{"claim": text, "holds": text not in found.broken} for text in self.tune.subject_to],
            "seeds": {"search": self.tune.seeds, "confirm": len(self.current.runs.rows)},
            "snippets": snippets(self.proposed),
        }

    def candidates_json(self) -> list[dict[str, Any]]:
        """Return every candidate of the search, best first."""
        return [
            {
                "values": candidate.values,
                "score": candidate.score,
                "feasible": candidate.feasible,
                "objectives": candidate.objectives,
                "stage": candidate.stage,
                "current": candidate.is_current,
            }
            for candidate in self.ranked
        ]


def tune(experiment: Experiment, run: Run, *, first_seed: int, progress: Progress) -> Recommendation:
    """Search and confirm. `run` runs an experiment on given seeds; the experiment must have a `tune` section."""
    plan = experiment.tune
    assert plan is not None
    pool = candidates(experiment, plan, first_seed)
    ranked = race(pool, plan, run, first_seed, progress)
    winner = next((c for c in sorted(ranked, key=_final_order) if c.feasible and c.score is not None), pool[0])
    fresh = range(first_seed + FRESH_SEED_OFFSET, first_seed + FRESH_SEED_OFFSET + plan.confirm_seeds)
    current = _fresh(pool[0], fresh, run)
    progress("confirming on fresh seeds", 1, 2)
    proposed = current if winner.is_current else _fresh(winner, fresh, run)
    progress("confirming on fresh seeds", 2, 2)
    return Recommendation(confirm(current, proposed, plan, first_seed), current, proposed, ranked, plan)


def _final_order(candidate: Candidate) -> tuple[int, float]:
    return (-candidate.stage, candidate.score if candidate.score is not None else float("inf"))


def _fresh(candidate: Candidate, seeds: Sequence[int], run: Run) -> Candidate:
    return Candidate(
        candidate.values, candidate.experiment, candidate.is_current, runs=run(candidate.experiment, seeds)
    )


def snippets(candidate: Candidate) -> dict[str, str]:
    """Return the settings ready to paste: the experiment file's lines, and the replicas' settings file (its policy
    part).
    """
    from lab.spec.document import resolved

    policy = resolved(candidate.experiment)["policy"]
    lines = [f"# {path}: {value}" for path, value in candidate.values.items()]
    return {
        "experiment": "\n".join([*lines, *_yaml("policy", policy, 0)]) + "\n",
        "replica": json.dumps(replica_settings(candidate.experiment), indent=2) + "\n",
    }


def _yaml(key: str, value: Any, depth: int) -> list[str]:
    pad = "  " * depth
    if isinstance(value, dict):
        return [
            f"{pad}{key}:",
            *(line for name, inner in value.items() if inner is not None for line in _yaml(name, inner, depth + 1)),
        ]
    return [f"{pad}{key}: {value}"]


def replica_settings(experiment: Experiment) -> dict[str, Any]:
    """Return the part of a replica's settings file that policies decide, as the Go and Rust replicas read it."""
    policy, retry = experiment.policy, experiment.policy.retry
    return {
        "mode": experiment.system.mode,
        "bound": policy.bound,
        "ordering": policy.ordering,
        "policy": {
            "timeout_ns": policy.timeout,
            "attempts": retry.attempts,
            "backoff": retry.backoff,
            "base_ns": retry.base,
            "cap_ns": retry.cap,
            "jitter": retry.jitter,
            "budget_ppm": -1 if retry.budget is None else retry.budget,
        },
        "queue": {"limit": policy.queue.limit, "overflow": policy.queue.overflow},
        "reconcile_every_ns": policy.reconcile_every,
        "reconcile_batch": policy.reconcile_batch,
    }
