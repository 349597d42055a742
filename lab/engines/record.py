"""From what an executor saw to a `History`: the one place where simulated runs become histories."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lab import history
from lab.core.fate import CUT, DUPLICATE_PPM, LOSS_PPM, REORDER_PPM, TABLE_0
from lab.engines.scenario import Scenario
from lab.faults import Fault
from lab.history import Accepted, Applies, FaultRecord, FinalState, History, LinkCount, Operations
from lab.model.effects import Keep
from lab.model.workload import Operation
from lab.protocols import form

# Columns of a link counter row, kept per (epoch, source, target, message kind).
SENT, DELIVERED, LOST, CUT_OFF, DOWN, DUPLICATED, REORDERED, DELAYED = range(8)
COUNTER_COLUMNS = 8
EVIDENCE_COLUMN = {"cut": CUT_OFF, "lost": LOST, "duplicated": DUPLICATED, "reordered": REORDERED, "delayed": DELAYED}


@dataclass(slots=True)
class Raw:
    """What an executor hands over. `observations` rows are (time_ns, node, what, a, b) in the order they happened."""

    seed: int
    executor: str
    operations: Sequence[Operation]
    observations: Sequence[tuple[int, int, int, int, int]]
    counters: Mapping[str, int]
    links: Mapping[tuple[int, int, int, int], Sequence[int]]
    key_sequences: Sequence[Sequence[int]]
    log_tokens: Sequence[Sequence[int]]
    prefixes: Sequence[int]
    event_count: int
    trace_hash: int
    losses: list[tuple[int, int]] = field(default_factory=list)


def build(scenario: Scenario, raw: Raw) -> History:
    """Return the history of a simulated run."""
    table = np.asarray(raw.observations, dtype=np.int64).reshape(-1, 5)
    replica_count = len(scenario.names) - 1
    accepted = table[table[:, 2] == form.ACCEPTED]
    applied = table[(table[:, 2] == form.APPLIED) | (table[:, 2] == form.SUPERSEDED)]
    experiment = scenario.experiment
    return History(
        plane="sim",
        executor=raw.executor,
        seed=raw.seed,
        replicas=scenario.names[:replica_count],
        key_count=experiment.workload.keys,
        deadline_ns=experiment.workload.client.deadline,
        horizon_ns=scenario.horizon_ns,
        quiet_ns=experiment.quiet_ns,
        operations=_operations(raw.operations, table),
        accepted=Accepted(accepted[:, 3].copy(), accepted[:, 4].copy(), accepted[:, 0].copy()),
        applies=Applies(
            applied[:, 1].copy(),
            applied[:, 3].copy(),
            applied[:, 4].copy(),
            applied[:, 0].copy(),
            (applied[:, 2] == form.SUPERSEDED).astype(np.int64),
        ),
        faults=tuple(_fault_record(fault, scenario, raw) for fault in scenario.faults),
        finals=tuple(
            FinalState(scenario.names[node], _digest(raw.key_sequences[node], raw.log_tokens[node]), raw.prefixes[node])
            for node in range(replica_count)
        ),
        truth_digest=_truth_digest(accepted, raw.operations, experiment.workload.keys),
        counters=dict(raw.counters),
        links=_links(scenario, raw.links),
        losses=tuple(raw.losses),
        event_count=raw.event_count,
        trace_hash=f"{raw.trace_hash:016x}",
    )


def _operations(planned: Sequence[Operation], table: history.Column) -> Operations:
    count = len(planned)
    outcome = np.zeros(count, dtype=np.int64)
    acknowledged_ns = np.full(count, history.NEVER, dtype=np.int64)
    answered = table[table[:, 2] == form.ACKNOWLEDGED]
    outcome[answered[:, 3]] = history.ACKNOWLEDGED
    acknowledged_ns[answered[:, 3]] = answered[:, 0]
    outcome[table[table[:, 2] == form.REJECTED][:, 3]] = history.REJECTED
    return Operations(
        intended_ns=np.array([operation.at_ns for operation in planned], dtype=np.int64),
        key=np.array([operation.key for operation in planned], dtype=np.int64),
        outcome=outcome,
        acknowledged_ns=acknowledged_ns,
        attempts=np.bincount(table[table[:, 2] == form.ATTEMPTED][:, 3], minlength=count).astype(np.int64),
    )


def _hash_state(keys: history.Column, sequences: history.Column, tokens: history.Column) -> str:
    rows = np.ascontiguousarray(np.stack([keys, sequences, tokens], axis=1), dtype="<i8")
    return hashlib.sha256(rows.tobytes()).hexdigest()


def _digest(key_sequence: Sequence[int], log_token: Sequence[int]) -> str:
    """Return the digest of a replica's read state: (key, sequence, token) by key."""
    sequences = np.asarray(key_sequence, dtype=np.int64)
    keys = np.flatnonzero(sequences)
    reached = sequences[keys]
    return _hash_state(keys, reached, np.asarray(log_token, dtype=np.int64)[reached] - 1)


def _truth_digest(accepted: history.Column, planned: Sequence[Operation], key_count: int) -> str:
    """Return the digest that the accepted updates imply: per key the highest sequence."""
    sequence_of = np.zeros(key_count, dtype=np.int64)
    token_of = np.zeros(key_count, dtype=np.int64)
    for row in accepted:  # in order of acceptance: the last to use a sequence wins
        key = planned[int(row[4])].key
        if row[3] >= sequence_of[key]:
            sequence_of[key], token_of[key] = row[3], row[4]
    keys = np.flatnonzero(sequence_of)
    return _hash_state(keys, sequence_of[keys], token_of[keys])


def _links(scenario: Scenario, counts: Mapping[tuple[int, int, int, int], Sequence[int]]) -> tuple[LinkCount, ...]:
    totals: dict[tuple[int, int, int], list[int]] = {}
    for (_, source, target, kind), row in counts.items():
        total = totals.setdefault((source, target, kind), [0] * COUNTER_COLUMNS)
        for column, value in enumerate(row):
            total[column] += value
    return tuple(
        LinkCount(
            source=scenario.names[source],
            target=scenario.names[target],
            kind=scenario.protocol.kinds[kind],
            sent=row[SENT],
            delivered=row[DELIVERED],
            lost=row[LOST],
            cut=row[CUT_OFF],
            down=row[DOWN],
            duplicated=row[DUPLICATED],
            reordered=row[REORDERED],
        )
        for (source, target, kind), row in sorted(totals.items())
    )


def _fault_record(fault: Fault, scenario: Scenario, raw: Raw) -> FaultRecord:
    return FaultRecord(
        kind=fault.kind,
        label=fault.label(),
        start_ns=fault.start_ns,
        stop_ns=fault.stop_ns,
        colour=fault.colour,
        hatch=fault.hatch,
        bit=_bit(fault, scenario, raw),
    )


def _bit(fault: Fault, scenario: Scenario, raw: Raw) -> int | None:
    """Return how often the fault acted: messages it touched on its links while it lasted; 1 for an outage that happened."""
    if fault.outages():
        return int(all(outage.stop_ns <= scenario.horizon_ns for outage in fault.outages()))
    if not fault.evidence:
        return None
    column, boundaries = EVIDENCE_COLUMN[fault.evidence], scenario.plan.boundaries_ns
    return sum(
        row[column]
        for (epoch, source, target, _), row in raw.links.items()
        if fault.start_ns <= boundaries[epoch] < fault.stop_ns
        and fault.link_effect(scenario.names[source], scenario.names[target]) is not None
    )


def is_ideal(row: Sequence[int]) -> bool:
    """Return whether a link delivers everything at once, so that no draw is needed."""
    return not (
        row[CUT] or row[LOSS_PPM] or row[DUPLICATE_PPM] or row[REORDER_PPM] or any(slot >= 0 for slot in row[TABLE_0:])
    )


def loses_everything(keep: Keep | None) -> bool:
    """Return whether an outage with this `keep` wipes the node."""
    return keep is Keep.NOTHING
