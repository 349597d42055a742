"""Queues against their exact laws: Poisson arrivals of the workload, service as link delays or as `service_ns`."""

from __future__ import annotations

from functools import lru_cache, partial
from math import exp, log

import numpy as np

from lab.core import quantiles
from lab.engines import compiled
from lab.engines.compiled import Columns
from validation.case import Case, Estimate, flawed, mean, ratio, seeds
from validation.protocols.station import REDUNDANT, SHARED, Station
from validation.protocols.storm import Storm
from validation.world import IDEAL, MS, SECOND, Leg, Table, constant, mixture, workload, world

GROUP = "queues"
SERVICE_NS = 10 * MS  # mean service time: the unit of the targets
JOBS_A_RUN = 50_000
WARM_UP = 5_000
ENDLESS = 1 << 40
TABLES = "; slack {} for the tables of gaps and service"


def _erlang2(x: float) -> float:
    rate = 0.2  # per ms: two phases of 5 ms
    return 1 - exp(-rate * x) * (1 + rate * x)


def _exponential(mean_ms: float, x: float) -> float:
    return 1 - exp(-x / mean_ms)


@lru_cache(maxsize=8)
def service(law: str) -> Table:
    """Return the table of a service law of mean 10 ms."""
    if law == "D":
        return constant(SERVICE_NS)
    if law == "U":
        return quantiles.uniform(0, 2 * SERVICE_NS)
    if law == "E2":
        return mixture([(1.0, _erlang2)], 0, 1000)
    if law == "H2":
        return mixture([(0.9, partial(_exponential, 5)), (0.1, partial(_exponential, 55))], 0, 10_000)
    return quantiles.exponential(SERVICE_NS)


@lru_cache(maxsize=64)
def station(servers: int, load: float, law: str, room: int, copies: int, long: float, key: int, n: int) -> Columns:
    """Return the runs of a station; `load` is arrivals per mean service time, `long` a time in service times."""
    params = {
        "discipline": REDUNDANT if copies else SHARED, "copies": copies, "room": room, "warm_up": WARM_UP,
        "long_ns": round(long * SERVICE_NS),
    }  # fmt: skip
    table = service(law)
    seconds = JOBS_A_RUN / (load * 100)
    scenario = world(
        Station, params, nodes=servers, horizon_ns=round((seconds + 1000) * SECOND),
        leg=lambda source, target: Leg(table) if source == servers and target < servers else IDEAL,
        workload=workload(f"poisson({load * 100:g}/s)", f"{round(seconds)}s"),
    )  # fmt: skip
    return compiled.run_many(scenario, seeds(key, max(4, n // JOBS_A_RUN)))


def per_job(
    counter: str, servers: int, load: float, law: str, room: int, copies: int, long: float, key: int, n: int
) -> Estimate:
    """Return a counter per counted operation; times in mean service times."""
    runs = station(servers, load, law, room, copies, long, key, n).counters
    unit = SERVICE_NS if counter.endswith("_ns") else 1
    return ratio(runs[counter] / unit, runs["jobs"])


def inside(servers: int, load: float, law: str, room: int, key: int, n: int) -> Estimate:
    """Return the mean number in the station over time."""
    runs = station(servers, load, law, room, 0, 1.0, key, n).counters
    return ratio(runs["area_ns"], runs["span_ns"])


def inbox_wait(load: float, key: int, n: int) -> Estimate:
    """Return the mean wait in the inbox of a node with `service_ns`, in service times."""
    seconds = JOBS_A_RUN / (load * 100)
    scenario = world(
        Storm, {"timeout_ns": 1 << 50, "attempts": 1}, nodes=1, horizon_ns=round((seconds + 100) * SECOND),
        workload=workload(f"poisson({load * 100:g}/s)", f"{round(seconds)}s"), service_ns=SERVICE_NS,
    )  # fmt: skip
    waits = []
    for history in compiled.histories(scenario, seeds(key, max(4, n // JOBS_A_RUN))):
        sojourn = history.operations.acknowledged_ns - history.operations.intended_ns
        waits.append(float(np.mean(sojourn[WARM_UP:])) / SERVICE_NS - 1)
    return mean(waits)


def _case(
    name: str,
    what: str,
    model: partial[Estimate],
    target: float,
    source: str,
    slack: float = 0.0,
    jobs: int = 2_000_000,
) -> Case:
    text = f"station protocol (queue at the client, service is a link's delay), Poisson workload; {what}"
    slack_text = TABLES.format(f"{slack:g}") if slack else ""
    return Case(name, GROUP, text + slack_text, source, model, target, full=jobs, small=200_000, slack=slack)


def _single() -> list[Case]:
    cases = []
    for load, target in ((0.5, 2.0), (0.8, 5.0), (0.9, 10.0)):
        long = log(100) / (1 - load)
        wait = log(100 * load) / (1 - load)
        cases += [
            _case(
                f"M/M/1 load {load}: mean sojourn", "mean sojourn in service times",
                partial(per_job, "sojourn_ns", 1, load, "M", ENDLESS, 0, long), target, "1 / (1 - load)",
                slack=0.003 * target, jobs=8_000_000,
            ),
            _case(
                f"M/M/1 load {load}: beyond p99", f"share of sojourns above {long:.3f} service times, the exact p99",
                partial(per_job, "long_sojourns", 1, load, "M", ENDLESS, 0, long), 0.01, "exponential sojourn",
                slack=0.0001, jobs=8_000_000,
            ),
            _case(
                f"M/M/1 load {load}: beyond p99 of wait", f"share of waits above {wait:.3f} service times, the p99",
                partial(per_job, "long_waits", 1, load, "M", ENDLESS, 0, wait), 0.01, "exponential wait",
                slack=0.0001, jobs=4_000_000,
            ),
        ]  # fmt: skip
    for law, target in (("D", 1.166667), ("E2", 1.75), ("U", 1.555556), ("H2", 7.583333)):
        cases.append(
            _case(
                f"M/G/1 load .7, {law}: mean wait", "mean wait in service times",
                partial(per_job, "wait_ns", 1, 0.7, law, ENDLESS, 0, 1.0), target, "Pollaczek-Khinchine",
                slack=0.003 * target, jobs=8_000_000,
            )
        )  # fmt: skip
    cases.append(
        Case(
            "M/D/1 load .7 in an inbox: mean wait", GROUP,
            "inbox of a node with service_ns, Poisson workload; mean wait in service times" + TABLES.format("0.0035"),
            "Pollaczek-Khinchine", partial(inbox_wait, 0.7), 1.166667, full=2_000_000, small=200_000, slack=0.0035,
        )
    )  # fmt: skip
    return cases


def _several() -> list[Case]:
    cases = []
    rows = [
        (2, 1.6, 0.711111, 1.777778, 10.6606), (3, 2.5, 0.702247, 1.404494, 8.5034),
        (5, 4.0, 0.554113, 0.554113, 4.0148), (10, 9.0, 0.668732, 0.668732, 4.2028),
    ]  # fmt: skip
    for servers, load, delayed, wait, long in rows:
        arguments = (servers, load, "M", ENDLESS, 0, long)
        name = f"M/M/{servers} load {load:g}"
        cases += [
            _case(
                f"{name}: delayed", "share that waits", partial(per_job, "delayed", *arguments), delayed, "Erlang C",
                slack=0.001,
            ),
            _case(
                f"{name}: mean wait", "mean wait in service times", partial(per_job, "wait_ns", *arguments), wait,
                "Erlang C", slack=0.004 * wait,
            ),
            _case(
                f"{name}: beyond p99 of wait", "share of waits above the exact p99",
                partial(per_job, "long_waits", *arguments), 0.01, "Erlang C", slack=0.0002,
            ),
        ]  # fmt: skip
    for load, room, lost, number in ((0.9, 10, 0.0508137, 3.969441), (1.5, 5, 0.3654135, 3.577444)):
        arguments = (1, load, "M", room, 0, 1.0)
        cases += [
            _case(
                f"M/M/1/{room} load {load}: refused", "share refused", partial(per_job, "refused", *arguments), lost,
                "birth-death chain", slack=0.0005,
            ),
            _case(
                f"M/M/1/{room} load {load}: number inside", "mean number inside",
                partial(inside, 1, load, "M", room), number, "birth-death chain", slack=0.003,
            ),
        ]  # fmt: skip
    gardner = [(3, 2, 0.5, 0.888889), (3, 3, 0.5, 0.666667), (5, 2, 0.7, 1.196908), (10, 2, 0.8, 1.410074)]
    for k, d, load, target in gardner:
        cases.append(
            _case(
                f"redundancy {d} of {k}, load {load}: mean sojourn", "mean sojourn; the first result cancels copies",
                partial(per_job, "sojourn_ns", k, round(k * load, 6), "M", ENDLESS, d, 1.0), target,
                "Gardner et al. 2017", slack=0.003 * target,
            )
        )  # fmt: skip
    return cases


CASES = [*_single(), *_several()]
CONTROLS = [
    flawed(
        _case(
            "control: load .85 for .8", "load .85 held against the sojourn of .8",
            partial(per_job, "sojourn_ns", 1, 0.85, "M", ENDLESS, 0, 1.0), 5.0, "1 / (1 - load)", slack=0.015,
        ),
        "load + 6 %",
    ),
    flawed(
        _case(
            "control: uniform for Erlang service", "uniform service held against the wait of Erlang service",
            partial(per_job, "wait_ns", 1, 0.7, "U", ENDLESS, 0, 1.0), 1.75, "Pollaczek-Khinchine", slack=0.005,
        ),
        "another law of the same mean",
    ),
]  # fmt: skip
