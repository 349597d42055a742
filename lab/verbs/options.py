"""What the verbs share: their options, reading the file, and printing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lab.spec.schema import Experiment

EXITS = """
\b
Exit codes: 0 every claim held, 1 a claim was violated, 2 usage or experiment file, 3 inconclusive,
4 something needed is missing, 5 stored results damaged, 6 a budget or the disk stopped it,
70 internal error, 130/143 interrupted after clean-up.
"""
SPEC, MISSING, INTERNAL = 2, 4, 70
CONTAINER_SEEDS = 3  # default number of runs on containers, where a run takes its real time


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
CLUSTER = click.option(
    "--cluster", metavar="ADDRESS", help="Simulate on a Dask cluster: tcp://127.0.0.1:PORT, or tls://HOST:PORT."
)
TLS = click.option(
    "--tls", nargs=3, type=click.Path(path_type=Path, dir_okay=False), default=(None, None, None),
    metavar="CA CERT KEY", help="PEM files for tls://: the authority's certificate, this side's, and its key.",
)  # fmt: skip
EXECUTOR = click.option(
    "--executor",
    type=click.Choice(["auto", "reference", "compiled"]),
    default="auto",
    show_default=True,
    help="Who simulates; results are the same. auto: compiled where the protocol can be.",
)


def cluster_options(verb: Any) -> Any:
    """Add --cluster and its certificates to a verb; they arrive as one `cluster` (lab.pool.Cluster or None)."""
    import functools

    @functools.wraps(verb)
    def with_cluster(*arguments: Any, cluster: str | None, tls: tuple[Path | None, ...], **rest: Any) -> Any:
        from lab.pool import Cluster, check_cluster

        chosen = Cluster(cluster, *tls) if cluster else None
        if chosen:
            check_cluster(chosen)  # refuse what must not be used before anything is read or run
        return verb(*arguments, cluster=chosen, **rest)

    return CLUSTER(TLS(with_cluster))


def load(file: Path) -> tuple[Experiment, str]:
    """Return the experiment in `file` and its text; errors carry file:line:col and exit code 2."""
    from lab.checkers import checker_names
    from lab.run import units_of
    from lab.spec.load import load_experiment

    experiment = load_experiment(file, units_of, checker_names)
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


def progress_of(quiet: bool) -> Callable[[str, int, int], None]:
    from lab.progress import Progress

    return Progress(quiet).update
