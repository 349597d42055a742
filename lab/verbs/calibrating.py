"""`lab calibrate`: what the real network adds, and how far the simulator is from it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import click

from lab.verbs.options import EXITS, FIRST_SEED, JSON, QUIET, load, print_json, progress_of

KINDS = ("none", "delay", "jitter", "drop", "duplicate", "reorder", "partition", "crash", "pause")


def _command(
    file: Path | None, with_table: bool, kinds: tuple[str, ...], repetitions: int | None, quick: bool, first_seed: int
) -> str:
    """Return the command that measures the same again; where its results went is left out."""
    words = ["lab", "calibrate", *([file.name] if file else []), *(["--table"] if with_table else [])]
    words += [word for kind in kinds for word in ("--kind", kind)] + (["--quick"] if quick else [])
    words += ["--repetitions", str(repetitions)] if repetitions else []
    return shlex.join(words + (["--first-seed", str(first_seed)] if first_seed != 1 else []))


@click.command(epilog=EXITS)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("experiments/data/calibration"),
    show_default=True, help="Folder of the samples; below a folder of experiments, so that they can name it.",
)  # fmt: skip
@click.option(
    "--table", "with_table", is_flag=True, help="Compare both planes under every kind of fault (about 25 minutes)."
)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only these rows of the table.")
@click.option("--repetitions", type=click.IntRange(1, 100), help="Rounds of probes and runs a row [default: 2 and 3].")
@click.option("--quick", is_flag=True, help="Short probes and few episodes: too few to judge by.")
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False), help="Also write the page (Markdown) there.")
@FIRST_SEED
@JSON
@QUIET
def calibrate(
    file: Path | None,
    out: Path,
    with_table: bool,
    kinds: tuple[str, ...],
    repetitions: int | None,
    quick: bool,
    page: Path | None,
    first_seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure on real replicas what links, disks and timers add to what an experiment asks, as samples that
    `network.base` can name. With FILE its replicas, wire and load are taken, else three replicas and 200 writes a
    second.
    """
    from lab.calibration import calibrate as calibration
    from lab.calibration.model import write
    from lab.calibration.render import page as rendered
    from lab.calibration.worlds import SECOND_NS, Base, base_of, cases, leg_probes
    from lab.store import write_atomically

    base = base_of(load(file)[0]) if file else Base()
    effort = calibration.QUICK if quick else calibration.Effort()
    if repetitions:
        effort = replace(effort, probes=repetitions, runs=repetitions)
    progress = progress_of(quiet)
    chosen = (kinds or KINDS) if with_table or kinds else ()
    folder = f"{out.parent.name}/{out.name}" if out.parent.name else out.name
    asked = [probe.experiment for probe in leg_probes(base, SECOND_NS)]
    asked += [case.experiment for case in cases(base, effort.episodes, chosen)]
    with calibration.containers(asked, lambda text: progress(text, 0, 1)) as stack:
        model, document = calibration.calibrate(
            base, stack, effort, first_seed=first_seed, kinds=chosen, folder=folder, progress=progress,
            command=_command(file, with_table, kinds, repetitions, quick, first_seed),
        )  # fmt: skip
    summary = {name: value for name, value in document.items() if name not in ("schema", "legs", "rows")}
    paths = write(model, out, summary)
    if chosen:
        import json

        paths.append(out / "table.json")
        write_atomically(paths[-1], (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    if page:
        write_atomically(page, rendered(document).encode())
    if as_json:
        print_json(document)
        return
    click.echo(rendered(document))
    click.echo(f"Stored: {', '.join(map(str, paths))}")
