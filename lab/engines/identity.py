"""Random cases (protocol x parameters x faults x seed) on which the executors must agree in every event.

A case is a pure function of its number, so that a failure is reproduced by its number alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any, TypeVar

from lab.core.draws import chain, scale
from lab.core.laws import parse_law
from lab.core.nodes import SLOW, STALL
from lab.engines import compiled, reference
from lab.engines.scenario import Bursts, Scenario, Service, bare, prepare_seed
from lab.model.effects import CorrelatedLoss, Keep, LinkEffect, LossChain, Outage
from lab.model.extras import Span
from lab.model.inside import Stage
from lab.model.shapes import SHAPES
from lab.model.transport import Stream
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
    # What links remember is drawn apart, so that all else of a case is the same with and without it.
    more = Dice(number + (1 << 40))
    memory = more if more.chance(40) else None
    # So are disturbances of replicas and faults that are drawn from the seed, where links remember: fewer modules.
    other = Dice(number + (1 << 41))
    inside = other if memory is not None and other.chance(60) else None
    if pick == 0:
        return Case(number, _disturbed(inside, _mesh(dice, memory)), seed)
    if pick <= 2:
        return Case(number, _disturbed(inside, _gossip(dice, memory)), seed)
    return Case(number, _changelog(dice, memory, inside, seed), seed)


def _disturbed(dice: Dice | None, scenario: Scenario) -> Scenario:
    """Return the scenario with some of its replicas disturbed."""
    if dice is None:
        return scenario
    found = []
    for number in range(1 + dice.below(3)):
        start = dice.below(scenario.horizon_ns // MS) * MS
        stop = start + (1 + dice.below(scenario.horizon_ns // MS)) * MS
        node, what = dice.below(len(scenario.names) - 1), dice.choice((SLOW, STALL))
        found.append(Stage(number, node, start, stop, what, dice.choice((100_000, 3 * MS, 40 * MS))))
    return replace(scenario, stages=tuple(found))


def _inside_faults(dice: Dice, names: list[str]) -> list[dict[str, Any]]:
    """Return faults of replicas, and faults that are drawn from the seed."""
    made: list[dict[str, Any]] = []
    for _ in range(1 + dice.below(3)):
        interval = {"at": f"{dice.below(900)}ms", "for": f"{100 + dice.below(600)}ms"}
        kind = dice.choice(("slow_node", "disk_stall", "overload", "flapping", "clog", "partition", "swarm"))
        every: dict[str, dict[str, Any]] = {
            "slow_node": {"node": dice.choice(names), "service": dice.choice(("200us", "9ms", "60ms"))},
            "disk_stall": {"node": dice.choice(names), "by": dice.choice(("1ms", "30ms"))},
            "overload": {"rate": "120/s"},
            "flapping": {"period": "37ms", "duty": "40%", "kind": dice.choice(("drop", "hold", "kill"))},
            "clog": {"node": dice.choice(names), "direction": dice.choice(("both", "in", "out"))},
            "partition": {"shape": dice.choice([s for s, (_, least) in SHAPES.items() if least <= len(names)])},
            "swarm": {
                "faults": ["drop", "delay", "cut", "clog", "pause", "slow_node", "disk_stall"],
                "lasting": "20ms..200ms",
            },
        }
        made.append({kind: {**interval, **every[kind]}})
    return made


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


def _service(dice: Dice) -> dict[str, Any]:
    if not dice.chance(30):
        return {}
    return {"service_ns": dice.choice((100_000, 2 * MS, 15 * MS)), "inbox_limit": dice.choice((1, 4, 100))}


def _remembered(dice: Dice, kinds: Sequence[str]) -> LinkEffect:
    """Return an effect that needs memory, and perhaps holds for some messages only."""
    effect = dice.choice(
        (
            LinkEffect(chain=LossChain(100_000, 400_000, 900_000, 10_000)),
            LinkEffect(correlated=CorrelatedLoss(300_000, 400_000)),
            LinkEffect(corrupt_ppm=200_000, duplicate_ppm=200_000),
            LinkEffect(bytes_per_s=dice.choice((20_000, 200_000)), queue_bytes=dice.choice((500, 5_000))),
            LinkEffect(hold=True),
            LinkEffect(kill=True),
            LinkEffect(cut=True),
            LinkEffect(delay=parse_law("bimodal(fast=1ms, slow=60ms, slow_share=10%)"), loss_ppm=100_000),
        )
    )
    if not effect.bytes_per_s and not effect.kill and dice.chance(40):
        effect = replace(effect, kinds=(dice.choice(kinds),) if dice.chance(60) else (), first=dice.choice((0, 3, 20)))
    return effect


def _memory(dice: Dice | None, kinds: Sequence[str], nodes: int, horizon_ms: int) -> dict[str, Any]:
    """Return what a scenario of links that are all alike has to remember: the further arguments of `bare`."""
    if dice is None:
        return {}
    spans: list[Span] = []
    for _ in range(1 + dice.below(3)):
        start, lasting = dice.below(horizon_ms) * MS, (1 + dice.below(horizon_ms)) * MS
        spans.append(Span(start, start + lasting, _remembered(dice, kinds)))
    stream = Stream.model_validate(_stream(dice)) if dice.chance(40) else None
    alone = [span for span in spans if span.effect.chain is None and span.effect.correlated is None]
    spans = [*alone, *[span for span in spans if span not in alone][:1]]  # two such losses cannot be composed
    tables = [parse_law(law).table() for law in ("0s", "2ms", "exponential(mean=1ms)")]
    services = [
        Service(dice.choice(tables), dice.choice((1, 5, 100))) if dice.chance(60) else None for _ in range(nodes)
    ]
    return {"spans": spans, "stream": stream, "services": services}


def _stream(dice: Dice) -> dict[str, Any]:
    return {
        "rto": dice.choice(("15ms", "60ms")),
        "rto_cap": "200ms",
        "retransmissions": dice.choice((0, 2, 15)),
        "dial": "20ms",
        "backoff": "10ms",
        "backoff_cap": "40ms",
    }


def _mesh(dice: Dice, memory: Dice | None) -> Scenario:
    nodes = 2 + dice.below(20)
    return bare(
        Mesh, {"period_ns": dice.choice((1, 5, 10)) * MS}, nodes=nodes, horizon_ns=100 * MS, effects=_effects(dice),
        outages=_outages(dice, nodes, 100), bursts=_bursts(dice), **_service(dice),
        **_memory(memory, list(Mesh.kinds.values()), nodes, 100),
    )  # fmt: skip


def _gossip(dice: Dice, memory: Dice | None) -> Scenario:
    nodes = 2 + dice.below(40)
    params = {
        "updates": 1 + dice.below(4), "every_ns": dice.choice((50, 97)) * MS,
        "period_ns": dice.choice((10, 20, 33)) * MS, "pull": dice.below(2),
    }  # fmt: skip
    return bare(
        Gossip, params, nodes=nodes, horizon_ns=300 * MS, effects=_effects(dice), outages=_outages(dice, nodes, 300),
        bursts=_bursts(dice), **_service(dice), **_memory(memory, list(Gossip.kinds.values()), nodes, 300),
    )  # fmt: skip


def _memory_faults(dice: Dice, names: list[str]) -> list[dict[str, Any]]:
    """Return faults of links that need memory."""
    made: list[dict[str, Any]] = []
    for _ in range(1 + dice.below(3)):
        interval = {"at": f"{dice.below(900)}ms", "for": f"{1 + dice.below(600)}ms"}
        links: Any = "all" if dice.chance(50) else [f"leader->{dice.choice(names[1:])}"]
        kind = dice.choice(("cut", "partition", "loss", "corrupt", "throttle", "drop", "delay"))
        only: dict[str, Any] = {"kinds": ["update_ack"]} if dice.chance(30) else {}
        only |= {"first": dice.choice((1, 10))} if dice.chance(30) else {}
        if kind == "loss":  # one at most: two chains cannot hold on one link at the same time
            kind = dice.choice(("loss_bursts", "loss_correlated"))
            if any(next(iter(fault)).startswith("loss_") for fault in made):
                continue
        extra: dict[str, Any] = {
            "cut": {"kind": dice.choice(("drop", "hold", "slow", "kill"))},
            "partition": {"kind": dice.choice(("hold", "slow", "kill"))},
            "loss_bursts": {"to_bad": "10%", "to_good": "30%", "good_loss": "1%", **only},
            "loss_correlated": {
                "share": "30%", "correlation": "40%", "as": dice.choice(("written", "delivered")), **only,
            },
            "corrupt": {"share": "20%", **only},
            "throttle": {"bandwidth": dice.choice(("5KB/s", "100KB/s")), "queue": dice.choice(("300B", "4KB"))},
            "drop": {"share": "50%", **only},
            "delay": {"by": "mixture(80%: 1ms, 20%: uniform(10ms, 90ms))", **only},
        }[kind]  # fmt: skip
        where = {"groups": [names[:1], names[1:]]} if kind == "partition" else {"links": links}
        made.append({kind: {**interval, **where, **extra}})
    return made


def _memory_network(dice: Dice) -> dict[str, Any]:
    """Return the further keys of a network whose links remember and whose replicas differ in service."""
    found: dict[str, Any] = {"nodes": {"default": {"service": "uniform(0s, 2ms)", "inbox": dice.choice((2, 50))}}}
    if dice.chance(40):
        found |= {"transport": "stream", "stream": _stream(dice)}
    return found


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


def _changelog(dice: Dice, memory: Dice | None, inside: Dice | None, seed: int) -> Scenario:
    names = ["leader", *(f"f{index}" for index in range(1, 2 + dice.below(5)))]
    spikes = [{"at": "300ms", "for": "200ms", "rate": "150/s"}] if dice.chance(30) else []
    document: dict[str, Any] = {
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
    own: dict[str, Any] = {"bursts": _bursts(dice), **_service(dice)}
    if memory is not None:
        document["network"] = {**document["network"], **_memory_network(memory)}
        document["faults"] = [*document["faults"][:2], *_memory_faults(memory, names)]
        own.pop("service_ns", None)
    if inside is not None:
        document["faults"] = [*document["faults"][:3], *_inside_faults(inside, names)]
    return replace(prepare_seed(Experiment.model_validate(document), seed), **own)


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
    for made in map(case, range(first, first + min(count, 40))):
        compiled.load_for(made.scenario)  # so that the workers find it on disk
    pool = ProcessPoolExecutor(workers, mp_context=get_context("forkserver"))
    try:
        for block, future in [(block, pool.submit(_differences, block)) for block in blocks]:
            yield future.result(), len(block)
    finally:
        pool.shutdown(cancel_futures=True)
