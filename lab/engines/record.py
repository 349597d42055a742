"""From what an executor saw to a `History`: the one place where simulated runs become histories."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab import history
from lab.engines.refusals import notes
from lab.engines.scenario import Scenario
from lab.faults import Fault
from lab.history import Accepted, Applies, Column, FaultRecord, FinalState, History, LinkCount, Marks, Operations
from lab.model.effects import Keep
from lab.model.workload import spike_operations
from lab.protocols import form, name_of

# Columns of a link's counters, kept per (source, target, message kind) for the history …
SENT, DELIVERED, LOST, CUT_OFF, DOWN, DUPLICATED, REORDERED, OVERFLOW, CORRUPTED = range(9)
COUNTER_COLUMNS = 9
# … and of its evidence, kept per (epoch, source, target): what happened to messages sent in an epoch.
E_CUT, E_LOST, E_DUPLICATED, E_REORDERED, E_DELAYED, E_CORRUPTED, E_HELD = range(7)
EVIDENCE_COLUMNS = 7
EVIDENCE_COLUMN = {
    "cut": E_CUT, "lost": E_LOST, "duplicated": E_DUPLICATED, "reordered": E_REORDERED, "delayed": E_DELAYED,
    "corrupted": E_CORRUPTED, "held": E_HELD,
}  # fmt: skip


@dataclass(slots=True)
class Raw:
    """What an executor hands over. `observations` rows are (time_ns, node, what, a, b) in the order they happened;
    `finals` are (digest of the read state, gapless prefix) a replica.
    """

    seed: int
    executor: str
    intended_ns: Column
    keys: Column
    observations: Column
    counters: Mapping[str, int]
    links: Mapping[tuple[int, int, int], Sequence[int]]
    evidence: Mapping[tuple[int, int, int], Sequence[int]]
    finals: Sequence[tuple[str, int]]
    event_count: int
    trace_hash: int
    kept: Sequence[int] = ()  # messages that each stage of the scenario has kept back
    reads: Sequence[int] = ()  # how often each wrong clock was read


def build(scenario: Scenario, raw: Raw) -> History:
    """Return the history of a simulated run."""
    table = raw.observations
    replica_count = len(scenario.names) - 1
    accepted = table[table[:, 2] == form.ACCEPTED]
    applied = table[(table[:, 2] == form.APPLIED) | (table[:, 2] == form.SUPERSEDED)]
    wiped = table[table[:, 2] == form.WIPED]
    names = list(scenario.names)
    return History(
        plane="sim",
        executor=raw.executor,
        seed=raw.seed,
        replicas=scenario.names[:replica_count],
        key_count=scenario.key_count,
        deadline_ns=scenario.workload.client.deadline if scenario.workload else 0,
        horizon_ns=scenario.horizon_ns,
        quiet_ns=scenario.quiet_ns,
        operations=_operations(raw, table),
        accepted=Accepted(accepted[:, 3].copy(), accepted[:, 4].copy(), accepted[:, 0].copy()),
        applies=Applies(
            applied[:, 1].copy(),
            applied[:, 3].copy(),
            applied[:, 4].copy(),
            applied[:, 0].copy(),
            (applied[:, 2] == form.SUPERSEDED).astype(np.int64),
        ),
        faults=tuple(_fault_record(index, fault, scenario, raw) for index, fault in enumerate(scenario.faults)),
        finals=tuple(
            FinalState(name, digest, prefix)
            for name, (digest, prefix) in zip(scenario.names[:replica_count], raw.finals, strict=True)
        ),
        truth_digest=_truth_digest(accepted, raw.keys, scenario.key_count),
        counters=dict(raw.counters),
        links=_links(scenario, raw.links),
        losses=tuple((int(row[1]), int(row[0])) for row in wiped),
        event_count=raw.event_count,
        trace_hash=f"{raw.trace_hash:016x}",
        notes=notes(scenario.experiment) if scenario.experiment else (),
        protocol=name_of(scenario.protocol),
        parameters={name: int(value) for name, value in scenario.params._asdict().items()},
        marks=_marks(scenario, table),
        crashes=tuple(
            (names.index(outage.node), outage.start_ns, outage.stop_ns)
            for outage in scenario.outages
            if outage.keep is not None
        ),
    )


def _marks(scenario: Scenario, table: Column) -> Marks:
    """Return the facts that the protocol has named."""
    codes = scenario.protocol.marks
    rows = table[table[:, 2] >= form.MARKS_FROM]
    number = np.full(form.MARKS_TO + 1, -1, dtype=np.int64)
    number[list(codes.values())] = range(len(codes))
    what = number[rows[:, 2]]
    if len(what) and what.min() < 0:
        unnamed = int(rows[int(np.argmin(what)), 2])
        raise ValueError(f"protocol {scenario.protocol.__name__} observes {unnamed}, which it names nowhere in `marks`")
    return Marks(
        names=tuple(codes),
        replica=rows[:, 1].copy(),
        what=what,
        a=rows[:, 3].copy(),
        b=rows[:, 4].copy(),
        time_ns=rows[:, 0].copy(),
    )


def _operations(raw: Raw, table: Column) -> Operations:
    count = len(raw.keys)
    outcome = np.zeros(count, dtype=np.int64)
    acknowledged_ns = np.full(count, history.NEVER, dtype=np.int64)
    answered = table[table[:, 2] == form.ACKNOWLEDGED]
    outcome[answered[:, 3]] = history.ACKNOWLEDGED
    acknowledged_ns[answered[:, 3]] = answered[:, 0]
    outcome[table[table[:, 2] == form.REJECTED][:, 3]] = history.REJECTED
    return Operations(
        intended_ns=raw.intended_ns,
        key=raw.keys,
        outcome=outcome,
        acknowledged_ns=acknowledged_ns,
        attempts=np.bincount(table[table[:, 2] == form.ATTEMPTED][:, 3], minlength=count).astype(np.int64),
    )


def _hash_state(keys: Column, sequences: Column, tokens: Column) -> str:
    rows = np.ascontiguousarray(np.stack([keys, sequences, tokens], axis=1), dtype="<i8")
    return hashlib.sha256(rows.tobytes()).hexdigest()


def final_state(fields: Mapping[str, Any], read_state: Sequence[str] = ()) -> tuple[str, int]:
    """Return (digest of the read state, gapless prefix) of a replica from its fields.

    The read state of a changelog is (key, sequence, token) by key; of any other protocol it is what it names in
    `read_state`, or all of its fields.
    """
    if "key_sequence" not in fields:
        hasher = hashlib.sha256()
        for name, values in fields.items():
            if read_state and name not in read_state:
                continue
            hasher.update(name.encode() + np.asarray(values, dtype="<i8").tobytes())
        return hasher.hexdigest(), 0
    sequences = np.asarray(fields["key_sequence"], dtype=np.int64)
    keys = np.flatnonzero(sequences)
    reached = sequences[keys]
    tokens = np.asarray(fields["log_token"], dtype=np.int64)[reached] - 1
    return _hash_state(keys, reached, tokens), int(np.ravel(fields["prefix"])[0])


def _truth_digest(accepted: Column, operation_keys: Column, key_count: int) -> str:
    """Return the digest that the accepted updates imply: per key the highest sequence."""
    # Rows are in order of acceptance and a stable sort keeps it, so of equal sequences the last one wins.
    order = np.argsort(accepted[:, 3], kind="stable")
    sequence_of = np.zeros(key_count, dtype=np.int64)
    token_of = np.zeros(key_count, dtype=np.int64)
    tokens = accepted[order, 4]
    sequence_of[operation_keys[tokens]] = accepted[order, 3]
    token_of[operation_keys[tokens]] = tokens
    keys = np.flatnonzero(sequence_of)
    return _hash_state(keys, sequence_of[keys], token_of[keys])


def _links(scenario: Scenario, counts: Mapping[tuple[int, int, int], Sequence[int]]) -> tuple[LinkCount, ...]:
    names = scenario.names
    return tuple(
        LinkCount(
            source="all" if scenario.shares_links else names[source],
            target="all" if scenario.shares_links else names[target],
            kind=scenario.protocol.kinds[kind],
            sent=row[SENT],
            delivered=row[DELIVERED],
            lost=row[LOST],
            cut=row[CUT_OFF],
            down=row[DOWN],
            overflow=row[OVERFLOW],
            duplicated=row[DUPLICATED],
            reordered=row[REORDERED],
            corrupted=row[CORRUPTED],
        )
        for (source, target, kind), row in sorted(counts.items())
    )


def _fault_record(index: int, fault: Fault, scenario: Scenario, raw: Raw) -> FaultRecord:
    return FaultRecord(
        kind=fault.kind,
        label=fault.label(),
        start_ns=fault.start_ns,
        stop_ns=fault.stop_ns,
        colour=fault.colour,
        hatch=fault.hatch,
        bit=_bit(index, fault, scenario, raw),
    )


def _bit(index: int, fault: Fault, scenario: Scenario, raw: Raw) -> int | None:
    """Return how often the fault acted: messages it touched on its links or at its node while it lasted, reads of its
    clock, operations it added; 1 for an outage that happened.
    """
    if fault.outages():
        return int(all(outage.stop_ns <= scenario.horizon_ns for outage in fault.outages()))
    if fault.inside():
        return _inside(index, scenario, raw)
    if fault.spikes() and scenario.workload is not None:
        places = [number for number, owner in enumerate(scenario.spike_faults, start=1) if owner == index]
        first = len(scenario.workload.spikes) - len(scenario.spike_faults)
        return sum(spike_operations(scenario.workload, first + place, raw.seed) for place in places)
    if not fault.shows():
        return None
    column, boundaries = EVIDENCE_COLUMN[fault.shows()], scenario.plan.boundaries_ns
    return sum(
        row[column]
        for (epoch, source, target), row in raw.evidence.items()
        if fault.start_ns <= boundaries[epoch] < fault.stop_ns
        and fault.link_effect(scenario.names[source], scenario.names[target]) is not None
    )


def _inside(index: int, scenario: Scenario, raw: Raw) -> int | None:
    """Return what a fault inside a replica did; None if it cannot matter to the protocol, which a note says."""
    kept = [count for stage, count in zip(scenario.stages, raw.kept, strict=True) if stage.fault == index]
    read = [count for skew, count in zip(scenario.skews, raw.reads, strict=True) if skew.fault == index]
    return sum(kept) + sum(read) if kept or read else None


def loses_everything(keep: Keep | None) -> bool:
    """Return whether an outage with this `keep` wipes the node."""
    return keep is Keep.NOTHING
