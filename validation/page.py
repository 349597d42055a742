"""docs/validation.md: written from the rows of a full run, never by hand."""

from __future__ import annotations

from collections.abc import Sequence

from validation.case import Z_MAX, Outcome
from validation.figures import Picture

TITLES = {
    "quorums": "Quorum stores",
    "elections": "Raft elections",
    "epidemics": "Epidemics",
    "broadcasts": "Broadcast",
    "clients": "Backoff, retries, storms",
    "queues": "Queues",
    "links": "Links and the detector NFD-S",
    "replication": "Replication",
    "convergent": "Replicated data types",
    "detectors": "Failure detectors",
    "rpc": "Remote calls: queues, budgets, hedges, timeouts, collapses",
    "optima": "Settings whose best value is known",
}

HEAD = """# The model against published and exact results

Written by `python -m validation --full`; do not edit. Each row runs this project's own protocols, links, draws, backoff
and workload (the model says which) and compares the value with a number from the literature, recomputed independently
where the literature allows it, or with a closed form.

**Tolerance** is {z_max:g} standard errors (of the value and, where it was estimated, of the target) plus the slack that
the model states. **z** is the difference in standard errors, before slack. **Confidence** A: primary source and own
recomputation agree; B: good source, part of the model inferred; C: derivation only. Counts without error must be equal.

{agree} of {count} comparisons agree. {caught} of {controls} controls (models made wrong on purpose) are caught.
"""

NOT_COVERED = """## What is not compared here

- Broadcast by push-pull with losses (7.1724 and 8.9020 rounds of 100 nodes): the exact chain loses whole contacts, our
  links lose messages, and of a push-pull contact one may be lost and the other not.
- Poisson clocks with 1000 nodes: a clock is a link of a node to itself, which takes a table of a million links.
- Mean first receipts of push printed by Demers et al. (11.0 to 13.8 cycles): not what their model gives; ours are held
  against the recomputed ones.
- The LAN experiment of the Raft paper (figure 16): its disk and processor times are not published. Elections among logs
  of different lengths: only the figure is published, without numbers.
- The election timeout that the dissertation's formula prefers: the formula is off by up to some 2 % itself.
- Phi-accrual detectors on the traces of their paper: they have no public model. SWIM with 1000 nodes: 10, 40 and 100
  are compared, the limit differs by .5 %.
- Two choices at load .99 in the limit of many servers (5.432): far from it with hundreds of them.
- Extra delay of doubling timeouts at 20 % loss (1.285714): its variance is infinite.
- Brooker's circuit breaker (opens at 10 % failures): ours opens after failures in a row. Waits of gRPC's text: full
  jitter, compared above.
- Asynchronous replication in batches of period P (mean lag rate x (P/2 + L)): the changelog sends every update at once.
- Tail at Scale's BigTable table, Dynamo's version counts, the testbeds of the metastability paper, HyParView and
  Plumtree, tables of delta-CRDTs and of hinted handoff: their latencies or loads are not published.
"""


def number(value: float) -> str:
    """Return a number with six significant digits."""
    return f"{value:.6g}"


def page(outcomes: Sequence[Outcome], controls: Sequence[Outcome], pictures: Sequence[Picture] = ()) -> str:
    """Return the page for the outcomes of a full run; `pictures` lie in docs/figures."""
    agree = sum(outcome.ok for outcome in outcomes)
    caught = sum(not outcome.ok for outcome in controls)
    parts = [HEAD.format(z_max=Z_MAX, agree=agree, count=len(outcomes), caught=caught, controls=len(controls))]
    for group, title in TITLES.items():
        of_group = [outcome for outcome in outcomes if outcome.case.group == group]
        if not of_group:
            continue
        parts.append(f"## {title}\n")
        parts += [
            f"![{picture.caption}](figures/{picture.file})\n\n*{picture.caption}.*\n"
            for picture in pictures
            if picture.group == group
        ]
        parts.append("| comparison | n | target | value | tolerance | z | confidence | verdict |")
        parts.append("|---|---|---|---|---|---|---|---|")
        parts += [_row(outcome) for outcome in of_group]
        parts.append("\n" + "\n".join(_models(of_group)) + "\n")
    parts.append("## Controls\n")
    parts.append("| control | what is wrong | target | value | z | verdict |")
    parts.append("|---|---|---|---|---|---|")
    parts += [
        f"| {outcome.case.name.removeprefix('control: ')} | {outcome.case.flaw} | {number(outcome.case.target)} "
        f"| {number(outcome.value)} | {outcome.z:.1f} | {'**missed**' if outcome.ok else 'caught'} |"
        for outcome in controls
    ]
    parts.append("\n" + NOT_COVERED)
    return "\n".join(parts)


def _row(outcome: Outcome) -> str:
    case = outcome.case
    verdict = "agrees" if outcome.ok else "**disagrees**" + (f": {case.limit}" if case.limit else "")
    return (
        f"| {case.name} | {outcome.n:,} | {number(case.target)} | {number(outcome.value)} | {outcome.tolerance:.2g} "
        f"| {outcome.z:.2f} | {case.confidence} | {verdict} |"
    )


def _models(outcomes: Sequence[Outcome]) -> list[str]:
    """Return one line a distinct model and source, in the order of the table."""
    seen: dict[tuple[str, str], list[str]] = {}
    for outcome in outcomes:
        seen.setdefault((outcome.case.text, outcome.case.source), []).append(outcome.case.name)
    return [f"- *{names[0]}*: {text}. Target: {source}." for (text, source), names in seen.items()]
