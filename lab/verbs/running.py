"""`lab run`, `lab tune`, `lab sweep`: what simulates."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from lab.verbs.options import (
    CONTAINER_SEEDS,
    EXECUTOR,
    EXITS,
    FILE,
    FIRST_SEED,
    JSON,
    QUIET,
    RESULTS,
    WORKERS,
    cluster_options,
    load,
    print_json,
    print_summary,
    progress_of,
)

if TYPE_CHECKING:
    from lab.pool import Cluster, Pool
    from lab.run import Judging, RunSet
    from lab.spec.schema import Experiment
    from lab.tuning.recommend import Recommendation


CONFIRM = click.option(
    "--confirm", type=click.Choice(["containers"]), help="Also run the recommendation on real replicas, and compare."
)
PAIRS = click.option(
    "--pairs", type=click.IntRange(2, 1000), default=20, show_default=True, help="Pairs of runs on containers."
)


@click.command(epilog=EXITS)
@FILE
@click.option("--plane", type=click.Choice(["sim", "containers"]), default="sim", show_default=True)
@click.option("--seeds", type=click.IntRange(1, 1_000_000), help="Number of runs [default: the file's; containers: 3].")
@EXECUTOR
@click.option("--tune", "with_tuning", is_flag=True, help="Search the file's `tune` space on the simulator as well.")
@CONFIRM
@PAIRS
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
    confirm: str | None,
    pairs: int,
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

    progress = progress_of(quiet)
    place = Place(file, text, results)
    simulate = simulator(experiment, executor, workers, quiet)
    found = None
    if with_tuning:
        from lab.tuning.recommend import recommend

        need_tuning(file, experiment)
        contain = containing(file, experiment, confirm, pairs, first_seed, progress)
        found = contain(recommend(experiment, simulate, first_seed=first_seed, progress=progress))
    elif confirm:
        raise click.UsageError("--confirm confirms a recommendation: add --tune")
    if plane == "sim":

        def run_variant(name: str, variant: Experiment, seeds: Sequence[int]) -> RunSet:
            return simulate(variant, seeds, lambda done, total: progress(f"{name}: runs", done, total))

        outcome = run_suite(experiment, chosen, place, run_variant, found)
    else:
        with containers(experiment, progress) as runner:
            outcome = run_suite(experiment, chosen, place, runner, found)
    finish(outcome, as_json)


def simulator(
    experiment: Experiment, executor: str, workers: int | None, quiet: bool, pool: Pool | None = None
) -> Callable[..., RunSet]:
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
        return run_simulated(
            candidate, seeds, executor=chosen[0], workers=workers, progress=progress, judging=judging, pool=pool
        )

    return simulate


@contextmanager
def cluster_pool(cluster: Cluster | None) -> Iterator[Pool | None]:
    """Yield the cluster's pool, or None where this machine simulates."""
    if cluster is None:
        yield None
        return
    from lab.pool import open_pool

    with open_pool("processes", 1, cluster) as pool:
        yield pool


def need_tuning(file: Path, experiment: Experiment) -> None:
    if experiment.tune is None:
        raise click.UsageError(f"{file} has no `tune` section: say which parameters may change and what to minimise")


def containers(experiment: Experiment, progress: Callable[[str, int, int], None]) -> Any:
    from lab.plane import container_runner

    return container_runner(experiment, progress)


def containing(
    file: Path,
    experiment: Experiment,
    confirm: str | None,
    pairs: int,
    first_seed: int,
    progress: Callable[[str, int, int], None],
) -> Callable[[Recommendation], Recommendation]:
    """Return what reality says of a recommendation: the last calibration beside the file, and with `--confirm`
    containers, which is refused now where they cannot run it.
    """
    from lab.tuning.trust import last_calibration, weigh

    trust = last_calibration(experiment, file.parent)
    if confirm is None:
        return lambda found: weigh(found, trust)
    from lab.plane import check
    from lab.spec.scenarios import scenarios

    check([experiment, *scenarios(experiment).values()])

    def contain(found: Recommendation) -> Recommendation:
        from lab.tuning.contain import contain as on_containers
        from lab.tuning.contain import needed

        if not needed(found):
            return weigh(found, trust)
        with containers(experiment, lambda *_: None) as run_variant:
            asked = on_containers(
                found, lambda candidate, seeds: run_variant("confirm", candidate, seeds),
                pairs=pairs, first_seed=first_seed, progress=progress,
            )  # fmt: skip
        return weigh(asked, trust)

    return contain


def finish(outcome: Any, as_json: bool, document: dict[str, Any] | None = None) -> NoReturn:
    if as_json:
        print_json(document if document is not None else outcome.as_json())
    else:
        print_summary(outcome.summary, outcome.folder / "report.html")
    sys.exit(outcome.exit_code)


@click.command(epilog=EXITS)
@FILE
@FIRST_SEED
@EXECUTOR
@WORKERS
@RESULTS
@JSON
@QUIET
@cluster_options
@CONFIRM
@PAIRS
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
    cluster: Cluster | None,
    confirm: str | None,
    pairs: int,
    resume: bool,
    target: Path | None,
) -> None:
    """Search the file's `tune` space, confirm the best settings on fresh seeds, recommend or refuse."""
    experiment, text = load(file)
    from lab.suite import Place, tune_suite

    need_tuning(file, experiment)
    with cluster_pool(cluster) as pool:
        outcome, document = tune_suite(
            experiment,
            Place(file, text, results),
            simulator(experiment, executor, workers, quiet, pool),
            first_seed=first_seed,
            resume=resume,
            target=target,
            progress=progress_of(quiet),
            say=lambda sentence: click.echo(sentence, err=True),
            contain=containing(file, experiment, confirm, pairs, first_seed, progress_of(quiet)),
        )
    finish(outcome, as_json, document)


@click.command(epilog=EXITS)
@FILE
@click.option("--seeds", type=click.IntRange(1, 5_000_000), help="Runs at each point [default: the file's].")
@click.option(
    "--vary", multiple=True, metavar="PATH=VALUE,…", help="Settings to combine, e.g. policy.timeout=100ms,1s."
)
@click.option(
    "--settings", type=click.IntRange(1, 1_000_000),
    help="Draw so many settings evenly from the file's `tune.parameters` instead.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with this sweep where it was stopped; the digest is the same.")
@click.option("--threads", type=click.IntRange(1, 256), help="Threads in compiled code [default: one a core].")
@cluster_options
@FIRST_SEED
@RESULTS
@JSON
@QUIET
def sweep(
    file: Path,
    seeds: int | None,
    vary: tuple[str, ...],
    settings: int | None,
    resume: bool,
    threads: int | None,
    cluster: Cluster | None,
    first_seed: int,
    results: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run seeds × settings in compiled code and store one table of measures (no claims, no report)."""
    if vary and settings:
        raise click.UsageError("--vary combines values, --settings draws them: give one of the two")
    experiment, text = load(file)
    import os

    from lab import sweep as sweeping
    from lab.pool import open_pool
    from lab.suite import Place

    chosen = sweeping.drawn_points(experiment, settings, first_seed) if settings else sweeping.points(experiment, vary)
    sweeping.compile_first(experiment, lambda text: None if quiet else click.echo(text, err=True))
    with open_pool("threads", threads or os.cpu_count() or 1, cluster) as pool:
        document = sweeping.sweep(
            experiment,
            chosen,
            range(first_seed, first_seed + (seeds or experiment.seeds)),
            Place(file, text, results),
            pool,
            resume=resume,
            progress=sweeping.Progress(lambda text: click.echo(text, err=True), progress_of(quiet)),
        )
    if as_json:
        print_json(document)
        return
    for line in sweeping.lines(document):
        click.echo(line)
