"""Write the golden vectors of links that remember: what the simulator's own link does to messages, and what a link's
toxic in Go is told to do the same. Run: python compose/golden/make_stateful.py
"""

from __future__ import annotations

import json
from bisect import bisect_right
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lab.containers import links
from lab.core import draws
from lab.engines import record, remembering
from lab.model.link import LinkFault, plan_links
from lab.protocols import PROTOCOLS
from lab.spec.schema import Experiment

FILE = Path(__file__).with_name("stateful.json")
SOURCE, TARGET = 0, 1
SEED = 11
MESSAGES = 1_500
SPAN_NS = 10_000_000_000
COUNTERS = {
    "lost": record.LOST, "cut": record.CUT_OFF, "overflow": record.OVERFLOW, "duplicated": record.DUPLICATED,
    "corrupted": record.CORRUPTED, "reordered": record.REORDERED,
}  # fmt: skip
DELAY = "uniform(low=1ms, high=9ms)"


def between(start_ms: int, stop_ms: int, **parameters: Any) -> dict[str, Any]:
    return {"at": f"{start_ms}ms", "for": f"{stop_ms - start_ms}ms", "links": "all", **parameters}


FAULTS: list[dict[str, Any]] = [
    {"corrupt": between(0, 1500, share="20%")},
    {"duplicate": between(0, 3000, share="30%")},
    {"reorder": between(500, 1500, share="20%", by="5ms")},
    {"loss_bursts": between(1000, 3000, to_bad="10%", to_good="30%", bad_loss="90%", good_loss="2%")},
    {"drop": between(1500, 2000, share="10%")},  # comes and goes while the chain goes on
    {"cut": between(2200, 2300)},
    {"loss_correlated": {**between(2400, 3500, share="40%", correlation="50%"), "as": "written"}},
    {"loss_correlated": between(3500, 4500, share="30%", correlation="60%")},
    {"drop": between(4500, 5500, share="100%", kinds=["update"], first=20)},
    {"corrupt": between(4500, 6000, share="50%", kinds=["update_ack", "digest"])},
    {"loss_bursts": between(4800, 6000, to_bad="20%", to_good="20%", kinds=["repair", "update"])},
    {"drop": between(6000, 6400, share="100%", first=15)},
    {"throttle": between(6500, 8000, bandwidth="20KB/s", queue="1KiB")},
    {"duplicate": between(7000, 7500, share="50%")},
    {"delay": between(7200, 7400, by="20ms")},
    {"throttle": between(8500, 9500, bandwidth="10KB/s", queue="600B")},
]


def experiment() -> Experiment:
    """Return the experiment whose link leader->f1 is followed."""
    return Experiment.model_validate(
        {
            "title": "links that remember",
            "system": {"replicas": [{"name": "leader", "runtime": "go"}, {"name": "f1", "runtime": "go"}]},
            "network": {"links": {"default": {"delay": DELAY, "bandwidth": "1MB/s", "queue": "2KiB", "corrupt": "1%"}}},
            "workload": {"arrivals": "constant(100/s)", "duration": "10s"},
            "faults": FAULTS,
        }
    )


class Engine:
    """The part of an engine that a link of the simulator asks for; it keeps what the link decides."""

    def __init__(self, made: Experiment) -> None:
        names = made.system.names
        faults = [
            LinkFault(SOURCE, TARGET, fault.start_ns, fault.stop_ns, effect)
            for fault in made.faults
            if (effect := fault.link_effect(names[SOURCE], names[TARGET])) is not None
        ]
        plan = plan_links(names, made.network, faults, PROTOCOLS["changelog"][0].kinds)
        memory = [0] * plan.memory_words
        self.scenario = SimpleNamespace(plan=plan)
        self.node_count = plan.node_count
        self.memories = SimpleNamespace(of=lambda link: memory, sizes={})
        self.burst_tables = ()
        self.now = self.epoch = 0
        self.delays_ns: list[int] = []

    def evidence_of(self, epoch: int, source: int, target: int) -> list[int]:
        return [0] * 16

    def schedule(self, delay_ns: int, message: Any) -> None:
        self.delays_ns.append(delay_ns)

    def send(self, now_ns: int, size: int, kind: int, key: int) -> dict[str, Any]:
        """Return what the simulator does to one message: delays of the copies that arrive, and what it counts."""
        plan = self.scenario.plan
        self.now, self.epoch = now_ns, bisect_right(plan.boundaries_ns, now_ns) - 1
        self.memories.sizes, self.delays_ns = {kind: size}, []
        counter = [0] * 16
        message: Any = (0, TARGET, SOURCE, kind, 0, 0, 0, 0, key, 0)
        remembering.transmit(self, message, counter, SOURCE * self.node_count + TARGET)  # type: ignore[arg-type]
        return {"delays_ns": self.delays_ns, **{name: counter[at] for name, at in COUNTERS.items() if counter[at]}}


def vectors() -> dict[str, Any]:
    """Return what the toxic is told, each message, and what the simulator did to it."""
    made = experiment()
    link = next(one for one in links.plan(made, SEED).links if one.name == "leader->f1")
    engine = Engine(made)
    boundaries = engine.scenario.plan.boundaries_ns
    messages = []
    for number in range(MESSAGES):
        draw = draws.chain(SEED, 99, number)
        now_ns = 1 + number * SPAN_NS // MESSAGES + draws.scale(draw, 5_000_000)
        kind, size = 4 + draws.scale(draws.mix(draw, 1), 4), 16 + draws.scale(draws.mix(draw, 2), 300)
        row = link.row_of_epoch[bisect_right(boundaries, now_ns) - 1]
        fate = engine.send(now_ns, size, kind, draws.chain(link.key, number, 0))
        messages.append({"row": row, "now_ns": now_ns, "size": size, "kind": kind, **fate})
    return {
        "about": "attributes: what the toxic of a link is told. Message n has the key mix(mix(key, n), 0); delays_ns "
        "are those of its copies that arrive unharmed, what is not counted is 0",
        "attributes": {
            "key": str(link.key),
            "rows": link.rows,
            "tables": link.tables,
            "extras": link.extras,
            "leaves": [[*row, *extra] for row, extra in link.leaves],
            "memory_words": link.memory_words,
        },
        "messages": messages,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), separators=(",", ":")) + "\n")
