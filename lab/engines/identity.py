"""Random cases (protocol x parameters x faults x seed) on which the executors must agree in every event.

A case is a pure function of its number, so that a failure is reproduced by its number alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, TypeVar

from lab.core.draws import chain, scale
from lab.core.laws import parse_law
from lab.engines import compiled, reference
from lab.engines.scenario import Bursts, Scenario, bare, prepare
from lab.model.effects import Keep, LinkEffect, Outage
from lab.protocols.gossip import Gossip
from lab.protocols.mesh import Mesh
from lab.spec.schema import Experiment

MS = 1_000_000
LAWS = (
    "0s", "1ms", "20ms", "uniform(low=1ms, high=40ms)", "lognormal(median=20ms, p99=60ms)", "exponential(mean=15ms)",
    "normal(mean=10ms, deviation=4ms)",
)  # fmt: skip
_Choice = TypeVar("_Choice")


class Dice:
    """Draws for making cases: the same number, the same case."""

    def __init__(self, number: int) -> None:
        self._key = chain(number, 0x1DE)
        self._count = 0

    def below(self, bound: int) -> int:
        """Return an integer in [0, bound)."""
        self._count += 1
        return scale(chain(self._key, self._count), bound)

    def choice(self, values: Sequence[_Choice]) -> _Choice:
        """Return one of `values`."""
        return values[self.below(len(values))]

    def chance(self, percent: int) -> bool:
        """Return True that often."""
        return self.below(100) < percent


@dataclass(frozen=True, slots=True)
class Case:
    """One case: a scenario and a seed."""

    number: int
    scenario: Scenario
    seed: int


def case(number: int) -> Case:
    """Return case `number`."""
    dice = Dice(number)
    pick = dice.below(10)
    seed = dice.below(1 << 30)
    if pick == 0:
        return Case(number, _mesh(dice), seed)
    if pick <= 2:
        return Case(number, _gossip(dice), seed)
    return Case(number, _changelog(dice), seed)


def _bursts(dice: Dice) -> Bursts | None:
    if not dice.chance(30):
        return None
    return Bursts(
        (5 + dice.below(300)) * MS,
        (1 + dice.below(60)) * MS,
        dice.choice((0, 10_000)),
        dice.choice((300_000, 1_000_000)),
    )


def _effects(dice: Dice) -> list[LinkEffect]:
    return [
        LinkEffect(
            loss_ppm=dice.choice((0, 10_000, 300_000)),
            duplicate_ppm=dice.choice((0, 0, 50_000)),
            reorder_ppm=dice.choice((0, 0, 200_000)),
            reorder_by_ns=dice.below(50) * MS,
            delay=parse_law(dice.choice(LAWS)),
        )
        for _ in range(1 + dice.below(2))
    ]


def _outages(dice: Dice, nodes: int, horizon_ms: int) -> list[Outage]:
    outages = []
    for _ in range(dice.below(4)):
        start = dice.below(horizon_ms)
        keep = dice.choice((None, Keep.DURABLE, Keep.NOTHING))
        stop = start + 1 + dice.below(horizon_ms // 2)
        outages.append(Outage(f"n{dice.below(nodes)}", start * MS, stop * MS, keep))
    return outages


def _service(dice: Dice) -> dict[str, int]:
    if not dice.chance(30):
        return {}
    return {"service_ns": dice.choice((100_000, 2 * MS, 15 * MS)), "inbox_limit": dice.choice((1, 4, 100))}


def _mesh(dice: Dice) -> Scenario:
    nodes = 2 + dice.below(20)
    return bare(
        Mesh, {"period_ns": dice.choice((1, 5, 10)) * MS}, nodes=nodes, horizon_ns=100 * MS, effects=_effects(dice),
        outages=_outages(dice, nodes, 100), bursts=_bursts(dice), **_service(dice),
    )  # fmt: skip


def _gossip(dice: Dice) -> Scenario:
    nodes = 2 + dice.below(40)
    params = {
        "updates": 1 + dice.below(4), "every_ns": dice.choice((50, 97)) * MS,
        "period_ns": dice.choice((10, 20, 33)) * MS, "pull": dice.below(2),
    }  # fmt: skip
    return bare(
        Gossip, params, nodes=nodes, horizon_ns=300 * MS, effects=_effects(dice), outages=_outages(dice, nodes, 300),
        bursts=_bursts(dice), **_service(dice),
    )  # fmt: skip


def _fault(dice: Dice, names: list[str]) -> dict[str, Any]:
    at, lasting = f"{dice.below(1200)}ms", f"{1 + dice.below(700)}ms"
    links: Any = (
        "all" if dice.chance(50) else [f"leader->{dice.choice(names[1:])}", f"{dice.choice(names[1:])}->leader"]
    )
    interval = {"at": at, "for": lasting}
    kind = dice.choice(("drop", "delay", "jitter", "duplicate", "reorder", "partition", "crash", "pause", "set"))
    if kind == "set":
        return {"set": {"at": at, "mode": dice.choice(("sync", "quorum", "bounded", "async"))}}
    if kind == "partition":
        cut = 1 + dice.below(len(names) - 1)
        direction = dice.choice(("both", "one_way"))
        return {"partition": {**interval, "groups": [names[:cut], names[cut:]], "direction": direction}}
    if kind == "crash":
        return {"crash": {**interval, "node": dice.choice(names), "keep": dice.choice(("durable", "nothing"))}}
    if kind == "pause":
        return {"pause": {**interval, "node": dice.choice(names)}}
    extra: dict[str, Any] = {
        "drop": {"share": dice.choice(("5%", "60%"))},
        "delay": {"by": dice.choice(LAWS[1:])},
        "jitter": {"up_to": dice.choice(("5ms", "80ms"))},
        "duplicate": {"share": dice.choice(("10%", "100%"))},
        "reorder": {"share": "20%", "by": "35ms"},
    }[kind]
    return {kind: {**interval, "links": links, **extra}}


def _policy(dice: Dice) -> dict[str, Any]:
    budget = {"budget": dice.choice(("10%", "50%"))} if dice.chance(40) else {}
    return {
        "timeout": dice.choice(("30ms", "100ms", "250ms")),
        "retry": {
            "attempts": 1 + dice.below(6),
            "backoff": dice.choice(("fixed", "exponential")),
            "base": dice.choice(("5ms", "50ms")),
            "cap": dice.choice(("60ms", "500ms")),
            "jitter": dice.choice(("none", "full", "equal", "decorrelated")),
            **budget,
        },
        "queue": {"limit": dice.choice((2, 16, 256)), "overflow": dice.choice(("reject", "defer"))},
        "ordering": dice.choice(("sequence", "key")),
        "bound": dice.choice((0, 4, 16)),
        "reconcile_every": dice.choice(("0s", "150ms", "400ms")),
        "reconcile_batch": dice.choice((3, 256)),
    }


def _changelog(dice: Dice) -> Scenario:
    names = ["leader", *(f"f{index}" for index in range(1, 2 + dice.below(5)))]
    spikes = [{"at": "300ms", "for": "200ms", "rate": "150/s"}] if dice.chance(30) else []
    document = {
        "title": "identity",
        "system": {
            "mode": dice.choice(("sync", "quorum", "bounded", "async")),
            "replicas": [{"name": n} for n in names],
        },
        "network": {
            "links": {
                "default": {
                    "delay": dice.choice(LAWS),
                    "loss": dice.choice(("0%", "2%")),
                    "duplicate": dice.choice(("0%", "3%")),
                }
            }
        },
        "workload": {
            "arrivals": dice.choice(("poisson(60/s)", "constant(50/s)")),
            "duration": "1s",
            "keys": dice.choice((1, 7, 40)),
            "skew": dice.choice(("uniform", "zipf(0.99)")),
            "spikes": spikes,
            "client": {"deadline": "900ms", "timeout": dice.choice(("80ms", "300ms")), "attempts": 1 + dice.below(4)},
        },
        "policy": _policy(dice),
        "faults": [_fault(dice, names) for _ in range(dice.below(5))],
        "drain": "500ms",
    }
    scenario = prepare(Experiment.model_validate(document))
    return _with(scenario, bursts=_bursts(dice), **_service(dice))


def _with(scenario: Scenario, **changes: Any) -> Scenario:
    from dataclasses import replace

    return replace(scenario, **changes)


def difference(number: int) -> str:
    """Return "" if the executors agree on case `number`: history, trace hash, every field of every node; else what
    differs.
    """
    made = case(number)
    expected_states: dict[str, list[list[int] | None]] = {}
    states: dict[str, list[list[int] | None]] = {}
    expected = reference.run(made.scenario, made.seed, states=expected_states, strict=True)
    history = compiled.run(made.scenario, made.seed, states=states)
    if history.trace_hash != expected.trace_hash or history.event_count != expected.event_count:
        return f"case {number}: {history.event_count} events, not {expected.event_count}, or not the same ones"
    if states != expected_states:
        return f"case {number}: fields {[name for name in states if states[name] != expected_states[name]]} differ"
    if history.digest() != expected.digest():
        return f"case {number}: the histories differ"
    return ""


def _differences(numbers: range) -> list[str]:
    return [text for number in numbers if (text := difference(number))]


def check(
    count: int, *, first: int = 0, workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Compare both executors on `count` cases from `first` on; return {cases, equal, differences (at most 20)}."""
    workers = workers or os.cpu_count() or 1
    found: list[str] = []
    done = 0
    for result, size in _spread(count, first, workers):
        found += result
        done += size
        if progress is not None:
            progress(done, count)
    return {"cases": count, "equal": count - len(found), "differences": found[:20]}


def _spread(count: int, first: int, workers: int) -> Iterator[tuple[list[str], int]]:
    blocks = [range(start, min(start + 50, first + count)) for start in range(first, first + count, 50)]
    if workers == 1 or len(blocks) == 1:
        for block in blocks:
            yield _differences(block), len(block)
        return
    for protocol in {made.scenario.protocol for made in map(case, range(first, first + min(count, 20)))}:
        compiled.load(protocol)  # so that the workers find it on disk
    pool = ProcessPoolExecutor(workers, mp_context=get_context("forkserver"))
    try:
        for block, future in [(block, pool.submit(_differences, block)) for block in blocks]:
            yield future.result(), len(block)
    finally:
        pool.shutdown(cancel_futures=True)
