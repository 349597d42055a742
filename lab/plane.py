"""The door to the container plane: start what it needs once, run each seed on it, clean up whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from lab.run import RunSet, run_with
from lab.spec.schema import Experiment

Progress = Callable[[str, int, int], None]
RunVariant = Callable[[str, Experiment, Sequence[int]], RunSet]


@contextmanager
def container_runner(experiment: Experiment, progress: Progress) -> Iterator[RunVariant]:
    """Yield a function that runs a variant's seeds on containers.

    Builds the images first. Raise PlaneError (exit code 4) when an engine, a toolchain or an image is missing, and
    exit code 2 when a
    fault cannot be expressed on this plane; nothing is started then.
    """
    from lab.containers.execute import open_session

    with open_session(experiment, say=lambda text: progress(text, 0, 1)) as session:

        def run_variant(name: str, variant: Experiment, seeds: Sequence[int]) -> RunSet:
            return run_with(
                session.run_once,
                variant,
                seeds,
                "containers",
                "containers",
                progress=lambda done, total: progress(f"{name}: runs on containers", done, total),
            )

        yield run_variant


def check(experiments: Iterable[Experiment]) -> None:
    """Raise PlaneError with exit code 2 for what the plane cannot express, with 4 where no engine answers: before any
    work that would be in vain without it.
    """
    from lab.containers.engine import ANSWER_TIMEOUT_S, connect
    from lab.containers.execute import refuse

    for experiment in experiments:
        refuse(experiment, 0)
    connect(ANSWER_TIMEOUT_S).close()


def clean_up(dry_run: bool) -> list[str]:
    """Remove (or only list) what dead sessions left; return a line for each item."""
    from lab.containers.reaper import clean

    return clean(dry_run=dry_run)


def hint(file: str) -> str:
    """Return how to run `file` on containers, or what is missing for that."""
    from lab.containers.execute import available

    reason = available()
    if reason:
        return f"The same on real replicas is not possible here: {reason}. `lab doctor` says more."
    return f"The same on real replicas: .venv/bin/lab run {file} --plane containers --seeds 1"


if __name__ == "__main__":
    import sys

    sys.stdout.write(hint(sys.argv[1]) + "\n")
