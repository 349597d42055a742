"""The `lab` command: verbs only. Everything heavy is imported by the verb that needs it."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from lab.run import Judging, RunSet
    from lab.spec.schema import Experiment

EXITS = """
\b
Exit codes: 0 every claim held, 1 a claim was violated, 2 usage or experiment file, 3 inconclusive,
4 something needed is missing, 5 stored results damaged, 6 a budget or the disk stopped it,
70 internal error, 130/143 interrupted after clean-up.
"""
SPEC, MISSING, INTERNAL = 2, 4, 70
CONTAINER_SEEDS = 3  # default number of runs on containers, where a run takes its real time


class LabGroup(click.Group):
    """Turns what the lab raises into a sentence on stderr and an exit code."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # the last line of defence: every known error has a code, the rest is ours
            _fail(error)


def _fail(error: Exception) -> NoReturn:
    code = getattr(error, "exit_code", None)  # what the lab raises on purpose knows its exit code
    if isinstance(code, int):
        render = getattr(error, "render", None)  # errors with places say themselves where they are
        click.echo(render() if render else f"lab: {error}", err=True)
        sys.exit(code)
    import traceback

    traceback.print_exc()
    command = shlex.join(["lab", *sys.argv[1:]])
    click.echo(f"lab: internal error: {error!r}. This is a defect of the lab; to show it again: {command}", err=True)
    sys.exit(INTERNAL)


@click.group(cls=LabGroup, epilog=EXITS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="driftlab", prog_name="lab")
def cli() -> None:
    """Chaos and network-fault lab for replicated services.

    One experiment file, two planes: `sim` (deterministic simulation) and `containers` (Go and Rust replicas in Docker,
    every link through Toxiproxy). Both are judged by the same code.
    """


FILE = click.argument("file", type=click.Path(path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document on stdout.")
RESULTS = click.option(
    "--results", type=click.Path(path_type=Path, file_okay=False), default=Path("results"), show_default=True,
    help="Folder that results are stored below.",
)  # fmt: skip
QUIET = click.option("--quiet", is_flag=True, help="No progress on stderr.")
FIRST_SEED = click.option(
    "--first-seed", type=click.IntRange(0, 2**62), default=1, show_default=True, help="Seeds count up from here."
)
WORKERS = click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes for simulations [default: one a core]."
)
EXECUTOR = click.option(
    "--executor",
    type=click.Choice(["auto", "reference", "compiled"]),
    default="auto",
    show_default=True,
    help="Who simulates; results are the same. auto: compiled where the protocol can be.",
)


def load(file: Path) -> tuple[Experiment, str]:
    """Return the experiment in `file` and its text; errors carry file:line:col and exit code 2."""
    from lab.checkers import CHECKERS
    from lab.metrics import measure_units
    from lab.spec.load import load_experiment

    experiment = load_experiment(file, measure_units(), tuple(CHECKERS))
    return experiment, file.read_text()


def print_json(document: dict[str, Any]) -> None:
    """Print the one document of a `--json` verb."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def print_summary(summary: dict[str, Any], page: Path) -> None:
    """Print the end of a run on one screen."""
    from rich.console import Console

    from lab.reports.terminal import summary_lines

    console = Console(soft_wrap=True, highlight=False)
    for line in summary_lines(summary, str(page)):
        console.print(line)


def _progress(quiet: bool) -> Callable[[str, int, int], None]:
    from lab.progress import Progress

    return Progress(quiet).update


@cli.command(epilog=EXITS)
@FILE
@click.option("--plane", type=click.Choice(["sim", "containers"]), default="sim", show_default=True)
@click.option("--seeds", type=click.IntRange(1, 1_000_000), help="Number of runs [default: the file's; containers: 3].")
@EXECUTOR
@click.option("--tune", "with_tuning", is_flag=True, help="Search the file's `tune` space on the simulator as well.")
@FIRST_SEED
@WORKERS
@RESULTS
@JSON
@QUIET
def run(
    file: Path,
    plane: str,
    seeds: int | None,
    executor: str,
    with_tuning: bool,
    first_seed: int,
    workers: int | None,
    results: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a suite, judge its claims, store results and a report."""
    experiment, text = load(file)
    count = seeds or (experiment.seeds if plane == "sim" else min(experiment.seeds, CONTAINER_SEEDS))
    chosen = range(first_seed, first_seed + count)
    from lab.suite import Place, run_suite

    progress = _progress(quiet)
    place = Place(file, text, results)
    simulate = _simulator(experiment, executor, workers, quiet)
    found = None
    if with_tuning:
        from lab.tuning.recommend import recommend

        _need_tuning(file, experiment)
        found = recommend(experiment, simulate, first_seed=first_seed, progress=progress)
    if plane == "sim":

        def run_variant(name: str, variant: Experiment, seeds: Sequence[int]) -> RunSet:
            return simulate(variant, seeds, lambda done, total: progress(f"{name}: runs", done, total))

        outcome = run_suite(experiment, chosen, place, run_variant, found)
    else:
        with _containers(experiment, progress) as runner:
            outcome = run_suite(experiment, chosen, place, runner, found)
    _finish(outcome, as_json)


def _simulator(experiment: Experiment, executor: str, workers: int | None, quiet: bool) -> Callable[..., RunSet]:
    """Return a function that simulates (experiment, seeds, progress); its first call compiles what is not on disk."""
    from lab.run import choose_executor, judge, run_simulated

    chosen: list[str] = []  # chosen, and compiled, at the first use: the container plane needs neither

    def simulate(
        candidate: Experiment,
        seeds: Sequence[int],
        progress: Callable[[int, int], None] | None = None,
        judging: Judging = judge,
    ) -> RunSet:
        if not chosen:
            chosen.append(
                choose_executor(experiment, executor, lambda text: None if quiet else click.echo(text, err=True))
            )
        return run_simulated(candidate, seeds, executor=chosen[0], workers=workers, progress=progress, judging=judging)

    return simulate


def _need_tuning(file: Path, experiment: Experiment) -> None:
    if experiment.tune is None:
        raise click.UsageError(f"{file} has no `tune` section: say which parameters may change and what to minimise")


def _containers(experiment: Experiment, progress: Callable[[str, int, int], None]) -> Any:
    from lab.plane import container_runner

    return container_runner(experiment, progress)


def _finish(outcome: Any, as_json: bool, document: dict[str, Any] | None = None) -> NoReturn:
    if as_json:
        print_json(document if document is not None else outcome.as_json())
    else:
        print_summary(outcome.summary, outcome.folder / "report.html")
    sys.exit(outcome.exit_code)


@cli.command(epilog=EXITS)
@FILE
@FIRST_SEED
@EXECUTOR
@WORKERS
@RESULTS
@JSON
@QUIET
@click.option("--resume", is_flag=True, help="Go on with the search that was stopped last; the result is the same.")
@click.option(
    "--apply", "target", type=click.Path(path_type=Path, dir_okay=False),
    help="If a gain is shown, write the settings into this replica settings file (new, or changed in place).",
)  # fmt: skip
def tune(
    file: Path,
    first_seed: int,
    executor: str,
    workers: int | None,
    results: Path,
    as_json: bool,
    quiet: bool,
    resume: bool,
    target: Path | None,
) -> None:
    """Search the file's `tune` space, confirm the best settings on fresh seeds, recommend or refuse."""
    experiment, text = load(file)
    from lab.suite import Place, tune_suite

    _need_tuning(file, experiment)
    outcome, document = tune_suite(
        experiment,
        Place(file, text, results),
        _simulator(experiment, executor, workers, quiet),
        first_seed=first_seed,
        resume=resume,
        target=target,
        progress=_progress(quiet),
        say=lambda sentence: click.echo(sentence, err=True),
    )
    _finish(outcome, as_json, document)


@cli.command(epilog=EXITS)
@FILE
@click.option("--seeds", type=click.IntRange(1, 5_000_000), help="Runs at each point [default: the file's].")
@click.option(
    "--vary", multiple=True, metavar="PATH=VALUE,…", help="Settings to combine, e.g. policy.timeout=100ms,1s."
)
@click.option("--threads", type=click.IntRange(1, 256), help="Threads in compiled code [default: one a core].")
@FIRST_SEED
@RESULTS
@JSON
@QUIET
def sweep(
    file: Path,
    seeds: int | None,
    vary: tuple[str, ...],
    threads: int | None,
    first_seed: int,
    results: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run seeds × settings in compiled code and store one table of measures (no claims, no report)."""
    experiment, text = load(file)
    import os

    from lab import sweep as sweeping
    from lab.suite import Place

    chosen = range(first_seed, first_seed + (seeds or experiment.seeds))
    document = sweeping.sweep(
        experiment,
        vary,
        chosen,
        Place(file, text, results),
        threads=threads or os.cpu_count() or 1,
        say=lambda sentence: None if quiet else click.echo(sentence, err=True),
    )
    if as_json:
        print_json(document)
        return
    for line in sweeping.lines(document):
        click.echo(line)


@cli.command(epilog=EXITS)
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


@cli.command(epilog=EXITS)
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


@cli.command(epilog=EXITS)
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


@cli.command(epilog=EXITS)
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


@cli.command(epilog=EXITS)
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


@cli.command(epilog=EXITS)
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


@cli.command("list", epilog=EXITS)
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


@cli.command(epilog=EXITS)
def schema() -> None:
    """Print the JSON Schema of experiment files, for editors."""
    from lab.spec.document import json_schema

    print_json(json_schema())


@cli.command(epilog=EXITS)
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


@cli.command(epilog=EXITS)
@click.option("--identity", type=click.IntRange(1, 10_000_000), default=300, show_default=True, help="Random cases.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="Number of the first case.")
@WORKERS
@JSON
@QUIET
def selftest(identity: int, first: int, workers: int | None, as_json: bool, quiet: bool) -> None:
    """Check that both executors agree to the bit on random protocols, parameters, faults and seeds."""
    from lab.engines.identity import check

    progress = _progress(quiet)
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


def _terminate(number: int, _: Any) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line; SIGINT and SIGTERM end it after its own clean-up with 130 or 143."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("lab: interrupted", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
