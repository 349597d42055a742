"""A rollout's step: another program takes a replica's place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from lab.core.units import PositiveDurationNs
from lab.faults.base import Fault, name_problem
from lab.model.disturbance import Replacement
from lab.model.effects import Keep, Outage


class Replace(Fault):
    """Stop `node` at `at` and start another program in its place: another `runtime`, a newer `schema_version`, or both.

    Stores differ between runtimes: with `runtime` it starts empty and catches up by digests, without it it keeps what
    is durable. `down` is how long it is away at least; the simulator takes it as exactly that long, as a crash, and
    knows no runtimes or schema versions.
    """

    kind: ClassVar[str] = "replace"
    summary: ClassVar[str] = "replaces a replica by another runtime or schema version while running (rollout)"
    colour: ClassVar[str] = "#999933"
    hatch: ClassVar[str] = "++"

    node: str
    runtime: Literal["go", "rust"] | None = None
    schema_version: Literal[1, 2] | None = None
    down: PositiveDurationNs = Field(default=500_000_000)

    @property
    def stop_ns(self) -> int:
        return self.at + self.down

    def label(self) -> str:
        version = f"schema {self.schema_version}" if self.schema_version else ""
        return f"replace {self.node} by {' '.join(part for part in (self.runtime, version) if part)}"

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        sentence = name_problem(self.node, names)
        if sentence:
            return [("node", sentence)]
        if self.runtime is None and self.schema_version is None:
            return [("runtime", "neither runtime nor schema_version is given: nothing would be replaced")]
        if self.runtime is not None and self.node == names[0]:
            return [("node", f"{self.node} leads: with another runtime the changelog would be lost; replace followers")]
        return []

    def outages(self) -> list[Outage]:
        keep = Keep.DURABLE if self.runtime is None else Keep.NOTHING
        return [Outage(self.node, self.start_ns, self.stop_ns, keep)]

    def replacements(self) -> list[Replacement]:
        return [Replacement(self.node, self.runtime, self.schema_version)]
