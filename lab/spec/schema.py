"""The experiment file as types. Every section is strict; every number has its unit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    create_model,
    model_serializer,
    model_validator,
)

from lab.core.section import Section
from lab.core.units import PositiveDurationNs, RateMillihertz, SharePpm, parse_duration_ns, parse_share_ppm, shown
from lab.faults import FAULTS, Fault
from lab.model.fault_presets import written
from lab.model.link import CLIENT, Network
from lab.model.policy import Policy
from lab.model.workload import Workload
from lab.protocols import PROTOCOLS, settings_of
from lab.protocols.settings import ProtocolSettings
from lab.spec.errors import nearest

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
SCHEMA_VERSION = 1
REPLICAS_MAX = 1000
LINKED_MAX = 62  # with more replicas all links are alike: a row for each would take too much memory and time
REPLICAS_LISTED = 32  # more than these are written out in the short form, if they have its names


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


def _version(value: Any) -> Any:
    return int(value) if value in ("1", "2") else value  # settings of variants are texts


class Replica(Section):
    """One replica. The first in the list is the leader. `runtime` and `schema_version` (of the messages it writes)
    matter on the container plane alone.
    """

    name: Annotated[str, BeforeValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME.pattern}$"})]
    runtime: Literal["go", "rust"] = "go"
    schema_version: Annotated[Literal[1, 2], BeforeValidator(_version)] = 1


class Reconciler(Section):
    """A process beside the replicas that compares every follower with the leader and corrects drift (docs/replica.md
    §14): each `every`, with a snapshot of the leader each `snapshot_every` and at most `rate` corrections.
    """

    every: PositiveDurationNs = 1_000_000_000
    snapshot_every: PositiveDurationNs = 5_000_000_000
    rate: RateMillihertz = 100_000


def _several(value: Any) -> Any:
    """Turn the short form `replicas: 5` into replicas r1 to r5."""
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if not 2 <= value <= REPLICAS_MAX:
        raise ValueError(f"{value} replicas are not possible; write 2 to {REPLICAS_MAX}, or a list of names")
    return [Replica(name=f"r{number}") for number in range(1, value + 1)]


def _dump_replicas(replicas: list[Replica]) -> Any:
    """Write many replicas in the short form, if they have its names."""
    if len(replicas) > REPLICAS_LISTED and replicas == _several(len(replicas)):
        return len(replicas)
    return [replica.model_dump(mode="json") for replica in replicas]


Replicas = Annotated[
    list[Replica],
    Field(min_length=2, max_length=REPLICAS_MAX),
    BeforeValidator(_several, json_schema_input_type=list[Replica] | Annotated[int, Field(ge=2, le=REPLICAS_MAX)]),
    PlainSerializer(_dump_replicas),
]


class SystemBase(Section):
    """What is tested. `wire`, `pool` and `reconciler` matter on the container plane alone: `framed` keeps one
    connection a link, `oneshot` has one for each message, taken from `pool` dialled ahead (docs/containers.md).
    """

    protocol: str = "changelog"
    mode: Literal["sync", "quorum", "bounded", "async"] = "quorum"
    replicas: Replicas
    wire: Literal["framed", "oneshot"] = "framed"
    pool: Annotated[int, Field(ge=1, le=64)] = 8
    reconciler: Reconciler | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Replica names in order; index 0 leads."""
        return tuple(replica.name for replica in self.replicas)

    @property
    def settings(self) -> ProtocolSettings:
        """The protocol's own parameters."""
        found: ProtocolSettings | None = getattr(self, self.protocol, None)
        return settings_of(self.protocol)() if found is None else found

    @model_validator(mode="before")
    @classmethod
    def _with_section(cls, data: Any) -> Any:
        """Write out the section of the chosen protocol, so that its settings have their paths."""
        name = data.get("protocol", "changelog") if isinstance(data, dict) else ""
        return {**data, name: {}} if name in SECTIONS and data.get(name) is None else data

    @model_serializer(mode="wrap")
    def _without_the_others(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the sections of the protocols that were not chosen."""
        data: dict[str, Any] = handler(self)
        return {key: value for key, value in data.items() if key not in SECTIONS or value is not None}


SECTIONS: tuple[str, ...] = tuple(name for name in PROTOCOLS if settings_of(name).model_fields)
if TYPE_CHECKING:
    System = SystemBase
else:
    System = create_model(
        "System",
        __base__=SystemBase,
        __doc__=SystemBase.__doc__,
        protocol=(Literal[tuple(PROTOCOLS)], "changelog"),
        **{name: (settings_of(name) | None, None) for name in SECTIONS},
    )


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
    if kind == "preset" and isinstance(value[kind], dict):
        kind, parameters = written(value[kind])
        return FAULTS[kind].model_validate(parameters)
    if kind not in FAULTS:
        raise ValueError(f"{shown(kind)} is not a fault; {nearest(kind, list(FAULTS)) or f'kinds: {kinds}'}")
    parameters = value[kind]
    return FAULTS[kind].model_validate(parameters)


def _dump_fault(fault: Fault) -> dict[str, Any]:
    return {fault.kind: fault.model_dump(mode="json")}


_CVAR = re.compile(r"cvar\((.+)\)")
_RUNS = re.compile(r"([1-9][0-9]{0,8}) runs")


def robust_share(text: str) -> float:
    """Return the share of scenarios, the worst first, that `mean`, `worst` or `cvar(25%)` takes the mean of; 0 is the
    worst alone.
    """
    if text in ("mean", "worst"):
        return 1.0 if text == "mean" else 0.0
    match = _CVAR.fullmatch(text)
    share = parse_share_ppm(match.group(1)) if match else 0
    if not share:
        raise ValueError(f"{shown(text)} is not possible here; write mean, worst, or cvar(25%) with a share above 0%")
    return share / 1e6


def _robust(value: str) -> str:
    robust_share(value)
    return value


def budget_limits(text: str | None) -> tuple[int | None, int | None]:
    """Return (nanoseconds, runs) of a budget such as `60s` or `5000 runs`; None where it sets no such limit."""
    if text is None:
        return None, None
    match = _RUNS.fullmatch(text)
    return (None, int(match.group(1))) if match else (parse_duration_ns(text), None)


def _budget(value: str) -> str:
    try:
        if budget_limits(value) == (0, None):
            raise ValueError("0s")
    except ValueError:
        raise ValueError(
            f"{shown(value)} is not a budget; write a time such as 60s, or a number such as 5000 runs"
        ) from None
    return value


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError(f"{value} is not a power of 2, which Sobol sequences need; write {1 << value.bit_length()}")
    return value


AnyFault = Annotated[Fault, BeforeValidator(_one_fault), PlainSerializer(_dump_fault)]


class Measure(Section):
    """What must hold. A claim is `MEASURE OP VALUE`, for example `convergence.p99 < 2s`.

    `VARIANT: CLAIM` is about one variant. The checkers (no acknowledged update lost, none applied twice, order, equal
    digests, convergence) are claims that every experiment makes. `allow` names those whose violation is what the
    experiment is about. `alarms` (`lag > 500ms for 1s`) are no claims: they say when a monitor would have rung.
    """

    claims: Annotated[list[str], Field(max_length=100)] = []
    allow: Annotated[list[str], Field(max_length=100)] = []
    alarms: Annotated[list[str], Field(max_length=32)] = []


class Scenario(Section):
    """One of the worlds that settings must do well in. What it leaves out is as in the file.

    `faults`, `network` and `drain` replace the file's; any other key is a dotted path (`workload.keys`) with its value.
    """

    faults: Annotated[list[AnyFault], Field(max_length=256)] | None = None
    network: Network | None = None
    drain: PositiveDurationNs | None = None
    set: Annotated[dict[str, Choice], Field(max_length=32)] = {}

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, data: Any) -> Any:
        """Gather dotted paths under `set`."""
        if not isinstance(data, dict):
            return data
        dotted = {key: value for key, value in data.items() if isinstance(key, str) and "." in key}
        for key, value in dotted.items():
            if isinstance(value, (dict, list, bool)):
                raise ValueError(f"{key} takes one value, not {shown(value)}")
        rest = {key: value for key, value in data.items() if key not in dotted}
        written = rest.get("set", {})
        return {**rest, "set": {**written, **dotted}} if dotted and isinstance(written, dict) else rest


class Stop(Section):
    """When a search is over before all candidates were tried, and when a gain is known well enough.

    `budget` limits the search: a time (`60s`) or a number of runs (`5000 runs`). `precision` is the half-width of the
    gain's interval: fresh seeds are added until it is reached, at most eight times `confirm_seeds`.
    """

    precision: SharePpm | None = None
    budget: Annotated[str, AfterValidator(_budget)] | None = None


class Tune(Section):
    """What may change and what is wanted. Parameters map a dotted path (`policy.timeout`) to a range or a list.

    `when` maps a parameter to the condition under which it matters; `constraints` are conditions that settings must
    meet. `scenarios` are the worlds that settings are judged in, `robust` how their objectives become one: `mean`,
    `worst`, or `cvar(25%)`, the mean of the worst quarter. `sobol`, a power of 2, asks for Sobol indices from so many
    base points.
    """

    parameters: Annotated[
        dict[str, str | Annotated[list[Choice], Field(min_length=2, max_length=64)]], Field(min_length=1, max_length=32)
    ]
    when: Annotated[dict[str, str], Field(max_length=32)] = {}
    constraints: Annotated[list[str], Field(max_length=100)] = []
    minimise: Annotated[list[str], Field(min_length=1, max_length=8)]
    subject_to: Annotated[list[str], Field(max_length=100)] = []
    scenarios: Annotated[dict[str, Scenario], Field(max_length=32)] = {}
    robust: Annotated[str, AfterValidator(_robust)] = "worst"
    candidates: Annotated[int, Field(ge=2, le=100_000)] = 24
    seeds: Annotated[int, Field(ge=4, le=100_000)] = 20
    confirm_seeds: Annotated[int, Field(ge=10, le=100_000)] = 40
    stop: Stop = Stop()
    sobol: Annotated[int, AfterValidator(_power_of_two), Field(ge=0, le=65_536)] = 0


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
    def link_names(self) -> tuple[str, ...]:
        """The nodes that the network's links join: the replicas and, if the protocol has them so, the client."""
        names = self.system.names
        return (*names, CLIENT) if self.system.settings.client_links else names

    @property
    def horizon_ns(self) -> int:
        """When a run ends: `drain` after the last intended write and the last heal."""
        return self.quiet_ns + self.drain

    @property
    def quiet_ns(self) -> int:
        """When no more is intended to change: the end of the workload or the last heal, whichever is later."""
        return max(self.workload.duration, *(fault.stop_ns for fault in self.faults), 0)
