"""The mesh written as one would without this lab: by hand with heapq, and in the usual style of SimPy.

Both draw from `random.Random` in the order of execution and keep no trace: they do less than the executors, not more.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Generator
from statistics import NormalDist
from typing import Any

import simpy

from lab.engines.bench.worlds import LOSS_PPM, MEDIAN_NS, P99_NS, PERIOD_NS

MU = math.log(MEDIAN_NS)
SIGMA = math.log(P99_NS / MEDIAN_NS) / NormalDist().inv_cdf(0.99)
LOSS = LOSS_PPM / 1_000_000


def heapq_mesh(nodes: int, horizon_ns: int, seed: int) -> int:
    """Run the mesh in a hand-written loop over a heap of tuples; return the events handled."""
    rng = random.Random(seed)
    draw, below, lognormal = rng.random, rng.randrange, rng.lognormvariate
    push, pop = heapq.heappush, heapq.heappop
    queue: list[tuple[int, int, int, int, int]] = []
    heard, latest = [0] * nodes, [0] * nodes
    sequence = events = 0
    for node in range(nodes):
        push(queue, (int(draw() * PERIOD_NS), sequence, 0, node, 0))
        sequence += 1
    while True:
        now, _, is_message, node, number = pop(queue)
        if now >= horizon_ns:
            return events
        events += 1
        if is_message:
            heard[node] += 1
            if number > latest[node]:
                latest[node] = number
            continue
        peer = below(nodes - 1)
        if peer >= node:
            peer += 1
        if draw() >= LOSS:
            push(queue, (now + int(lognormal(MU, SIGMA)), sequence, 1, peer, number))
            sequence += 1
        push(queue, (now + PERIOD_NS, sequence, 0, node, number + 1))
        sequence += 1


def simpy_mesh(nodes: int, horizon_ns: int, seed: int) -> int:
    """Run the mesh as SimPy's documentation teaches: a process a node, a process a message, a Store as inbox."""
    rng = random.Random(seed)
    env = simpy.Environment()
    inboxes: list[Any] = [simpy.Store(env) for _ in range(nodes)]
    latest = [0] * nodes
    events = 0

    def deliver(peer: int, number: int) -> Generator[Any, Any, None]:
        yield env.timeout(int(rng.lognormvariate(MU, SIGMA)))
        yield inboxes[peer].put(number)

    def sender(node: int) -> Generator[Any, Any, None]:
        nonlocal events
        yield env.timeout(int(rng.random() * PERIOD_NS))
        number = 0
        while True:
            events += 1
            peer = rng.randrange(nodes - 1)
            peer += peer >= node
            if rng.random() >= LOSS:
                env.process(deliver(peer, number))
            number += 1
            yield env.timeout(PERIOD_NS)

    def receiver(node: int) -> Generator[Any, Any, None]:
        nonlocal events
        while True:
            number = yield inboxes[node].get()
            events += 1
            latest[node] = max(latest[node], number)

    for node in range(nodes):
        env.process(sender(node))
        env.process(receiver(node))
    env.run(until=horizon_ns)
    return events
