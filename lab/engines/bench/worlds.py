"""The scenarios that are measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lab.core.laws import parse_law
from lab.engines.scenario import Bursts, Scenario, bare, prepare
from lab.model.effects import LinkEffect
from lab.protocols.gossip import Gossip
from lab.protocols.mesh import Mesh
from lab.spec.schema import Experiment

MS = 1_000_000
MEDIAN_NS, P99_NS, LOSS_PPM = 20 * MS, 60 * MS, 10_000
PERIOD_NS = 1 * MS
DELAY = "lognormal(median=20ms, p99=60ms)"


def _links() -> list[LinkEffect]:
    return [LinkEffect(loss_ppm=LOSS_PPM, delay=parse_law(DELAY))]


def mesh(nodes: int, horizon_ms: int) -> Scenario:
    """Return `nodes` nodes that each send one message a millisecond."""
    return bare(Mesh, {"period_ns": PERIOD_NS}, nodes=nodes, horizon_ns=horizon_ms * MS, effects=_links())


def gossip(nodes: int, horizon_ms: int) -> Scenario:
    """Return push-pull gossip of three versions with ten rounds a second."""
    params = {"updates": 3, "every_ns": 300 * MS, "period_ns": 100 * MS, "pull": 1}
    return bare(Gossip, params, nodes=nodes, horizon_ns=horizon_ms * MS, effects=_links())


def _changelog(
    nodes: int, rate: int, duration: str, drain: str, faults: list[dict[str, Any]], **policy: Any
) -> Scenario:
    names = ["leader", *(f"f{number}" for number in range(1, nodes))]
    document = {
        "title": "benchmark",
        "system": {"mode": "quorum", "replicas": [{"name": name} for name in names]},
        "network": {"links": {"default": {"delay": DELAY, "loss": "1%"}}},
        "workload": {"arrivals": f"poisson({rate}/s)", "duration": duration, "keys": 100, "skew": "zipf(0.99)"},
        "policy": {"timeout": "250ms", **policy},
        "faults": faults,
        "drain": drain,
    }
    return prepare(Experiment.model_validate(document))


def changelog(nodes: int = 10, rate: int = 100, duration: str = "2s", drain: str = "2s") -> Scenario:
    """Return a replicated changelog without faults."""
    return _changelog(nodes, rate, duration, drain, [])


def changelog_all(nodes: int = 10) -> Scenario:
    """Return the same changelog under every fault at once: nothing that the executors can do is switched off."""
    interval = {"at": "300ms", "for": "900ms"}
    faults: list[dict[str, Any]] = [
        {"partition": {"at": "500ms", "for": "400ms", "groups": [["leader", "f1", "f2", "f3", "f4"], ["f5", "f6"]]}},
        {"partition": {"at": "1s", "for": "300ms", "groups": [["f7"], ["leader"]], "direction": "one_way"}},
        {"crash": {"at": "400ms", "for": "500ms", "node": "f1"}},
        {"crash": {"at": "700ms", "for": "500ms", "node": "f2", "keep": "nothing"}},
        {"pause": {"at": "600ms", "for": "200ms", "node": "f3"}},
        {"duplicate": {**interval, "share": "5%"}},
        {"reorder": {**interval, "share": "5%", "by": "30ms"}},
        {"jitter": {**interval, "up_to": "10ms"}},
        {"drop": {**interval, "share": "2%"}},
        {"set": {"at": "1500ms", "mode": "bounded"}},
    ]
    world = _changelog(nodes, 100, "2s", "2s", faults, retry={"jitter": "decorrelated", "budget": "50%"})
    return replace(world, bursts=Bursts(500 * MS, 20 * MS, 0, 500_000), service_ns=50_000, inbox_limit=64)
