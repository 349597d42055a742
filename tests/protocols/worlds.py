"""Random worlds for the protocols that no experiment file names yet, and the comparison of both executors on them."""

from __future__ import annotations

from dataclasses import replace

from lab.core import quantiles
from lab.engines import compiled, reference
from lab.engines.identity import Dice
from lab.engines.scenario import Scenario
from lab.model.effects import Keep, Outage
from lab.protocols import epidemic, flood
from lab.protocols.epidemic import Epidemic
from lab.protocols.flood import Flood
from lab.protocols.quorum import Quorum
from lab.protocols.raft import Raft
from validation.world import MS, SECOND, Leg, workload, world

LAWS = (None, quantiles.constant(3 * MS), quantiles.uniform(MS, 30 * MS), quantiles.exponential(8 * MS))


def _links(dice: Dice) -> dict[str, object]:
    legs = [
        Leg(dice.choice(LAWS), dice.choice((0, 20_000, 300_000)), dice.choice((0, 100_000))) for _ in range(3)
    ]  # fmt: skip
    return {"leg": lambda source, target: legs[(7 * source + target) % 3]}


def _outages(dice: Dice, nodes: int, horizon_ms: int) -> list[Outage]:
    found = []
    for _ in range(dice.below(4)):
        start = dice.below(horizon_ms)
        stop = start + 1 + dice.below(horizon_ms // 2)
        found.append(
            Outage(f"n{dice.below(nodes)}", start * MS, stop * MS, dice.choice((None, Keep.DURABLE, Keep.NOTHING)))
        )
    return found


def _epidemic(dice: Dice) -> Scenario:
    nodes = 2 + dice.below(30)
    is_clocked = dice.chance(25)
    params = {
        "period_ns": 0 if is_clocked else 100 * MS,
        "ways": dice.choice((epidemic.PUSH, epidemic.PULL, epidemic.PUSH | epidemic.PULL)),
        "stop": dice.below(3), "feedback": dice.below(2), "k": 1 + dice.below(4),
    }  # fmt: skip
    links = _links(dice)
    if is_clocked:  # a node's clock must take time
        clock = Leg(quantiles.exponential(50 * MS))
        links = {"leg": lambda source, target: clock}
    return world(
        Epidemic, params, nodes=nodes, horizon_ns=SECOND, outages=_outages(dice, nodes, 1000), **links,  # type: ignore[arg-type]
    )  # fmt: skip


def _flood(dice: Dice) -> Scenario:
    nodes = 2 + dice.below(25)
    topology = dice.choice((flood.TOTAL, flood.LINE, flood.GRID, flood.TREE, flood.FANOUT, flood.BINOMIAL))
    width = 100_000 if topology == flood.BINOMIAL else 1 + dice.below(5)
    params = {"topology": topology, "width": width, "echo": dice.below(2), "reads_ppm": dice.choice((0, 500_000))}
    return world(
        Flood, params, nodes=nodes, horizon_ns=SECOND, workload=workload("poisson(30/s)", "800ms"),
        outages=_outages(dice, nodes, 1000), **_links(dice),  # type: ignore[arg-type]
    )  # fmt: skip


def _quorum(dice: Dice) -> Scenario:
    replicas = 1 + dice.below(5)
    writers, readers = dice.below(3), dice.below(3)
    nodes = replicas + writers + readers
    copies = dice.choice((replicas, 1 + dice.below(replicas)))
    params = {
        "replicas": replicas, "write_quorum": 1 + dice.below(copies), "read_quorum": 1 + dice.below(copies),
        "writers": writers, "readers": readers, "read_after_ns": dice.choice((-1, 0, 5 * MS)),
        "timeout_ns": dice.choice((0, 40 * MS)), "repair": dice.below(2),
        "copies": copies, "patience_ns": dice.choice((0, 15 * MS)), "handoff_ns": dice.choice((0, 30 * MS)),
        "hints": dice.choice((1, 5, 1000)), "reads_ppm": dice.choice((0, 300_000)),
    }  # fmt: skip
    return world(
        Quorum, params, nodes=nodes, horizon_ns=SECOND, workload=workload("poisson(100/s)", "800ms", keys=5),
        outages=_outages(dice, nodes, 1000), **_links(dice),  # type: ignore[arg-type]
    )  # fmt: skip


def _raft(dice: Dice) -> Scenario:
    nodes = 1 + dice.below(6)
    params = {
        "election_ns": 100 * MS, "election_range_ns": dice.choice((0, 50 * MS)), "heartbeat_ns": 30 * MS,
        "prevote": dice.below(2), "stable_after": dice.choice((0, 3)), "client_timeout_ns": 80 * MS,
        "client_attempts": 1 + dice.below(8),
    }  # fmt: skip
    return world(
        Raft, params, nodes=nodes, horizon_ns=2 * SECOND, workload=workload("poisson(50/s)", "1500ms"),
        outages=_outages(dice, nodes, 2000), **_links(dice),  # type: ignore[arg-type]
    )  # fmt: skip


MAKERS = {"epidemic": _epidemic, "flood": _flood, "quorum": _quorum, "raft": _raft}


def case(name: str, number: int) -> tuple[Scenario, int]:
    """Return a random scenario of a protocol and its seed, a pure function of the number."""
    dice = Dice(number)
    scenario = MAKERS[name](dice)
    if dice.chance(20):
        scenario = replace(scenario, service_ns=MS, inbox_limit=4)
    return scenario, dice.below(1 << 30)


def difference(scenario: Scenario, seed: int) -> str:
    """Return "" if both executors agree in every event, field and counter, else what differs."""
    states: list[dict[str, list[list[int] | None]]] = [{}, {}]
    expected = reference.run(scenario, seed, states=states[0], strict=True)
    found = compiled.run(scenario, seed, states=states[1])
    if found.trace_hash != expected.trace_hash or found.event_count != expected.event_count:
        return f"{found.event_count} events, not {expected.event_count}, or not the same ones"
    if states[0] != states[1]:
        return f"fields {[name for name in states[0] if states[0][name] != states[1][name]]}"
    return "" if found.digest() == expected.digest() else "histories"
