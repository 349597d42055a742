"""The experiment file as types. Every section is strict; every number has its unit."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from lab.core.section import Section
from lab.core.units import PositiveDurationNs, shown
from lab.faults import FAULTS, Fault
from lab.model.link import Network
from lab.model.policy import Policy
from lab.model.workload import Workload

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
SCHEMA_VERSION = 1


def _name(value: Any) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError(f"{shown(value)} is not a name: lower-case letters, digits, '.', '_' and '-', at most 63")
    return value


class Replica(Section):
    """One replica. The first in the list is the leader. `runtime` matters on the container plane alone."""

    name: Annotated[str, BeforeValidator(_name)]
    runtime: Literal["go", "rust"] = "go"


class System(Section):
    """What is tested."""

    protocol: Literal["changelog"] = "changelog"
    mode: Literal["sync", "quorum", "bounded", "async"] = "quorum"
    replicas: Annotated[list[Replica], Field(min_length=2, max_length=32)]

    @property
    def names(self) -> tuple[str, ...]:
        """Replica names in order; index 0 leads."""
        return tuple(replica.name for replica in self.replicas)


def _one_fault(value: Any) -> Fault:
    """Turn `{kind: parameters}` into the fault; its own errors carry their places."""
    if isinstance(value, Fault):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError("write one fault as `- kind: { … }`; kinds: " + ", ".join(FAULTS))
    ((kind, parameters),) = value.items()
    if kind not in FAULTS:
        raise ValueError(f"{shown(kind)} is not a fault; kinds: " + ", ".join(FAULTS))
    return FAULTS[kind].model_validate(parameters)


def _dump_fault(fault: Fault) -> dict[str, Any]:
    return {fault.kind: fault.model_dump(mode="json")}


AnyFault = Annotated[Fault, BeforeValidator(_one_fault), PlainSerializer(_dump_fault)]


class Measure(Section):
    """What must hold. A claim is `MEASURE OP VALUE`, for example `convergence.p99 < 2s`."""

    claims: list[str] = []


class Tune(Section):
    """What may change and what is wanted. Parameters map a dotted path (`policy.timeout`) to a range or a list."""

    parameters: dict[str, str | list[str]]
    minimise: Annotated[list[str], Field(min_length=1)]
    subject_to: list[str] = []
    candidates: Annotated[int, Field(ge=2, le=100_000)] = 24
    seeds: Annotated[int, Field(ge=4, le=100_000)] = 20
    confirm_seeds: Annotated[int, Field(ge=10, le=100_000)] = 40


class Experiment(Section):
    """One experiment: everything that decides a run, apart from the seed."""

    title: Annotated[str, Field(min_length=1, max_length=120)]
    question: Annotated[str, Field(max_length=500)] = ""
    system: System
    network: Network = Network()
    workload: Workload
    policy: Policy = Policy()
    faults: list[AnyFault] = []
    drain: PositiveDurationNs = 5_000_000_000
    measure: Measure = Measure()
    seeds: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    tune: Tune | None = None

    @property
    def horizon_ns(self) -> int:
        """When a run ends: `drain` after the last intended write and the last heal."""
        return self.quiet_ns + self.drain

    @property
    def quiet_ns(self) -> int:
        """When no more is intended to change: the end of the workload or the last heal, whichever is later."""
        return max(self.workload.duration, *(fault.stop_ns for fault in self.faults), 0)


