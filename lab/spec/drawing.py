"""Faults that are drawn from the seed: an experiment with such faults is another one for every seed."""

from __future__ import annotations

from lab.core import draws
from lab.faults.base import Fault
from lab.spec.schema import Experiment


def is_drawn(experiment: Experiment) -> bool:
    """Return whether any fault is drawn from the seed."""
    return any(fault.is_drawn() for fault in experiment.faults)


def for_seed(experiment: Experiment, seed: int) -> Experiment:
    """Return the experiment that one seed runs: every fault is told, and the run ends when it did.

    The same seed gives the same faults on every plane; an experiment without drawn faults is returned as it is.
    """
    if not is_drawn(experiment):
        return experiment
    told: list[Fault] = [fault for fault in experiment.faults if not fault.is_drawn()]
    faults: list[Fault] = []
    for index, fault in enumerate(experiment.faults):
        if not fault.is_drawn():
            faults.append(fault)
            continue
        found = fault.drawn(experiment.system.names, draws.chain(seed, draws.SCHEDULE, index), told)
        told += found
        faults += found
    changed = experiment.model_copy(update={"faults": faults})
    return changed.model_copy(update={"drain": experiment.horizon_ns - changed.quiet_ns})


def needs_of(experiment: Experiment) -> frozenset[str]:
    """Return what the compiled module of any seed may need (the names in `lab.faults.base`)."""
    return frozenset[str]().union(*(fault.may_need() for fault in experiment.faults))
