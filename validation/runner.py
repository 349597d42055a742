"""The command line: run cases and controls, print the table, write the files."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from pathlib import Path

from validation.case import Case, Outcome, compare
from validation.cases import (
    broadcasts,
    budgets,
    clients,
    convergent,
    detectors,
    elections,
    epidemics,
    links,
    optima,
    queues,
    quorums,
    replication,
    rpc,
)
from validation.figures import PICTURES
from validation.page import page

FAMILIES = (
    quorums,
    elections,
    epidemics,
    broadcasts,
    clients,
    queues,
    links,
    replication,
    rpc,
    budgets,
    convergent,
    detectors,
    optima,
)
ROOT = Path(__file__).parents[1]


def cases() -> list[Case]:
    """Return every comparison."""
    return [case for family in FAMILIES for case in family.CASES]


def controls() -> list[Case]:
    """Return the models that are wrong on purpose."""
    return [case for family in FAMILIES for case in family.CONTROLS]


Timed = tuple[Outcome, float]


def timed(case: Case, full: bool) -> Timed:
    """Return the outcome of a case and the seconds that it took."""
    begin = time.monotonic()
    outcome = compare(case, case.full if full else case.small)
    return outcome, time.monotonic() - begin


def together(cases_of_group: Sequence[Case], full: bool) -> list[Timed]:
    """Run cases that share simulations in one process."""
    return [timed(case, full) for case in cases_of_group]


def run(chosen: Sequence[Case], full: bool, workers: int) -> Iterator[Timed]:
    """Yield outcome and seconds of each case in order; with several workers a family is done by one of them."""
    if workers == 1:
        for case in chosen:
            yield timed(case, full)
        return
    groups = [list(group) for _, group in groupby(chosen, key=lambda case: (bool(case.flaw), case.group))]
    with ProcessPoolExecutor(workers) as pool:
        for future in [pool.submit(together, group, full) for group in groups]:
            yield from future.result()


def line(outcome: Outcome, seconds: float) -> str:
    """Return one row of the printed table."""
    verdict = "agrees" if outcome.ok else "DISAGREES"
    return (
        f"{outcome.case.name:<66} {outcome.n:>8} {outcome.case.target:>12.6g} {outcome.value:>12.6g} "
        f"{outcome.tolerance:>10.3g} {outcome.z:>7.2f}  {outcome.case.confidence} {verdict:<9} {seconds:5.1f} s"
    )


def rows(outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    """Return what the JSON file holds, one row a case."""
    return [
        {
            "name": outcome.case.name, "group": outcome.case.group, "n": outcome.n, "target": outcome.case.target,
            "tolerance": outcome.tolerance, "value": outcome.value, "z": outcome.z,
            "confidence": outcome.case.confidence, "ok": outcome.ok,
        }
        for outcome in outcomes
    ]  # fmt: skip


def write(file: Path, text: str) -> None:
    """Write a file, making its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def draw() -> None:
    """Write the figures of the page."""
    for picture in PICTURES:
        begin = time.monotonic()
        write(ROOT / "docs" / "figures" / picture.file, picture.svg())
        print(f"{picture.file:<66} {time.monotonic() - begin:5.1f} s", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Return 0 if every case agrees and every control disagrees, else 1."""
    parser = argparse.ArgumentParser(prog="python -m validation", description=__doc__)
    parser.add_argument("words", nargs="*", help="run the cases alone whose name or group contains one of these words")
    parser.add_argument("--full", action="store_true", help="full sizes; writes results/validation.json and the page")
    parser.add_argument("--figures", action="store_true", help="draw the figures of the page alone (a minute)")
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args(arguments)
    if options.figures:
        draw()
        return 0
    chosen = [
        case
        for case in cases() + controls()
        if not options.words or any(word.lower() in f"{case.group} {case.name}".lower() for word in options.words)
    ]
    header = ("case", "n", "target", "value", "tolerance", "z")
    print(f"{header[0]:<66} {header[1]:>8} {header[2]:>12} {header[3]:>12} {header[4]:>10} {header[5]:>7}")
    outcomes: list[Outcome] = []
    for outcome, seconds in run(chosen, options.full, options.workers):
        print(line(outcome, seconds), flush=True)
        outcomes.append(outcome)
    real = [outcome for outcome in outcomes if not outcome.case.flaw]
    flawed = [outcome for outcome in outcomes if outcome.case.flaw]
    agree = sum(outcome.ok for outcome in real)
    wrong = [outcome for outcome in real if not outcome.ok and not outcome.case.limit]
    missed = [outcome for outcome in flawed if outcome.ok]
    print(f"{agree} of {len(real)} agree; {len(flawed) - len(missed)} of {len(flawed)} controls caught")
    for outcome in real:
        if not outcome.ok and outcome.case.limit:
            print(f"a known limit: {outcome.case.name}: {outcome.case.limit}")
    if options.json:
        write(options.json, json.dumps(rows(real), indent=1) + "\n")
    if options.full and not options.words:
        write(ROOT / "results" / "validation.json", json.dumps(rows(real), indent=1) + "\n")
        write(ROOT / "docs" / "validation.md", page(real, flawed, PICTURES))
        draw()
    return 1 if wrong or missed else 0
