"""Links get slower: their bandwidth is limited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from lab.core.sizes import BytesPerS, SizeBytes, bytes_text
from lab.faults.base import LinkFault
from lab.model.effects import LinkEffect
from lab.model.link import QUEUE_BYTES


class Throttle(LinkFault):
    """Send at most `bandwidth` over each link, one message after the other; the lowest limit in force counts.

    A message waits until what was sent before it has left. Where more than `queue` bytes wait, the next message is
    dropped (drop tail) and counted `overflow`. Messages under way are not affected; what waits when it heals keeps its
    time.
    """

    kind: ClassVar[str] = "throttle"
    summary: ClassVar[str] = "limits the bandwidth of the links, with a bounded queue before each"
    colour: ClassVar[str] = "#332288"
    hatch: ClassVar[str] = "//"
    evidence: ClassVar[str] = "delayed"

    bandwidth: BytesPerS
    queue: SizeBytes = QUEUE_BYTES

    def label(self) -> str:
        return f"throttle to {bytes_text(self.bandwidth)}/s on {self.where()}"

    def problems(self, names: Sequence[str]) -> list[tuple[str, str]]:
        found = super().problems(names)
        if self.bandwidth == 0:
            found.append(("bandwidth", "0B/s carries nothing; write a bandwidth above 0, or use the fault cut"))
        return found

    def link_effect(self, source: str, target: str) -> LinkEffect | None:
        if not self.hits(source, target):
            return None
        return LinkEffect(bytes_per_s=self.bandwidth, queue_bytes=self.queue)
