"""History: what happened in one run, in the same form whichever executor ran it.

Times are int64 nanoseconds from the start of the run; -1 means never. Replicas are numbered in the order of the
experiment
file, 0 leads. Nothing in a history says which executor made it except `plane` and `executor`, which only reports read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.int64]
NEVER = -1


def _no_rows() -> Column:
    return np.zeros(0, dtype=np.int64)


# Outcomes of an operation, as the client knows them.
UNKNOWN = 0  # no answer within the deadline: it may or may not have happened
ACKNOWLEDGED = 1
REJECTED = 2  # refused before it was stored: it never happened


@dataclass(frozen=True, slots=True)
class Operations:
    """The client's view, one row an operation; the row number is the operation's token."""

    intended_ns: Column
    key: Column
    outcome: Column
    acknowledged_ns: Column  # when the first acknowledgement reached the client
    attempts: Column

    def __len__(self) -> int:
        return len(self.intended_ns)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The ground truth: the leader's changelog, one row an update, in order of acceptance; `sequence` starts at 1.

    Normally gapless; a leader that lost its state may reuse sequences, then later rows win.
    """

    sequence: Column
    token: Column
    time_ns: Column

    def __len__(self) -> int:
        return len(self.sequence)


@dataclass(frozen=True, slots=True)
class Applies:
    """Effects at replicas, in the order in which each replica made them (rows of one replica are ordered)."""

    replica: Column
    sequence: Column
    token: Column
    time_ns: Column
    superseded: Column  # 1: taken into the log, but a newer update of the key was there, so the state did not change

    def __len__(self) -> int:
        return len(self.replica)


@dataclass(frozen=True, slots=True)
class Marks:
    """What else a protocol says of itself, in the order in which it happened: facts that it has named.

    `what` is an index into `names`; what `a` and `b` mean stands with the protocol. Replica n is the client.
    """

    names: tuple[str, ...] = ()
    replica: Column = field(default_factory=_no_rows)
    what: Column = field(default_factory=_no_rows)
    a: Column = field(default_factory=_no_rows)
    b: Column = field(default_factory=_no_rows)
    time_ns: Column = field(default_factory=_no_rows)

    def __len__(self) -> int:
        return len(self.what)

    def rows(self, *names: str) -> Column:
        """Return the rows of these facts in order; none if the protocol does not know them."""
        wanted = [number for number, name in enumerate(self.names) if name in names]
        return np.flatnonzero(np.isin(self.what, wanted))


@dataclass(frozen=True, slots=True)
class LinkCount:
    """Messages of one kind on one directed link (replica names; `client` for the client)."""

    source: str
    target: str
    kind: str
    sent: int
    delivered: int = 0
    lost: int = 0
    cut: int = 0
    down: int = 0
    overflow: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0  # arrived as garbage, and was discarded


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """One fault as it was in this run.

    `start_ns` and `stop_ns` are measured where a plane measures them, else as scheduled. `bit` is how often it was
    seen to act
    (messages cut, lost, delayed …; 1 for a crash that happened), None where it needs no evidence.
    """

    kind: str
    label: str
    start_ns: int
    stop_ns: int
    colour: str
    hatch: str
    bit: int | None
    healed: bool = True


@dataclass(frozen=True, slots=True)
class FinalState:
    """A replica at the end: the digest of its read state and the length of its gapless prefix."""

    replica: str
    digest: str
    prefix: int


@dataclass(frozen=True, slots=True)
class History:
    """One run. `losses` are (replica, time_ns) at which a replica lost all its state.

    `counters` are protocol counters summed over replicas. `truth_digest` is the digest that the ground truth implies.
    `invalid` is a sentence when the run cannot be judged (for example a proxy died), else "". `protocol` decides which
    metrics and checkers apply, `parameters` are what it was set to. `deadline_ns` is 0 for a protocol without a client.
    `crashes` are (replica, start_ns, stop_ns). `swaps` are those of the losses at which another store took the place:
    what the replica applied in the first nanosecond after came along with it.
    """

    plane: str
    executor: str
    seed: int
    replicas: tuple[str, ...]
    key_count: int
    deadline_ns: int
    horizon_ns: int
    quiet_ns: int
    operations: Operations
    accepted: Accepted
    applies: Applies
    faults: tuple[FaultRecord, ...]
    finals: tuple[FinalState, ...]
    truth_digest: str
    counters: dict[str, int]
    links: tuple[LinkCount, ...] = ()
    losses: tuple[tuple[int, int], ...] = ()
    event_count: int = 0
    trace_hash: str = ""
    invalid: str = ""
    notes: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    protocol: str = "changelog"
    parameters: dict[str, int] = field(default_factory=dict)
    marks: Marks = Marks()
    crashes: tuple[tuple[int, int, int], ...] = ()
    swaps: tuple[tuple[int, int], ...] = ()

    def digest(self) -> str:
        """Return the SHA-256 of everything a deterministic executor must repeat, in a form free of platform and
        order.
        """
        hasher = hashlib.sha256()
        header = (self.seed, self.replicas, self.key_count, self.deadline_ns, self.horizon_ns, self.quiet_ns)
        hasher.update(repr(header).encode())
        tables: list[Any] = [self.operations, self.accepted, self.applies, *([self.marks] if len(self.marks) else [])]
        for table in tables:
            for name in table.__slots__:
                if name == "names":
                    hasher.update(repr(self.marks.names).encode())
                    continue
                column = np.ascontiguousarray(getattr(table, name), dtype="<i8")
                hasher.update(name.encode() + len(column).to_bytes(8, "little") + column.tobytes())
        rest = (self.faults, self.finals, self.truth_digest, sorted(self.counters.items()), self.links, self.losses)
        hasher.update(repr((rest, self.event_count, self.trace_hash, self.invalid)).encode())
        return hasher.hexdigest()
