"""A feature gate: a setting is switched on all replicas while they run."""

from __future__ import annotations

from typing import ClassVar, Literal

from lab.faults.base import Fault
from lab.model.effects import Setting


class Set(Fault):
    """Switch the replication `mode` at `at`. It stays; a replica that is down takes it when it is back."""

    kind: ClassVar[str] = "set"
    summary: ClassVar[str] = "switches the replication mode while running (feature gate)"
    colour: ClassVar[str] = "#000000"
    hatch: ClassVar[str] = ""

    mode: Literal["sync", "quorum", "bounded", "async"]

    @property
    def stop_ns(self) -> int:
        return self.at

    def label(self) -> str:
        return f"set mode {self.mode}"

    def settings(self) -> list[Setting]:
        return [Setting(self.at, "mode", self.mode)]
