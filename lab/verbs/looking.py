"""`lab replay`, `lab report`: one run again, stored results again."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lab.verbs.options import EXITS, FILE, JSON, RESULTS, load, print_json, print_summary


@click.command(epilog=EXITS)
@FILE
@click.option("--seed", type=click.IntRange(0, 2**62), required=True)
@click.option("--variant", help="One of the file's variants [default: the first].")
@click.option("--limit", type=click.IntRange(1), default=60, show_default=True, help="Trace rows to print.")
@click.option("--from", "start", default="0s", show_default=True, help="Print the trace from this time on.")
@click.option("--node", help="Print only events of this node.")
@JSON
def replay(file: Path, seed: int, variant: str | None, limit: int, start: str, node: str | None, as_json: bool) -> None:
    """Run one seed again on the reference executor with its trace on screen."""
    experiment, _ = load(file)
    from lab.replay import replay_run

    document, lines = replay_run(experiment, seed, variant, limit, start, node)
    if as_json:
        print_json(document)
    else:
        for line in lines:
            click.echo(line)
    sys.exit(document["exit_code"])


@click.command(epilog=EXITS)
@click.argument("where", default="latest")
@RESULTS
@JSON
def report(where: str, results: Path, as_json: bool) -> None:
    """Check stored results and write their report again (WHERE: a folder, a suite, or latest)."""
    from lab import store
    from lab.reports.page import render

    stored = store.read(store.find(results, where))
    page = stored.folder / "report.html"
    store.rewrite(stored, "report.html", render(stored).encode())
    if as_json:
        print_json({"schema": "driftlab.report/1", "results": str(stored.folder), "report": str(page)})
    else:
        print_summary(stored.json("summary.json"), page)
