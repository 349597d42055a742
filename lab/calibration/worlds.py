"""The experiments of a calibration, made by code: probes of the bare network, and many short episodes of one fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lab.core.units import duration_text
from lab.spec.schema import Experiment

SECOND_NS = 1_000_000_000
RATE = "poisson(200/s)"
FAST_NS, SLOW_NS = 20_000_000, 60_000_000  # asked of links while their own share is measured: constants
RETRY_TIMEOUT_NS, RETRY_BACKOFF_NS = 100_000_000, 50_000_000
RETRY_LOSS = "30%"
LINK_DELAY = "uniform(low=10ms, high=30ms)"
LEAD_NS = 600_000_000  # before the first episode
MOMENT_NS = 100_000_000  # where nothing fails: longer than a message is on its way


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How long an episode lasts and when the next one begins, and how many there are for one that is asked for."""

    episode_ns: int
    period_ns: int
    count: float = 1


PLAIN = Rhythm(300_000_000, SECOND_NS)
# Over within 100 ms, and spread over tens of percent: many are needed for a median within 3 %, and many fit in.
BRIEF = Rhythm(100_000_000, 250_000_000, 8)
LONG = Rhythm(300_000_000, 2_200_000_000, 0.5)  # a container takes its time to start
RHYTHMS = {"drop": PLAIN, "partition": PLAIN, "crash": LONG}
SWITCHES = 8
_QUEUE = {"limit": 8192}  # nothing is refused
# In order of sequence an update would also wait for those before it, which the simulator adds by itself.
_AT_ONCE = {"ordering": "key", "queue": _QUEUE}
MODES = ("sync", "quorum", "bounded", "async")
KINDS = ("none", "delay", "jitter", "drop", "duplicate", "reorder", "partition", "crash", "pause")


@dataclass(frozen=True, slots=True)
class Base:
    """What is calibrated: the replicas (the first leads), how they talk, and the load, as an experiment file says."""

    replicas: tuple[tuple[str, str], ...] = (("leader", "go"), ("f1", "go"), ("f2", "rust"))  # (name, runtime)
    wire: str = "framed"
    arrivals: str = RATE

    @property
    def names(self) -> tuple[str, ...]:
        """Replica names; the first leads."""
        return tuple(name for name, _ in self.replicas)

    def experiment(self, title: str, duration_ns: int, **others: Any) -> Experiment:
        """Return an experiment on these replicas; `others` are further sections."""
        system: dict[str, Any] = {
            "mode": others.pop("mode", "quorum"),
            "wire": self.wire,
            "replicas": [{"name": name, "runtime": runtime} for name, runtime in self.replicas],
        }
        return Experiment.model_validate(
            {
                "title": title,
                "system": system,
                "workload": {"arrivals": self.arrivals, "duration": duration_text(duration_ns), "keys": 1000},
                "drain": "2s",
                **others,
            }
        )


def base_of(experiment: Experiment) -> Base:
    """Return what an experiment's replicas, wire and load are."""
    replicas = tuple((replica.name, str(replica.runtime)) for replica in experiment.system.replicas)
    arrivals = experiment.workload.model_dump(mode="json", by_alias=True)["arrivals"]
    return Base(replicas, experiment.system.wire, str(arrivals))


@dataclass(frozen=True, slots=True)
class Probe:
    """A run on links of constant delay. Every follower but `slow` is FAST_NS away, `slow` is SLOW_NS away, so that in
    the mode sync it is the one that decides when a write is released.
    """

    experiment: Experiment
    slow: str

    def asked_ns(self, follower: str) -> int:
        """Return the delay that was asked of a follower's links, each way."""
        return SLOW_NS if follower == self.slow else FAST_NS


def leg_probes(base: Base, duration_ns: int) -> list[Probe]:
    """Return a probe for the first follower of each runtime."""
    leader = base.names[0]
    runtimes: dict[str, str] = {}
    for name, runtime in base.replicas[1:]:
        runtimes.setdefault(runtime, name)
    probes = []
    for slow in runtimes.values():
        links = {"default": {"delay": duration_text(FAST_NS)}}
        links |= {f"{a}->{b}": {"delay": duration_text(SLOW_NS)} for a, b in ((leader, slow), (slow, leader))}
        experiment = base.experiment(
            f"calibration of the links of {slow}", duration_ns, mode="sync", network={"links": links},
            policy={"timeout": "2s", "reconcile_every": "0s", **_AT_ONCE},
        )  # fmt: skip
        probes.append(Probe(experiment, slow))
    return probes


def retry_probe(base: Base, duration_ns: int) -> Experiment:
    """Return a run in which a known share of the updates is lost on the way, so that timers decide when they come; in
    it links switch SWITCHES times between rows that do almost the same.
    """
    leader, *followers = base.names
    lossy = {"delay": duration_text(FAST_NS), "loss": RETRY_LOSS}
    step_ns = duration_ns // (SWITCHES + 1)
    faults = [
        {"reorder": {"at": duration_text((number + 1) * step_ns), "for": duration_text(step_ns // 2),
                     "links": [f"{follower}->{leader}" for follower in followers], "share": "0.1%", "by": "1ms"}}
        for number in range(SWITCHES)
    ]  # fmt: skip
    retry = {"attempts": 20, "backoff": "fixed", "base": duration_text(RETRY_BACKOFF_NS), "jitter": "none"}
    return base.experiment(
        "calibration of timers and switches", duration_ns, mode="async",
        network={"links": {"default": {"delay": duration_text(FAST_NS)},
                           **{f"{leader}->{follower}": lossy for follower in followers}}},
        policy={"timeout": duration_text(RETRY_TIMEOUT_NS), "retry": retry, "reconcile_every": "0s", **_AT_ONCE},
        faults=faults if base.wire == "framed" else [],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table: a kind of fault in a mode, `episodes` of it in each run."""

    kind: str
    mode: str
    experiment: Experiment
    moments_ns: tuple[int, ...]  # where nothing fails: when to ask how far the slowest replica is behind


def cases(base: Base, episodes: int, kinds: Sequence[str] = KINDS) -> list[Case]:
    """Return every kind in the mode quorum, and the calm in all modes."""
    found = [_calm(base, mode, episodes) for mode in MODES if "none" in kinds]
    return found + [_episodes(base, kind, episodes) for kind in kinds if kind != "none"]


def _world(base: Base, title: str, mode: str, duration_ns: int, faults: list[dict[str, Any]]) -> Experiment:
    return base.experiment(
        title, duration_ns, mode=mode, faults=faults, network={"links": {"default": {"delay": LINK_DELAY}}},
        # Reconciliation is off: its phase is decided at the start of a process, once a run and not once an episode.
        policy={"timeout": "200ms", "reconcile_every": "0s", "queue": _QUEUE,
                "retry": {"attempts": 20, "backoff": "fixed", "base": "50ms", "jitter": "full"}},
    )  # fmt: skip


def _calm(base: Base, mode: str, episodes: int) -> Case:
    duration_ns = LEAD_NS + episodes * SECOND_NS
    moments = tuple(range(LEAD_NS, duration_ns, MOMENT_NS))
    return Case("none", mode, _world(base, f"no fault, {mode}", mode, duration_ns, []), moments)


def _episodes(base: Base, kind: str, episodes: int) -> Case:
    rhythm = RHYTHMS.get(kind, BRIEF)
    count = max(1, int(episodes * rhythm.count))
    starts = [LEAD_NS + number * rhythm.period_ns for number in range(count)]
    duration_ns = LEAD_NS + count * rhythm.period_ns
    node = base.names[-1]
    by_kind: dict[str, dict[str, Any]] = {
        "delay": {"by": "40ms"},
        "jitter": {"up_to": "40ms"},
        "drop": {"share": "30%"},
        "duplicate": {"share": "50%"},
        "reorder": {"share": "20%", "by": "40ms"},
        "partition": {"groups": [list(base.names[:-1]), [node]]},
        "crash": {"node": node},
        "pause": {"node": node},
    }
    faults: list[dict[str, Any]] = [
        {kind: {"at": duration_text(at_ns), "for": duration_text(rhythm.episode_ns)} | by_kind[kind]}
        for at_ns in starts
    ]
    return Case(kind, "quorum", _world(base, f"episodes of {kind}", "quorum", duration_ns, faults), ())
