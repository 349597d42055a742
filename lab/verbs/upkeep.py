"""`lab doctor`, `lab clean`, `lab bench`, `lab selftest`: the lab about itself."""

from __future__ import annotations

import sys

import click

from lab.verbs.options import EXITS, INTERNAL, JSON, MISSING, QUIET, WORKERS, print_json, progress_of


@click.command(epilog=EXITS)
@JSON
def doctor(as_json: bool) -> None:
    """Check what the two planes need and say how to mend what is missing."""
    from lab.doctor import examine

    checks = examine()
    if as_json:
        print_json({"schema": "driftlab.doctor/1", "checks": [check.as_json() for check in checks]})
    else:
        for check in checks:
            click.echo(check.line())
    sys.exit(MISSING if any(check.status == "fail" for check in checks) else 0)


@click.command(epilog=EXITS)
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@JSON
def clean(dry_run: bool, as_json: bool) -> None:
    """Remove containers, networks and volumes of lab sessions that are over; nothing else is touched."""
    from lab.plane import clean_up

    removed = clean_up(dry_run)
    if as_json:
        print_json({"schema": "driftlab.clean/1", "dry_run": dry_run, "removed": removed})
        return
    for item in removed:
        click.echo(f"{'would remove' if dry_run else 'removed'} {item}")
    click.echo(f"{len(removed)} leftovers {'found' if dry_run else 'removed'}")


@click.command(epilog=EXITS)
@click.option("--quick", is_flag=True, help="Fewer repetitions and smaller worlds; seconds instead of minutes.")
@JSON
def bench(quick: bool, as_json: bool) -> None:
    """Measure the executors against each other and against hand-written loops (read docs/engine.md first)."""
    from lab.engines import bench as measuring

    document = measuring.document(quick=quick)
    if as_json:
        print_json(document)
        return
    for line in measuring.lines(document):
        click.echo(line)


@click.command(epilog=EXITS)
@click.option("--identity", type=click.IntRange(1, 10_000_000), default=300, show_default=True, help="Random cases.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="Number of the first case.")
@WORKERS
@JSON
@QUIET
def selftest(identity: int, first: int, workers: int | None, as_json: bool, quiet: bool) -> None:
    """Check that both executors agree to the bit on random protocols, parameters, faults and seeds."""
    from lab.engines.identity import check

    progress = progress_of(quiet)
    found = check(
        identity, first=first, workers=workers, progress=lambda done, total: progress("identity", done, total)
    )
    if as_json:
        print_json({"schema": "driftlab.selftest/1", "identity": found})
    else:
        click.echo(f"identity: {found['equal']} of {found['cases']} cases equal")
        for difference in found["differences"]:
            click.echo(f"  {difference}")
    sys.exit(0 if found["equal"] == found["cases"] else INTERNAL)
