"""Messages that a disturbed replica keeps back, in the reference executor: each stage is a queue in front of it.

A message to a replica that runs goes through the stages in force at its arrival, in the order of the faults in the
file; the node handles it when it is out of the last. A crash takes what waits, and what is then counted `down`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.core.nodes import BEGIN_NS, HELD_WORDS, KEPT, SLOW, UNTIL_NS, committed_ns, is_kept, slowed_ns
from lab.engines import record
from lab.engines.context import HELD, MESSAGE

if TYPE_CHECKING:
    from lab.engines.reference import Happening, _Engine


class Holding:
    """The stages of a run and what they remember."""

    def __init__(self, engine: _Engine) -> None:
        self.engine = engine
        self.words = [stage.words() for stage in engine.scenario.stages]
        self.memory = [[0] * HELD_WORDS for _ in self.words]

    def passed(self, happening: Happening, now: int) -> Happening | None:
        """Return the event that goes on, or None for a message that now waits or is gone."""
        what, node, source, kind, a, b, c, d, key, incarnation = happening
        engine = self.engine
        if what == HELD:
            if incarnation != engine.incarnations[node]:
                engine.link_counter(source, node, kind)[record.DOWN] += 1
                return None
            return (MESSAGE, *happening[1:])
        if what != MESSAGE or engine.down[node]:
            return happening
        until = now
        for words, memory in zip(self.words, self.memory, strict=True):
            if is_kept(words, node, kind, until):
                step = slowed_ns if words[3] == SLOW else committed_ns
                until = step(memory, until, words[4], words[2])
                memory[KEPT] += 1
        if until == now:
            return happening
        engine.schedule(until - now, (HELD, node, source, kind, a, b, c, d, key, engine.incarnations[node]))
        return None

    def crash(self, node: int) -> None:
        """Forget what waited at a node."""
        for words, memory in zip(self.words, self.memory, strict=True):
            if words[0] == node:
                memory[BEGIN_NS] = memory[UNTIL_NS] = 0

    def kept(self) -> list[int]:
        """Return how many messages each stage has kept."""
        return [memory[KEPT] for memory in self.memory]
