"""More is asked for than usual: a burst of work, or clients that come back all at once."""

from __future__ import annotations

from typing import ClassVar

from lab.core.units import RateMillihertz, rate_text
from lab.faults.base import LastingFault
from lab.model.workload import Spike


class Overload(LastingFault):
    """Add arrivals of the workload's own process at `rate` while it lasts, as a spike of the workload does."""

    kind: ClassVar[str] = "overload"
    summary: ClassVar[str] = "adds arrivals while it lasts"
    colour: ClassVar[str] = "#ddcc77"
    hatch: ClassVar[str] = ".."
    containers: ClassVar[str] = "extra arrivals are part of the workload there; write them as workload.spikes"

    rate: RateMillihertz

    def label(self) -> str:
        return f"overload +{rate_text(self.rate)}"

    def spikes(self) -> list[Spike]:
        return [Spike.model_construct(at=self.at, for_=self.for_, rate=self.rate)]
