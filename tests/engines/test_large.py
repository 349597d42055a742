"""A thousand gossiping nodes and a Raft cluster under every kind of fault at once: both executors agree to the bit."""

from __future__ import annotations

import pytest

from lab.core.laws import parse_law
from lab.engines import compiled, reference
from lab.engines.scenario import Bursts, Scenario, bare, prepare
from lab.faults import FAULTS
from lab.model.effects import Keep, LinkEffect, Outage
from lab.protocols.gossip import Gossip
from lab.spec.schema import Experiment

MS, SECOND = 1_000_000, 1_000_000_000
EVERY_LINK = [
    {"delay": {"at": "500ms", "for": "1s", "by": "exponential(mean=20ms)"}},
    {"jitter": {"at": "600ms", "for": "1s", "up_to": "30ms"}},
    {"drop": {"at": "700ms", "for": "1s", "share": "10%"}},
    {"duplicate": {"at": "800ms", "for": "1s", "share": "10%"}},
    {"reorder": {"at": "900ms", "for": "1s", "share": "10%", "by": "40ms"}},
    {"corrupt": {"at": "1s", "for": "1s", "share": "5%"}},
    {"loss_correlated": {"at": "1100ms", "for": "1s", "share": "10%", "correlation": "40%"}},
    {"throttle": {"at": "1200ms", "for": "1s", "bandwidth": "200KB/s"}},
    {"cut": {"at": "2s", "for": "300ms", "kind": "hold"}},
    {"cut": {"at": "2100ms", "for": "300ms", "kind": "kill"}},
    {"partition": {"at": "2500ms", "for": "700ms", "groups": [["r1", "r2"], ["r3", "r4", "r5"]]}},
    {
        "partition": {
            "at": "2900ms",
            "for": "500ms",
            "groups": [["r3", "r4", "r5"], ["r1", "r2"]],
            "direction": "one_way",
        }
    },
]
EVERY_NODE = [
    {"crash": {"at": "1s", "for": "400ms", "node": "r1"}},
    {"crash": {"at": "2300ms", "for": "500ms", "node": "r3"}},
    {"pause": {"at": "3s", "for": "300ms", "node": "r2"}},
    {"slow_node": {"at": "1500ms", "for": "1s", "node": "r4", "service": "3ms"}},
]


def gossip(seed_of_faults: int) -> Scenario:
    """Return 1,000 nodes of which fifty crash or stand still, on links that do everything that links can do."""
    effect = LinkEffect(
        loss_ppm=50_000, duplicate_ppm=50_000, reorder_ppm=50_000, reorder_by_ns=40 * MS,
        delay=parse_law("lognormal(median=20ms, p99=80ms)"),
    )  # fmt: skip
    outages = [
        Outage(f"n{(node * 37 + seed_of_faults) % 1000}", node * 7 * MS, node * 7 * MS + 90 * MS, keep)
        for node, keep in zip(range(50), (Keep.DURABLE, Keep.NOTHING, None) * 17, strict=False)
    ]
    params = {"updates": 3, "every_ns": 50 * MS, "period_ns": 100 * MS, "pull": 1}
    return bare(
        Gossip, params, nodes=1000, horizon_ns=600 * MS, effects=[effect], outages=outages,
        bursts=Bursts(200 * MS, 20 * MS, 10_000, 300_000),
    )  # fmt: skip


def test_a_thousand_gossiping_nodes_agree() -> None:
    world = gossip(0)
    interpreted = reference.run(world, 7)
    assert interpreted.event_count > 10_000
    assert compiled.run(world, 7).digest() == interpreted.digest()
    assert compiled.run(world, 8).digest() != interpreted.digest()


@pytest.mark.parametrize("transport", ["message", "stream"])
def test_raft_under_every_fault_at_once_agrees(transport: str) -> None:
    faults = [*EVERY_LINK, *EVERY_NODE]
    if transport == "stream":
        faults = [fault for fault in faults if not {"duplicate", "reorder"} & set(fault)]  # streams keep their order
    experiment = Experiment.model_validate(
        {
            "title": "Every fault",
            "system": {"protocol": "raft", "replicas": 5},
            "network": {"transport": transport, "links": {"default": {"delay": "uniform(2ms, 9ms)", "loss": "1%"}}},
            "workload": {"arrivals": "poisson(15/s)", "duration": "4s", "keys": 10},
            "faults": faults,
            "drain": "2s",
        }
    )
    assert {next(iter(fault)) for fault in faults} <= set(FAULTS)
    world = prepare(experiment)
    interpreted = reference.run(world, 3)
    assert [record.label for record in interpreted.faults if record.bit == 0] == []
    assert compiled.run(world, 3).digest() == interpreted.digest()
    assert compiled.run(world, 4).digest() != interpreted.digest()
