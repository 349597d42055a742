"""`lab capacity`: what looks for a limit instead of judging one setting."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.verbs.options import (
    CONTAINER_SEEDS,
    EXECUTOR,
    EXITS,
    FILE,
    FIRST_SEED,
    JSON,
    QUIET,
    WORKERS,
    load,
    print_json,
    progress_of,
)
from lab.verbs.running import containers, simulator

if TYPE_CHECKING:
    from lab.run import RunSet
    from lab.spec.schema import Experiment


def _unit(parse: str) -> Callable[[click.Context, click.Parameter, str], int]:
    """Return a callback that reads a text with its unit by `lab.core.units`."""

    def read(_: click.Context, parameter: click.Parameter, value: str) -> int:
        from lab.core import units

        try:
            return int(getattr(units, parse)(value))
        except ValueError as error:
            raise click.BadParameter(str(error), param=parameter) from None

    return read


@click.command(epilog=EXITS)
@FILE
@click.option("--plane", type=click.Choice(["sim", "containers"]), default="sim", show_default=True)
@click.option("--from", "low", default="20/s", show_default=True, callback=_unit("parse_rate_millihertz"))
@click.option("--to", "high", default="5000/s", show_default=True, callback=_unit("parse_rate_millihertz"))
@click.option("--precision", default="5%", show_default=True, callback=_unit("parse_share_ppm"))
@click.option("--spike", type=click.IntRange(1), help="Raise this spike (1 is the first) instead of the arrivals.")
@click.option("--seeds", type=click.IntRange(1, 1_000_000), help="Runs a rate [default: the file's; containers: 3].")
@EXECUTOR
@FIRST_SEED
@WORKERS
@JSON
@QUIET
def capacity(
    file: Path,
    plane: str,
    low: int,
    high: int,
    precision: int,
    spike: int | None,
    seeds: int | None,
    executor: str,
    first_seed: int,
    workers: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find the highest rate at which every claim and checker still holds."""
    if low >= high:
        raise click.UsageError("--from must be below --to")
    if precision < 1000:
        raise click.UsageError("--precision must be at least 0.1%")
    experiment, _ = load(file)
    count = seeds or (experiment.seeds if plane == "sim" else min(experiment.seeds, CONTAINER_SEEDS))
    chosen = range(first_seed, first_seed + count)
    from lab.capacity import find_capacity

    progress = progress_of(quiet)
    limits: dict[str, Any] = {"low": low, "high": high, "precision_ppm": precision, "spike": spike}
    if plane == "sim":
        simulate = simulator(experiment, executor, workers, quiet)

        def run_variant(name: str, variant: Experiment, seeds: Sequence[int]) -> RunSet:
            return simulate(variant, seeds, lambda done, total: progress(f"{name}: runs", done, total))

        found = find_capacity(experiment, chosen, run_variant, **limits)
    else:
        with containers(experiment, progress) as runner:
            found = find_capacity(experiment, chosen, runner, **limits)
    if as_json:
        print_json(found.as_json())
    else:
        from lab.core.units import rate_text

        for probe in found.probes:
            click.echo(f"{rate_text(probe.rate_millihertz):>12}  {probe.verdict:<12}  {'; '.join(probe.reasons)}"[:160])
        click.echo(found.sentence())
    sys.exit(0 if found.holds is not None else 1)
