"""Small histories by hand, and a plain replicated store that makes random ones, correct or with one known bug."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

import numpy as np

from lab.history import ACKNOWLEDGED, NEVER, UNKNOWN, Accepted, Applies, FaultRecord, FinalState, History, Operations

LEADER = 0
BUGS = {
    "skips_last": {"convergence"},
    "applies_twice": {"duplicate_effects", "order"},
    "stores_twice": {"duplicate_effects"},
    "applies_as_it_comes": {"order", "digests"},
    "forgets_acknowledged": {"lost_updates"},
    "never_accepted": {"lost_updates"},
    "invents": {"invented"},
    "wrong_state": {"digests"},
}


def column(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def fault(
    start_ns: int, stop_ns: int, *, bit: int | None = 1, healed: bool = True, kind: str = "partition"
) -> FaultRecord:
    return FaultRecord(kind, f"{kind} from {start_ns}", start_ns, stop_ns, "#000000", "", bit, healed)


@dataclass
class Builder:
    """Collects what happened; `build` sorts it as executors do. The leader applies what it accepts at once."""

    replicas: tuple[str, ...] = ("leader", "f1", "f2")
    key_count: int = 8
    horizon_ns: int = 1000
    deadline_ns: int = 200
    operations: list[tuple[int, int, int, int]] = field(default_factory=list)
    accepted: list[tuple[int, int, int]] = field(default_factory=list)
    applies: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    faults: list[FaultRecord] = field(default_factory=list)
    losses: list[tuple[int, int]] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    digests: dict[str, str] = field(default_factory=dict)
    prefixes: dict[str, int] = field(default_factory=dict)
    invalid: str = ""

    def intend(self, at_ns: int, key: int = 0, *, acknowledged_ns: int = NEVER, outcome: int | None = None) -> int:
        """Add an operation; return its token."""
        known = (ACKNOWLEDGED if acknowledged_ns != NEVER else UNKNOWN) if outcome is None else outcome
        self.operations.append((at_ns, key, known, acknowledged_ns))
        return len(self.operations) - 1

    def accept(self, token: int, at_ns: int, sequence: int | None = None) -> int:
        """Let the leader accept a token; return its sequence."""
        sequence = len(self.accepted) + 1 if sequence is None else sequence
        self.accepted.append((sequence, token, at_ns))
        self.apply(LEADER, sequence, token, at_ns)
        return sequence

    def apply(self, replica: int, sequence: int, token: int, at_ns: int, superseded: int = 0) -> None:
        self.applies.append((replica, sequence, token, at_ns, superseded))

    def write(self, at_ns: int, applied_ns: list[int | None], key: int = 0, acknowledged_ns: int | None = None) -> int:
        """Add an operation accepted at once and applied at the followers at `applied_ns` (None: never); return its
        token.
        """
        token = self.intend(at_ns, key, acknowledged_ns=at_ns if acknowledged_ns is None else acknowledged_ns)
        sequence = self.accept(token, at_ns)
        for follower, time_ns in enumerate(applied_ns, start=1):
            if time_ns is not None:
                self.apply(follower, sequence, token, time_ns)
        return token

    def state(self, replica: int) -> dict[int, tuple[int, int]]:
        """Return {key: (sequence, token)} at the end, replayed in the plainest way."""
        happened = [(row[3], 0, place, row) for place, row in enumerate(self.applies) if row[0] == replica]
        happened += [(at_ns, 1, 0, (replica, 0, 0, at_ns, 0)) for who, at_ns in self.losses if who == replica]
        state: dict[int, tuple[int, int]] = {}
        for at_ns, what, _, (_, sequence, token, _, superseded) in sorted(happened):
            if at_ns > self.horizon_ns:
                continue
            if what == 1:
                state.clear()
            elif not superseded and 0 <= token < len(self.operations):
                state[self.operations[token][1]] = (sequence, token)
        return state

    def truth(self) -> dict[int, tuple[int, int]]:
        state: dict[int, tuple[int, int]] = {}
        for sequence, token, _ in self.accepted:
            if 0 <= token < len(self.operations):
                key = self.operations[token][1]
                if sequence >= state.get(key, (0, 0))[0]:
                    state[key] = (sequence, token)
        return state

    def build(self) -> History:
        rows = sorted(self.applies, key=lambda row: row[3])
        finals = [
            FinalState(
                name, self.digests.get(name, digest(self.state(index))), self.prefixes.get(name, len(self.accepted))
            )
            for index, name in enumerate(self.replicas)
            if name not in self.silent
        ]
        operations = [column([row[place] for row in self.operations]) for place in range(4)]
        return History(
            plane="sim",
            executor="hand",
            seed=1,
            replicas=self.replicas,
            key_count=self.key_count,
            deadline_ns=self.deadline_ns,
            horizon_ns=self.horizon_ns,
            quiet_ns=max([fault.stop_ns for fault in self.faults], default=0),
            operations=Operations(*operations, np.ones(len(self.operations), dtype=np.int64)),
            accepted=Accepted(*(column([row[place] for row in self.accepted]) for place in range(3))),
            applies=Applies(*(column([row[place] for row in rows]) for place in range(5))),
            faults=tuple(self.faults),
            finals=tuple(finals),
            truth_digest=digest(self.truth()),
            counters=self.counters,
            losses=tuple(self.losses),
            invalid=self.invalid,
        )


def digest(state: dict[int, tuple[int, int]]) -> str:
    return hashlib.sha256(repr(sorted(state.items())).encode()).hexdigest()


def good() -> Builder:
    """Return a run that every checker accepts: one partition under load, everything arrives."""
    builder = Builder()
    builder.write(50, [60, 60], key=1)
    builder.write(150, [160, 310], key=1)
    builder.write(250, [260, 310], key=2)
    builder.write(400, [410, 410], key=1)
    builder.faults.append(fault(100, 300))
    builder.counters.update(transmissions=12, retries=4, repairs=2, bytes=1200, out_of_order=0)
    return builder


def store(seed: int, bug: str = "") -> History:
    """Run a toy replicated store: a leader, two or three followers, a partition, sometimes a follower that loses its
    state.

    Followers keep the newest update of each key and note older ones as superseded. Every message arrives before the
    horizon.
    """
    luck = random.Random(seed)
    names = tuple(["leader"] + [f"f{place}" for place in range(1, luck.randint(3, 4))])
    start_ns, stop_ns = 2000, 2000 + luck.randint(500, 3000)
    builder = Builder(names, key_count=luck.randint(2, 5), horizon_ns=20_000, deadline_ns=1000)
    builder.faults.append(fault(start_ns, stop_ns))
    wiped = luck.random() < 0.5
    loss_ns = luck.randint(2500, 4000)
    if wiped:
        builder.losses.append((1, loss_ns))
    arrivals: list[tuple[int, int, int, int]] = []
    for _ in range(luck.randint(30, 60)):
        builder.intend(luck.randint(0, 8000), luck.randrange(builder.key_count))
    builder.intend(start_ns + 1, 0)
    builder.operations.sort()
    for token, (at_ns, key, _, _) in enumerate(builder.operations):
        times = [token] * (2 if bug == "stores_twice" and token == 7 else 1)
        for _ in times:
            sequence = builder.accept(token, at_ns)
            for follower in range(1, len(names)):
                came_ns = at_ns + luck.randint(10, 400)
                if follower == len(names) - 1 and start_ns <= came_ns < stop_ns:
                    came_ns = stop_ns + luck.randint(10, 400)
                arrivals.append((came_ns, follower, sequence, token))
                if wiped and follower == 1 and came_ns <= loss_ns:
                    arrivals.append((loss_ns + luck.randint(100, 900), follower, sequence, token))
        builder.operations[token] = (at_ns, key, ACKNOWLEDGED, at_ns + luck.randint(1, 300))
    _deliver(builder, sorted(arrivals), wiped, loss_ns, bug)
    _break_leader(builder, bug)
    return builder.build()


def _deliver(builder: Builder, arrivals: list[tuple[int, int, int, int]], wiped: bool, loss_ns: int, bug: str) -> None:
    newest: dict[tuple[int, int, bool], int] = {}
    skipped = (2, arrivals[-1][2]) if bug == "skips_last" else None
    for came_ns, follower, sequence, token in arrivals:
        if (follower, sequence) == skipped:
            continue
        key = builder.operations[token][1]
        life = (follower, key, wiped and follower == 1 and came_ns > loss_ns)
        older = sequence < newest.get(life, 0)
        newest[life] = max(sequence, newest.get(life, 0))
        builder.apply(follower, sequence, token, came_ns, int(older and bug != "applies_as_it_comes"))
        if bug == "applies_twice" and follower == 2 and token == 5:
            builder.apply(follower, sequence, token, came_ns, int(older))
            builder.apply(follower, sequence, token, came_ns, 0)


def _break_leader(builder: Builder, bug: str) -> None:
    if bug == "forgets_acknowledged":
        builder.losses.append((LEADER, 5000))
    elif bug == "never_accepted":
        builder.intend(8000, 0, acknowledged_ns=8100)
    elif bug == "invents":
        token = builder.intend(8000, 0)
        builder.apply(1, 999, token, 9000, 1)
    elif bug == "wrong_state":
        builder.digests["f1"] = digest({0: (1, 1)})
