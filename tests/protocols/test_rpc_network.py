"""Remote calls over the network section: requests, replies and timeouts meet delays, loss and partitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lab.engines import compiled, reference
from lab.engines.scenario import prepare
from lab.history import ACKNOWLEDGED, History
from lab.run import units_of
from lab.spec.load import load_text
from validation.world import MS, SECOND


def latencies_ms(history: History) -> np.ndarray[Any, Any]:
    operations = history.operations
    done = operations.outcome == ACKNOWLEDGED
    return np.asarray((operations.acknowledged_ns - operations.intended_ns)[done] / MS)


def through(network: str, faults: str = "", section: str = "", seed: int = 1) -> History:
    """Return a run of an experiment file with two servers that take no time; both executors must agree on it."""
    content = f"""
title: calls over a network
system: {{ protocol: rpc, replicas: 2, rpc: {{ server: {{ law: constant, service: 0s }}, {section} }} }}
workload: {{ arrivals: poisson(100/s), duration: 4s, keys: 1000 }}
network: {{ {network} }}
faults: [ {faults} ]
"""
    made = prepare(load_text(content, "calls.yaml", Path(), units_of))
    history = compiled.run(made, seed)
    assert reference.run(made, seed).digest() == history.digest()
    return history


def test_calls_take_the_delay_of_their_links() -> None:
    assert set(latencies_ms(through("links: { }"))) == {0}
    assert set(latencies_ms(through("links: { default: { delay: 5ms } }"))) == {10}
    one_way = through("links: { default: { delay: 5ms }, r1->client: { delay: 20ms }, client->r2: { delay: 1ms } }")
    assert set(latencies_ms(one_way)) == {25, 6}
    mixed = through("links: { default: { delay: 5ms } }, base: { client->r1: 3ms }")
    assert set(latencies_ms(mixed)) == {13, 10}


def test_timeouts_meet_loss_and_partitions() -> None:
    quick = "timeout: { initial: 50ms }, retry: { attempts: 1 }, cancel: 'off'"
    for network in ("links: { default: { loss: 30% } }", "bursts: { good: 10ms, bad: 10ms, bad_loss: 60% }"):
        lossy = through(network, section=quick)
        share = lossy.counters["timeouts"] / len(lossy.operations)
        assert 0.4 < share < 0.6, "request and reply both arrive with .7 squared"
    cut = "partition: { at: 1s, for: 1s, groups: [[client], [r1]] }"
    stopped = through("links: { }", cut, quick)
    late = stopped.operations.outcome != ACKNOWLEDGED
    at_s = stopped.operations.intended_ns[late] / SECOND
    assert at_s.min() >= 1
    assert at_s.max() < 2
    assert stopped.counters["timeouts"] == late.sum() == stopped.faults[0].bit
    assert 0 < late.sum() < 70, "the balancer spares a server that does not answer"
    retried = through("links: { }", cut, "timeout: { initial: 50ms }")
    assert (retried.operations.outcome == ACKNOWLEDGED).all()


def test_a_hedge_goes_round_a_slow_link() -> None:
    network = "links: { default: { delay: 1ms } }"
    slow = "delay: { at: 1s, for: 2s, by: 100ms, links: [client->r1] }"
    plain, hedged = (
        through(network, slow, f"balance: random, hedge: {{ after: {after} }}") for after in ("0s", "10ms")
    )
    assert latencies_ms(plain).max() == 102
    assert latencies_ms(hedged).max() == 12
    assert hedged.counters["hedges"] == (latencies_ms(plain) > 10).sum() > 50


def test_of_other_protocols_the_links_of_the_client_stay_ideal() -> None:
    content = """
title: a store
system: { protocol: quorum, replicas: 3 }
workload: { arrivals: poisson(100/s), duration: 1s, keys: 10 }
network: { links: { default: { delay: 5ms } } }
faults: [ drop: { at: 0s, for: 1s, share: 100% } ]
"""
    history = compiled.run(prepare(load_text(content, "store.yaml", Path(), units_of)), 1)
    assert all(link.lost == 0 for link in history.links if "client" in (link.source, link.target))
    assert sum(link.lost for link in history.links) > 100
