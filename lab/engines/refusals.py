"""What the simulator cannot carry exactly is refused with a sentence; what it leaves out without harm is a note."""

from __future__ import annotations

import inspect
import re
from functools import lru_cache
from typing import Any

from lab.protocols import PROTOCOLS
from lab.spec.schema import Experiment


class NotSimulated(ValueError):
    """The experiment asks for something that only real replicas have. The message says what could be written."""

    exit_code = 2


@lru_cache(maxsize=64)
def reads_clock(protocol: Any) -> bool:
    """Return whether a protocol's source reads `ctx.clock`."""
    return re.search(r"\bctx\.clock\b", inspect.getsource(protocol)) is not None


def refusals(experiment: Experiment) -> list[str]:
    """Return a sentence for everything that the simulator cannot do exactly."""
    found = [f"{fault.label()}: {fault.simulator}" for fault in experiment.faults if fault.simulator]
    channel = experiment.policy.channel
    if channel.memory or channel.bandwidth:
        found.append(
            "policy.channel: simulated replicas have no outgoing queues in bytes; remove it, or limit the links with "
            "network.links.default.bandwidth"
        )
    return found


def refuse(experiment: Experiment) -> None:
    """Raise NotSimulated for what the simulator cannot do exactly."""
    found = refusals(experiment)
    if found:
        raise NotSimulated("the simulator cannot run this experiment (--plane containers may): " + "; ".join(found))


def notes(experiment: Experiment) -> tuple[str, ...]:
    """Return what the simulator leaves out because it cannot matter there."""
    found = []
    if experiment.system.reconciler is not None:
        found.append("reconciler: not simulated; simulated replicas differ from the leader by lag alone, not by drift")
    if experiment.system.wire != "framed":
        found.append(f"wire {experiment.system.wire}: not simulated; simulated links carry messages, not connections")
    if not reads_clock(PROTOCOLS[experiment.system.protocol][0]):
        for fault in experiment.faults:
            if any(name.startswith("clock_") for one in fault.inside() for name, _ in one.values):
                found.append(
                    f"{fault.label()}: no effect; {experiment.system.protocol} reads no wall clock when simulated"
                )
    return tuple(found)
