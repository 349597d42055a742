"""Benches: one real replica among stand-ins, or a group of real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lab.core.changelog_state import ChangelogState, extend_prefix_hash, state_digest, update_payload
from tests.conformance.reconcilers import Reconciler
from tests.conformance.replicas import SETTINGS, Replica, free_port, merged
from tests.conformance.wires import LOOPBACK, StandIn

LEADER = "leader"
Changes = Mapping[str, dict[str, Any]]
Arguments = Mapping[str, Sequence[str]]


def payload(number: int, key: str | None = None) -> bytes:
    """Return the Update that test writes carry; ten keys unless one is named."""
    return update_payload(f"k{number % 10}" if key is None else key, b"value %d" % number, number)


def prefix_hash(payloads: Sequence[bytes]) -> int:
    """Return the hash of the changelog that holds these payloads."""
    reached = 0
    for sequence, data in enumerate(payloads, 1):
        reached = extend_prefix_hash(reached, sequence, data)
    return reached


def expected_digest(payloads: Sequence[bytes]) -> str:
    """Return the state digest of the changelog that holds these payloads."""
    reference = ChangelogState("sequence")
    for sequence, data in enumerate(payloads, 1):
        reference.store(sequence, data)
    return state_digest(reference.state)


class Workshop:
    """Makes replicas and stand-ins of one test, and takes all of them down."""

    def __init__(self, binaries: Mapping[str, Path], folder: Path) -> None:
        self.binaries, self.folder = binaries, folder
        self._stack = ExitStack()
        self._made = 0

    def close(self) -> None:
        self._stack.close()

    @staticmethod
    def port() -> int:
        """Return a free port of loopback."""
        return free_port()

    def replica(
        self, runtime: str, name: str, names: Sequence[str], ports: dict[str, tuple[int, int, int]], **changes: Any
    ) -> Replica:
        """Return a replica that is not started; `ports` has the peer, client and control port of each name."""
        others = [other for other in names if other != name and LEADER in (name, other)]
        settings = merged(
            SETTINGS,
            {
                "name": name,
                "index": list(names).index(name),
                "leader": LEADER,
                "replicas": list(names),
                "peers": {other: f"{LOOPBACK}:{ports[other][0]}" for other in others},
            },
        )
        self._made += 1
        folder = self.folder / f"{self._made}-{name}"
        made = Replica(self.binaries[runtime], folder, merged(settings, changes), ports[name])
        self._stack.callback(made.close)
        return made

    def stand_in(self, name: str, port: int, replica_port: int, *, reads: bool = True) -> StandIn:
        made = StandIn(name, port, replica_port, reads=reads)
        self._stack.callback(made.close)
        return made

    def leader(
        self, runtime: str, *, arguments: Sequence[str] = (), reads: bool = True, start: bool = True, **changes: Any
    ) -> LeaderBench:
        """Return a real leader with stand-ins for two followers, linked."""
        names = (LEADER, "f1", "f2")
        ports = {name: (free_port(), free_port(), free_port()) for name in names}
        replica = self.replica(runtime, LEADER, names, ports, **changes)
        replica.arguments = arguments
        followers = [self.stand_in(name, ports[name][0], replica.peer_port, reads=reads) for name in names[1:]]
        bench = LeaderBench(replica, *followers)
        if start:
            replica.start()
            bench.linked()
        return bench

    def follower(self, runtime: str, *, arguments: Sequence[str] = (), **changes: Any) -> FollowerBench:
        """Return a real follower with a stand-in for its leader, linked."""
        names = (LEADER, "f1", "f2")
        ports = {name: (free_port(), free_port(), free_port()) for name in names}
        replica = self.replica(runtime, "f1", names, ports, **changes)
        replica.arguments = arguments
        leader = self.stand_in(LEADER, ports[LEADER][0], replica.peer_port)
        replica.start()
        leader.linked()
        return FollowerBench(replica, leader)

    def group(
        self, *runtimes: str, only: Changes | None = None, arguments: Arguments | None = None, **changes: Any
    ) -> list[Replica]:
        """Return a started group of real replicas, the leader first. `only` and `arguments` are for single ones, by
        name.
        """
        names = (LEADER, *(f"f{number}" for number in range(1, len(runtimes))))
        ports = {name: (free_port(), free_port(), free_port()) for name in names}
        changes = {"reconcile_every_ns": 100_000_000, **changes}
        made = []
        for runtime, name in zip(runtimes, names, strict=True):
            its = merged(changes, (only or {}).get(name, {}))
            made.append(self.replica(runtime, name, names, ports, **its))
            made[-1].arguments = (arguments or {}).get(name, ())
        for replica in made:
            replica.start()
        return made

    def reconciler(self, group: Sequence[Replica], **changes: Any) -> Reconciler:
        """Return a started reconciler of a group."""
        self._made += 1
        folder = self.folder / f"{self._made}-reconciler"
        made = Reconciler(self.binaries["reconciler"], folder, group, **changes)
        self._stack.callback(made.close)
        made.launch()
        return made


class LeaderBench:
    """A leader and the stand-ins for its followers."""

    def __init__(self, replica: Replica, f1: StandIn, f2: StandIn) -> None:
        self.replica, self.f1, self.f2 = replica, f1, f2

    @property
    def followers(self) -> tuple[StandIn, StandIn]:
        return self.f1, self.f2

    def linked(self, connections: int = 1) -> None:
        for follower in self.followers:
            follower.linked(connections)


class FollowerBench:
    """A follower and the stand-in for its leader."""

    def __init__(self, replica: Replica, leader: StandIn) -> None:
        self.replica, self.leader = replica, leader
