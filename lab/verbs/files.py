"""`lab validate`, `lab plan`, `lab list`, `lab schema`: what can be said without running a suite."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lab.verbs.options import CONTAINER_SEEDS, EXITS, FILE, JSON, SPEC, load, print_json


@click.command(epilog=EXITS)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@JSON
def validate(files: tuple[Path, ...], as_json: bool) -> None:
    """Check experiment files; print every error with file:line:col and the nearest fix."""
    from lab.spec.document import fingerprint
    from lab.spec.errors import SpecErrors

    found, broken = [], False
    for file in files:
        try:
            experiment, _ = load(file)
            found.append({"file": str(file), "ok": True, "fingerprint": fingerprint(experiment), "errors": []})
            if not as_json:
                click.echo(f"{file}: ok ({experiment.title})")
        except SpecErrors as errors:
            broken = True
            found.append({"file": str(file), "ok": False, "errors": errors.as_json()})
            if not as_json:
                click.echo(errors.render(), err=True)
    if as_json:
        print_json({"schema": "driftlab.validate/1", "files": found})
    sys.exit(SPEC if broken else 0)


@click.command(epilog=EXITS)
@FILE
@click.option("--plane", type=click.Choice(["sim", "containers"]), default="sim", show_default=True)
@click.option("--seeds", type=click.IntRange(1, 1_000_000))
@JSON
def plan(file: Path, plane: str, seeds: int | None, as_json: bool) -> None:
    """Show what a run would do, from a pilot of one simulated seed; start nothing else."""
    experiment, _ = load(file)
    from lab.planning import describe, plan_lines

    count = seeds or (experiment.seeds if plane == "sim" else min(experiment.seeds, CONTAINER_SEEDS))
    document = describe(experiment, plane, count)
    if as_json:
        print_json(document)
        return
    for line in plan_lines(document):
        click.echo(line)


@click.command("list", epilog=EXITS)
@JSON
def list_(as_json: bool) -> None:
    """List protocols, faults, measures and checkers."""
    from lab.catalogue import catalogue, catalogue_lines

    document = catalogue()
    if as_json:
        print_json(document)
        return
    for line in catalogue_lines(document):
        click.echo(line)


@click.command(epilog=EXITS)
def schema() -> None:
    """Print the JSON Schema of experiment files, for editors."""
    from lab.spec.document import json_schema

    print_json(json_schema())
