"""Epidemics: rumour mongering (Demers et al.), anti-entropy against exact chains, infect-and-die gossip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from lab.core import quantiles
from lab.engines import compiled
from lab.engines.scenario import Scenario, bare
from lab.model.effects import LinkEffect
from lab.protocols import flood
from lab.protocols.epidemic import COIN, COUNTER, NEVER, PULL, PUSH, Epidemic
from lab.protocols.flood import Flood
from validation.case import Case, Estimate, mean, seeds, share
from validation.world import IDEAL, MS, SECOND, Leg, workload, world

GROUP = "epidemics"
DEMERS = "Demers et al. 1987, Epidemic Algorithms for Replicated Database Maintenance"
BOTH = PUSH | PULL
PERIOD_NS = 10 * MS
NODES = 500  # of epidemics with a clock a node
CLOCK_NS = 10 * MS  # mean time between the contacts of one node when clocks are Poisson
Column = NDArray[np.float64]


def spread(nodes: int, ways: int, stop: int, feedback: int, k: int, loss_ppm: int, rounds: int) -> Scenario:
    """Return one epidemic in synchronous rounds."""
    params = {"period_ns": PERIOD_NS, "ways": ways, "stop": stop, "feedback": feedback, "k": k}
    effects = [LinkEffect(loss_ppm=loss_ppm)]
    return bare(Epidemic, params, nodes=nodes, horizon_ns=rounds * PERIOD_NS + 1, effects=effects)


@lru_cache(maxsize=64)
def outcomes(
    nodes: int, ways: int, stop: int, feedback: int, k: int, loss_ppm: int, rounds: int, key: int, runs: int
) -> dict[str, Column]:
    """Return per run: residue (share never reached), sent (messages a node), last and mean round of first receipts."""
    scenario = spread(nodes, ways, stop, feedback, k, loss_ppm, rounds)
    found: dict[str, list[float]] = {"residue": [], "sent": [], "last": [], "mean": []}
    for history in compiled.histories(scenario, seeds(key, runs)):
        received = history.applies.time_ns // PERIOD_NS
        found["residue"].append(1 - len(received) / nodes)
        found["sent"].append(history.counters["sent"] / nodes)
        found["last"].append(float(received.max()))
        found["mean"].append(received.sum() / max(1, len(received) - 1))  # the source knew it at the start
    return {name: np.array(values) for name, values in found.items()}


def measured(
    what: str, nodes: int, ways: int, stop: int, feedback: int, k: int, loss_ppm: int, rounds: int, key: int, runs: int
) -> Estimate:
    """Return the mean of one of `outcomes`."""
    return mean(outcomes(nodes, ways, stop, feedback, k, loss_ppm, rounds, key, runs)[what])


def rare_residue(k: int, key: int, runs: int) -> Estimate:
    """Return the residue of pull with the error that the recomputed deviation of one run implies."""
    found = outcomes(1000, PULL, COUNTER, 0, k, 0, 40, key, runs)["residue"]
    return Estimate(float(found.mean()), 6e-5 / runs**0.5)


@lru_cache(maxsize=16)
def settled_runs(nodes: int, feedback: int, k: int, key: int, runs: int) -> Mapping[str, NDArray[np.int64]]:
    """Return the counters of rumours with a coin whose contacts do not wait for cycles."""
    table = quantiles.exponential(CLOCK_NS)
    params = {"period_ns": 0, "ways": PUSH, "stop": COIN, "feedback": feedback, "k": k}
    scenario = world(
        Epidemic, params, nodes=nodes, horizon_ns=100 * CLOCK_NS,
        leg=lambda source, target: Leg(table) if source == target else IDEAL,
    )  # fmt: skip
    return compiled.run_many(scenario, seeds(key, runs)).counters


def settled(nodes: int, feedback: int, k: int, what: str, key: int, runs: int) -> Estimate:
    """Return the residue or the updates sent a node; outbreaks that die at once are left out, as the equations do."""
    counters = settled_runs(nodes, feedback, k, key, runs)
    reached = counters["reached"]
    large = reached > nodes // 10
    if what == "residue":
        return mean(1 - reached[large] / nodes)
    return mean(counters["sent"][large] / nodes)


def clocked(nodes: int, ways: int, loss_ppm: int, what: str, key: int, runs: int) -> Estimate:
    """Return, in mean times between contacts, when everyone knew ("last") or the mean first receipt ("mean").

    A node's clock is its link to itself with exponential delay; all other links are immediate.
    """
    table = quantiles.exponential(CLOCK_NS)

    def leg(source: int, target: int) -> Leg:
        if source == target:
            return Leg(table)
        return Leg(loss_ppm=loss_ppm) if loss_ppm else IDEAL

    params = {"period_ns": 0, "ways": ways, "stop": NEVER, "feedback": 0, "k": 1}
    scenario = world(Epidemic, params, nodes=nodes, horizon_ns=50 * CLOCK_NS, leg=leg)
    values = []
    for history in compiled.histories(scenario, seeds(key, runs)):
        times = history.applies.time_ns
        assert len(times) == nodes
        values.append(times.max() if what == "last" else times.sum() / (nodes - 1))
    return mean(np.array(values) / CLOCK_NS)


def infect_and_die(nodes: int, fanout: int, loss_ppm: int, key: int, runs: int) -> Estimate:
    """Return the share never reached when every node forwards once, to `fanout` random others; large outbreaks only."""
    params = {"topology": flood.FANOUT, "width": fanout, "echo": 0, "reads_ppm": 0}
    effects = [LinkEffect(loss_ppm=loss_ppm)]
    scenario = bare(Flood, params, nodes=nodes, horizon_ns=2 * SECOND, effects=effects)
    scenario = replace(scenario, workload=workload("constant(1/s)", "1001ms"))
    reached = compiled.run_many(scenario, seeds(key, runs)).counters["receipts"]
    return mean(1 - reached[reached > nodes // 10] / nodes)


def everyone(nodes: int, constant: float, target: float, key: int, runs: int) -> Estimate:
    """Return the share of broadcasts that reach everyone with a mean fanout of ln n + constant."""
    share_ppm = round((log(nodes) + constant) / (nodes - 1) * 1e6)
    params = {"topology": flood.BINOMIAL, "width": share_ppm, "echo": 1, "reads_ppm": 0}
    scenario = bare(Flood, params, nodes=nodes, horizon_ns=2 * SECOND)

    scenario = replace(scenario, workload=workload("constant(1/s)", "1001ms"))
    reached = compiled.run_many(scenario, seeds(key, runs)).counters["receipts"]
    return share(int(np.count_nonzero(reached == nodes)), runs, target)


def residue(contacts: float) -> float:
    """Return the root below 1 of s = exp(-contacts (1 - s))."""
    s = 0.5
    for _ in range(200):
        s = exp(-contacts * (1 - s))
    return s


def _rumours() -> list[Case]:
    counter, coin, pull = (PUSH, COUNTER, 1), (PUSH, COIN, 0), (PULL, COUNTER, 0)
    rows = [
        ("push, feedback, counter 1", counter, 1, 0.1741, 1.746, 16.83, 9.79),
        ("push, feedback, counter 4", counter, 4, 0.003549, 5.636, 17.57, 10.05),
        ("push, feedback, counter 5", counter, 5, 0.001276, 6.682, 17.71, 10.07),
        ("push, blind, coin 1", coin, 1, 0.960, 0.040, 39.1, 20.0),
        ("push, blind, coin 2", coin, 2, 0.2046, 1.590, 32.8, 15.7),
        ("push, blind, coin 3", coin, 3, 0.0597, 2.822, 31.7, 13.3),
        ("push, blind, coin 4", coin, 4, 0.01995, 3.921, 32.1, 12.4),
        ("push, blind, coin 5", coin, 5, 0.00703, 4.965, 32.4, 11.9),
        ("pull, feedback, counter 3", pull, 3, 3.8e-6, 6.087, 13.96, 10.07),
    ]  # fmt: skip
    cases = []
    for name, (ways, stop, feedback), k, s, m, last, average in rows:
        text = f"epidemic protocol, 1000 nodes, synchronous cycles, {name}; "
        arguments = (1000, ways, stop, feedback, k, 0, 120 if ways == PUSH else 40)
        targets = [
            ("residue", s, "share never reached"), ("sent", m, "updates sent / n"),
            ("last", last, "cycle of the last first receipt"),
        ]  # fmt: skip
        if name.startswith("pull"):
            targets = targets[1:]
        targets.append(("mean", average, "mean cycle of first receipts"))
        for what, target, told in targets:
            digits = len(f"{target:g}".partition(".")[2])
            cases.append(
                Case(
                    f"rumour {name}: {what}", GROUP, text + told, DEMERS + ", Tables 1-3, recomputed",
                    partial(measured, what, *arguments), target, full=2000, small=16,
                    target_error=0.5 * 10**-digits,
                )
            )  # fmt: skip
    cases.append(
        Case(
            "rumour pull, feedback, counter 3: residue", GROUP,
            "epidemic protocol, 1000 nodes, synchronous cycles, pull, feedback, counter 3; share never reached",
            DEMERS + ", Table 3, recomputed", partial(rare_residue, 3), 3.8e-6, full=2000, small=16,
            target_error=0.05e-6,
        )
    )  # fmt: skip
    return cases


def _coins() -> list[Case]:
    text = f"epidemic protocol, {NODES} nodes with Poisson clocks, push, {{}}, coin {{}}; {{}}; slack for the size"
    cases = []
    for feedback, name, offset, ks in ((1, "feedback", 1, (1, 2, 3, 4)), (0, "blind", 0, (2, 3, 4))):
        for k in ks:
            s = residue(k + offset)
            for what, target, told in (("residue", s, "share never reached"), ("sent", -log(s), "updates sent / n")):
                cases.append(
                    Case(
                        f"rumour without cycles, {name}, coin {k}: {what}", GROUP, text.format(name, k, told),
                        DEMERS + f": s = exp(-(k{' + 1' if offset else ''}) (1 - s)) = exp(-m)",
                        partial(settled, NODES, feedback, k, what), target, full=400, small=8,
                        slack=0.005 if what == "residue" else 0.01 * target,
                    )
                )  # fmt: skip
    return cases


def _chains() -> list[Case]:
    rows = [
        (16, 0.0, 7.4138, 6.1403, 4.1530), (100, 0.0, 12.3045, 9.7932, 6.5286), (100, 0.1, 13.4465, 11.0367, None),
        (100, 0.3, 16.7072, 14.4178, None), (256, 0.0, 14.6700, 11.4632, 7.6287), (1000, 0.0, 18.0383, 13.7671, None),
        (1000, 0.1, 19.7121, 15.7695, None),
    ]  # fmt: skip
    cases = []
    for nodes, loss, *targets in rows:
        for name, ways, target in zip(("push", "pull", "push-pull"), (PUSH, PULL, BOTH), targets, strict=True):
            if target is None:
                continue
            # A pull is a request and an answer: each is lost so often that the contact is lost with the share given.
            a_message = 1 - (1 - loss) ** 0.5 if ways == PULL else loss
            arguments = (nodes, ways, NEVER, 0, 1, round(a_message * 1e6), 60)
            text = f"epidemic protocol, {nodes} nodes, {name} anti-entropy, contact lost with {loss:g}; "
            cases.append(
                Case(
                    f"broadcast by {name}, n={nodes}, loss {loss:g}: rounds", GROUP, text + "rounds until all know",
                    "exact Markov chain", partial(measured, "last", *arguments), target,
                    full=3000 if nodes < 1000 else 1000, small=100 if nodes < 1000 else 20,
                )
            )  # fmt: skip
    receipts = [
        (16, 0.0, 4.1262), (100, 0.0, 6.7572), (100, 0.1, 7.3354), (100, 0.3, 8.9853), (256, 0.0, 8.1094),
        (1000, 0.0, 10.0725), (1000, 0.1, 10.9163),
    ]  # fmt: skip
    for nodes, loss, target in receipts:
        for name, ways in (("push", PUSH), ("pull", PULL)):
            a_message = 1 - (1 - loss) ** 0.5 if ways == PULL else loss
            arguments = (nodes, ways, NEVER, 0, 1, round(a_message * 1e6), 60)
            cases.append(
                Case(
                    f"broadcast by {name}, n={nodes}, loss {loss:g}: mean receipt", GROUP,
                    f"epidemic protocol, {nodes} nodes, {name}, contact lost with {loss:g}; mean round of receipts",
                    "exact Markov chain", partial(measured, "mean", *arguments), target,
                    full=3000 if nodes < 1000 else 1000, small=100 if nodes < 1000 else 20,
                )
            )  # fmt: skip
    return cases


def _clocks() -> list[Case]:
    text = "epidemic protocol, {} nodes with Poisson clocks (self-links of exponential delay), {}, loss {}; {}"
    harmonic = {nodes: sum(1 / i for i in range(1, nodes)) for nodes in (16, 40, 100, 256)}
    last = {nodes: 2 * (nodes - 1) / nodes * harmonic[nodes] for nodes in harmonic}
    rows = [
        (16, "push", PUSH, 0.0, "last", last[16]), (40, "push", PUSH, 0.0, "last", last[40]),
        (100, "push", PUSH, 0.0, "last", last[100]), (100, "pull", PULL, 0.0, "last", last[100]),
        (256, "push", PUSH, 0.0, "last", last[256]),
        (40, "push-pull", BOTH, 0.0, "last", last[40] / 2), (40, "push", PUSH, 0.3, "last", last[40] / 0.7),
        (40, "push", PUSH, 0.0, "mean", harmonic[40]),
    ]  # fmt: skip
    return [
        Case(
            f"Poisson clocks, {name}, n={nodes}, loss {loss:g}: {what}", GROUP,
            text.format(nodes, name, f"{loss:g}", what + " receipt in mean times between contacts"),
            "2 (n-1)/n H(n-1) / (1 - loss), halved for push-pull; mean H(n-1)",
            partial(clocked, nodes, ways, round(loss * 1e6), what), target, full=500 if nodes < 100 else 200,
            small=60 if nodes < 100 else 10,
        )
        for nodes, name, ways, loss, what, target in rows
    ]  # fmt: skip


def _gossip() -> list[Case]:
    text = "flood protocol, {} nodes, every node forwards once to {} random others, loss {:g}; share never reached"
    rows = [(2, 0.0, 1000), (3, 0.0, 1000), (5, 0.0, 1000), (3, 0.2, 1000)]
    cases = [
        Case(
            f"infect and die, fanout {fanout}, loss {loss:g}: residue", GROUP, text.format(nodes, fanout, loss),
            "s = exp(-f (1-p) (1-s)); slack .002 for 1000 nodes",
            partial(infect_and_die, nodes, fanout, round(loss * 1e6)),
            residue(fanout * (1 - loss)), full=4000, small=60, slack=0.002, confidence="B",
        )
        for fanout, loss, nodes in rows
    ]  # fmt: skip
    cases += [
        Case(
            f"gossip to ln n + {c} others: everyone reached", GROUP,
            f"flood protocol, 1000 nodes, binomial fanout of mean ln n + {c}; slack .02 for 1000 nodes",
            "Erdos-Renyi limit exp(-exp(-c)); Kermarrec, Massoulie & Ganesh 2003", partial(everyone, 1000, c, target),
            target, full=2000, small=60, slack=0.02, confidence="B",
        )
        for c, target in ((0, 0.3679), (1, 0.6922), (2, 0.8734))
    ]  # fmt: skip
    return cases


CASES = [*_rumours(), *_coins(), *_chains(), *_clocks(), *_gossip()]
CONTROLS = [
    Case(
        "control: loss of 20 % for 10 %", GROUP, "loss .2 held against the target of .1", "exact Markov chain",
        partial(measured, "last", 100, PUSH, NEVER, 0, 1, 200_000, 60), 13.4465, full=400, small=400,
        flaw="loss doubled",
    ),
    Case(
        "control: counter of 4 for 5", GROUP, "k = 4 held against the target of k = 5", DEMERS,
        partial(measured, "sent", 1000, PUSH, COUNTER, 1, 4, 0, 120), 6.682, full=60, small=60, flaw="k - 1",
    ),
    Case(
        "control: blind for feedback", GROUP, "a coin without feedback held against the equation with it", DEMERS,
        partial(settled, 400, 0, 2, "residue"), residue(3), full=20, small=20, slack=0.01, flaw="no feedback",
    ),
    Case(
        "control: fanout 2 for 3", GROUP, "fanout 2 held against the target of 3", "s = exp(-f (1-s))",
        partial(infect_and_die, 1000, 2, 0), residue(3), full=60, small=60, slack=0.002, flaw="fanout - 1",
    ),
]  # fmt: skip
