"""The `lab` command: its group, its errors and its verbs, which are in `lab/verbs`."""

from __future__ import annotations

import shlex
import signal
import sys
from typing import Any, NoReturn

import click

from lab.verbs import calibrating, files, looking, measuring, running, upkeep
from lab.verbs.options import EXITS, INTERNAL


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


VERBS = (
    *(running.run, running.tune, running.sweep, measuring.capacity, calibrating.calibrate),
    *(files.validate, files.plan, files.list_, files.schema),
    *(looking.replay, looking.report),
    *(upkeep.doctor, upkeep.clean, upkeep.bench, upkeep.selftest),
)
for _verb in VERBS:
    cli.add_command(_verb)


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
        # An interrupt that went through a library's `exec` of a text makes CPython end by the signal instead of with
        # our code, though it was caught; every such `exec` forgets it first, so an empty one does.
        exec("", {})
        sys.exit(130)


if __name__ == "__main__":
    main()
