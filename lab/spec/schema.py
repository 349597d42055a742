"""The experiment file as types. Every section is strict; every number has its unit."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from lab.core.section import Section
from lab.core.units import PositiveDurationNs, shown
from lab.faults import FAULTS, Fault
from lab.model.link import Network
from lab.model.policy import Policy
from lab.model.workload import Workload
from lab.spec.errors import nearest

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
SCHEMA_VERSION = 1


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a name; names are texts, begin them with a letter")
    if not NAME.fullmatch(value):
        raise ValueError(f"{shown(value)} is not a name: lower-case letters, digits, '.', '_' and '-', at most 63")
    return value


def _printable(value: str) -> str:
    """Refuse line breaks, escape sequences and invisible characters in texts that reports and terminals show."""
    for character in value:
        if not character.isprintable():
            raise ValueError(f"the character U+{ord(character):04X} cannot be shown in one line; remove it")
    return value


def _choice(value: Any) -> Any:
    """Turn a setting's value into the text it is written as: `4`, `null` and `full` are choices alike."""
    return shown(value) if value is None or (isinstance(value, int) and not isinstance(value, bool)) else value


Text = Annotated[str, AfterValidator(_printable)]
Choice = Annotated[str, BeforeValidator(_choice), WithJsonSchema({"type": ["string", "integer", "null"]})]


class Replica(Section):
    """One replica. The first in the list is the leader. `runtime` matters on the container plane alone."""

    name: Annotated[str, BeforeValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME.pattern}$"})]
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
    kinds = ", ".join(FAULTS)
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{shown(value)} is not a fault; write `- kind: {{ … }}` with one of these kinds: {kinds}")
    kind = next(iter(value))
    if len(value) > 1:
        if kind in FAULTS and value[kind] is None:
            raise ValueError(f"the parameters of {kind} are not below it; indent them further than {kind}")
        raise ValueError(f"one list item holds {len(value)} keys; write each fault as its own item, `- kind: {{ … }}`")
    if kind not in FAULTS:
        raise ValueError(f"{shown(kind)} is not a fault; {nearest(kind, list(FAULTS)) or f'kinds: {kinds}'}")
    parameters = value[kind]
    return FAULTS[kind].model_validate(parameters)


def _dump_fault(fault: Fault) -> dict[str, Any]:
    return {fault.kind: fault.model_dump(mode="json")}


AnyFault = Annotated[Fault, BeforeValidator(_one_fault), PlainSerializer(_dump_fault)]


class Measure(Section):
    """What must hold. A claim is `MEASURE OP VALUE`, for example `convergence.p99 < 2s`.

    `VARIANT: CLAIM` is about one variant. The checkers (no acknowledged update lost, none applied twice, order, equal
    digests, convergence) are claims that every experiment makes. `allow` names those whose violation is what the
    experiment is about.
    """

    claims: Annotated[list[str], Field(max_length=100)] = []
    allow: Annotated[list[str], Field(max_length=100)] = []


class Tune(Section):
    """What may change and what is wanted. Parameters map a dotted path (`policy.timeout`) to a range or a list."""

    parameters: Annotated[
        dict[str, str | Annotated[list[Choice], Field(min_length=2, max_length=64)]], Field(min_length=1, max_length=32)
    ]
    minimise: Annotated[list[str], Field(min_length=1, max_length=8)]
    subject_to: Annotated[list[str], Field(max_length=100)] = []
    candidates: Annotated[int, Field(ge=2, le=100_000)] = 24
    seeds: Annotated[int, Field(ge=4, le=100_000)] = 20
    confirm_seeds: Annotated[int, Field(ge=10, le=100_000)] = 40


class Experiment(Section):
    """One experiment: everything that decides a run, apart from the seed.

    `variants` maps a name to `{dotted path: value}`; each is the experiment with those values, run on the same seeds.
    Without variants there is one, named `base`.
    """

    title: Annotated[Text, Field(min_length=1, max_length=120)]
    question: Annotated[Text, Field(max_length=500)] = ""
    system: System
    network: Network = Network()
    workload: Workload
    policy: Policy = Policy()
    faults: Annotated[list[AnyFault], Field(max_length=256)] = []
    drain: PositiveDurationNs = 5_000_000_000
    measure: Measure = Measure()
    seeds: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    variants: Annotated[dict[str, dict[str, Choice]], Field(max_length=32)] = {}
    tune: Tune | None = None

    @property
    def horizon_ns(self) -> int:
        """When a run ends: `drain` after the last intended write and the last heal."""
        return self.quiet_ns + self.drain

    @property
    def quiet_ns(self) -> int:
        """When no more is intended to change: the end of the workload or the last heal, whichever is later."""
        return max(self.workload.duration, *(fault.stop_ns for fault in self.faults), 0)
