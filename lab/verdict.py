"""Did the claims hold? From a set of runs to one verdict, with the seed that shows a violation and how to see it
again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab import checkers
from lab.metrics import is_counter, split_measure
from lab.metrics.estimate import Estimate
from lab.run import RunRow, RunSet, first_invalid, units_of
from lab.spec.claims import Claim, parse_claim, split_variant
from lab.spec.drawing import is_drawn

FAULTS_BIT = "faults_bit"
PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"
EXIT_CODES = {PASS: 0, FAIL: 1, INCONCLUSIVE: 3}
LAST_LINES = {
    PASS: "Everything that was claimed held.",
    FAIL: "A claim was violated.",
    INCONCLUSIVE: "Nothing was violated, but the runs do not prove it either.",
}


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """One claim on one set of runs. `holds` is None when it cannot be told; `seed` is the run that speaks loudest
    against it.
    """

    text: str
    variant: str
    holds: bool | None
    estimate: Estimate | None
    seed: int | None
    reason: str
    replay: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the claim as `lab run --json` prints it."""
        estimate = self.estimate
        return {
            "claim": self.text,
            "variant": self.variant,
            "holds": self.holds,
            "value": estimate.value if estimate else None,
            "low": estimate.low if estimate else None,
            "high": estimate.high if estimate else None,
            "unit": estimate.unit if estimate else None,
            "seed": self.seed,
            "reason": self.reason,
            "replay": self.replay,
        }


def judge_claims(runs: Mapping[str, RunSet], texts: Sequence[str], replay: str) -> list[ClaimResult]:
    """Return the result of every claim on every set of runs it is about; `replay` is a command with `{seed}` and
    `{variant}`.
    """
    first = next(iter(runs.values()))
    units = units_of(first.experiment.system.protocol)
    results = []
    measured = {variant: run_set.measures() for variant, run_set in runs.items()}
    for text in texts:
        about, claim_text = split_variant(text, [*runs, *first.experiment.variants])
        if about and about not in runs:
            continue  # a claim about a variant that this command does not run
        claim = parse_claim(claim_text, units)
        for variant in [about] if about else runs:
            results.append(_judge_claim(claim, variant, runs[variant], measured[variant], replay))
    for variant, run_set in runs.items():
        results += _judge_truth(variant, run_set, replay)
    return results


def _judge_claim(
    claim: Claim, variant: str, run_set: RunSet, measured: Mapping[str, Estimate], replay: str
) -> ClaimResult:
    name = split_measure(claim.measure)[0]
    estimate = run_set.measure(claim.measure) if is_counter(name) else measured.get(claim.measure)
    seed = _loudest_seed(run_set.rows, name, claim.operator)
    if estimate is None or (estimate.value is None and not estimate.censored):
        return ClaimResult(claim.text, variant, None, estimate, None, "the measure is not defined in these runs")
    if estimate.value is None:
        holds: bool | None = False if claim.operator in ("<", "<=", "==") else None
        reason = f"{estimate.censored} of {estimate.n} runs ended before it was reached"
    else:
        holds = claim.holds(estimate.value)
        reason = ""
    violated = holds is False
    return ClaimResult(
        claim.text, variant, holds, estimate, seed if violated else None, reason,
        replay.format(seed=seed, variant=variant) if violated and seed is not None else "",
    )  # fmt: skip


def _loudest_seed(rows: Sequence[RunRow], metric: str, operator: str) -> int | None:
    """Return the seed whose value of `metric` is farthest on the wrong side."""
    defined = [(row.values[metric], row.seed) for row in rows if metric in row.values]
    ranked = [(value.censored, value.value, seed) for value, seed in defined if value.value is not None]
    if not ranked:
        return None
    wants_low = operator in ("<", "<=", "==")
    return (max if wants_low else min)(ranked)[2]


def _judge_truth(variant: str, run_set: RunSet, replay: str) -> list[ClaimResult]:
    """Return what the checkers say: a violation is a violated claim, an open question an undecided one."""
    allowed = run_set.experiment.measure.allow
    results = []
    for name, (valid, seed, reason) in sorted(first_invalid(run_set.rows).items()):
        if valid is False and name in allowed:
            continue
        if name == FAULTS_BIT and is_drawn(run_set.experiment):
            reason = _idle_faults(run_set)
            if not reason:
                continue
        results.append(ClaimResult(name, variant, valid, None, seed, reason, replay.format(seed=seed, variant=variant)))
    return results


def _idle_faults(run_set: RunSet) -> str:
    """Return "" if drawn faults tested something: every kind acted in some run, what the file tells acted in all, and
    everything healed. One drawn fault alone may meet no message.
    """
    told = {fault.label() for fault in run_set.experiment.faults if not fault.is_drawn()}
    acted: dict[str, bool] = {}
    for row in run_set.rows:
        for fault in row.faults:
            did = fault.bit is None or fault.bit > 0
            if not fault.healed:
                return f"seed {row.seed}: fault not healed: '{fault.label}' was still in force"
            if not did and fault.label in told:
                return f"seed {row.seed}: fault not applied: '{fault.label}' touched nothing"
            acted[fault.kind] = acted.get(fault.kind, False) or did
    idle = sorted(kind for kind, did in acted.items() if not did)
    return f"drawn faults of these kinds touched nothing in any run: {', '.join(idle)}" if idle else ""


def verdict(results: Sequence[ClaimResult]) -> str:
    """Return fail if anything was violated, else inconclusive if anything is open, else pass."""
    return checkers.verdict((), (result.holds for result in results))
