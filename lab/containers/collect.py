"""From event logs, states and toxic counts to a `History`. Pure: everything was fetched before."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lab.containers import evidence
from lab.containers.conduct import Interval, Snapshot
from lab.containers.drive import Driver, key_name
from lab.containers.links import Link
from lab.containers.schedule import Timetable
from lab.containers.stock import Traffic
from lab.containers.toxiproxy import RowCounts, ToxicState
from lab.core.changelog_state import state_digest
from lab.faults import Fault
from lab.history import Accepted, Applies, FaultRecord, FinalState, History, LinkCount
from lab.spec.schema import Experiment

FRAME = "frame"  # our proxies count frames and do not look into them
BYTE = "byte"  # stock proxies count bytes
CLOSING = frozenset({"reset_peer", "limit_data", "timeout"})  # stock toxics that may close a connection
_LINE_START = b'{"t":'


@dataclass(slots=True)
class Events:
    """One replica's event log. Rows are (CLOCK_MONOTONIC ns, event, sequence, token); token is -1 where there is
    none.
    """

    rows: list[tuple[int, str, int, int]] = field(default_factory=list)
    broken: int = 0

    def last(self, event: str) -> int:
        """Return the highest sequence that an event reported; 0 if there is none."""
        return max((sequence for _, name, sequence, _ in self.rows if name == event), default=0)


def parse_events(data: bytes) -> Events:
    """Parse an event log. A line cut by a kill is dropped, and the line that follows it on the same line is kept."""
    events = Events()
    for line in data.splitlines():
        record = _record(line)
        if record is None:
            events.broken += 1
            tail = line.rfind(_LINE_START)
            record = _record(line[tail:]) if tail > 0 else None
        if record is not None:
            events.rows.append(record)
    return events


def _record(line: bytes) -> tuple[int, str, int, int] | None:
    try:
        fields = json.loads(line)
        sequence = fields["prefix"] if fields["e"] == "start" else fields.get("seq", 0)
        return int(fields["t"]), str(fields["e"]), int(sequence), int(fields.get("token", -1))
    except (ValueError, TypeError, KeyError):
        return None


@dataclass(slots=True)
class Seen:
    """Everything that a run left, fetched and not yet judged."""

    experiment: Experiment
    seed: int
    timetable: Timetable
    t0_ns: int
    driver: Driver
    intervals: Mapping[int, Interval]
    losses: Sequence[tuple[int, int]]
    swaps: Sequence[tuple[int, int]] = ()  # the losses at which a store that was prepared took the place
    events: Mapping[str, Events] = field(default_factory=dict)
    states: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    first_counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    earlier_counters: Mapping[str, int] = field(default_factory=dict)
    toxics_before: Mapping[str, ToxicState] = field(default_factory=dict)
    toxics: Mapping[str, ToxicState] = field(default_factory=dict)
    traffic_before: Mapping[str, Traffic] = field(default_factory=dict)
    traffic: Mapping[str, Traffic] = field(default_factory=dict)
    marks: Mapping[int, Sequence[Snapshot]] = field(default_factory=dict)
    bites: Mapping[int, int] = field(default_factory=dict)
    last_snapshot: Snapshot | None = None
    confirmed: Mapping[str, int] = field(default_factory=dict)  # by link, the row that was read back at the end
    enabled: Mapping[str, bool] = field(default_factory=dict)
    changelog: Mapping[int, int] = field(default_factory=dict)  # the leader's at the end: token by sequence
    running: frozenset[str] = frozenset()
    invalid: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


def history(seen: Seen) -> History:
    """Return the history of a run."""
    names, experiment = seen.experiment.system.names, seen.experiment
    accepted = _accepted(seen)
    applies = _applies(seen, accepted)
    faults = tuple(_fault(seen, index, fault) for index, fault in enumerate(experiment.faults))
    _check_complete(seen, accepted)
    return History(
        plane="containers",
        executor="docker",
        seed=seen.seed,
        replicas=names,
        key_count=experiment.workload.keys,
        deadline_ns=experiment.workload.client.deadline,
        horizon_ns=experiment.horizon_ns,
        quiet_ns=max([experiment.quiet_ns, *(fault.stop_ns for fault in faults)]),
        operations=seen.driver.operations(),
        accepted=accepted,
        applies=applies,
        faults=faults,
        finals=tuple(_final(name, seen.states.get(name)) for name in names),
        truth_digest=truth_digest(accepted, seen.driver),
        counters=_counters(seen),
        links=tuple(_link_counts(seen)),
        losses=tuple((replica, time_ns - seen.t0_ns) for replica, time_ns in seen.losses),
        event_count=sum(len(events.rows) for events in seen.events.values()),
        invalid="; ".join(seen.invalid),
        notes=tuple(seen.notes),
        environment=seen.environment,
        crashes=tuple(_crashes(seen)),
        swaps=tuple((replica, time_ns - seen.t0_ns) for replica, time_ns in seen.swaps),
    )


def _crashes(seen: Seen) -> Iterator[tuple[int, int, int]]:
    """Yield (replica, start, stop) of each crash that happened, as measured."""
    for one in seen.timetable.outages:
        interval = seen.intervals.get(one.fault, Interval())
        if one.outage.keep is not None and interval.start_ns and interval.stop_ns:
            replica = seen.experiment.system.names.index(one.outage.node)
            yield replica, interval.start_ns - seen.t0_ns, interval.stop_ns - seen.t0_ns


def _final(name: str, state: Mapping[str, Any] | None) -> FinalState:
    return FinalState(name, str(state["digest"]), int(state["prefix"])) if state else FinalState(name, "", 0)


def _known(seen: Seen, rows: Sequence[tuple[int, str, int, int]], name: str) -> list[tuple[int, str, int, int]]:
    """Return the rows whose token is an operation of this run; anything else makes the run invalid."""
    count = len(seen.driver.planned)
    known = [row for row in rows if 0 <= row[3] < count]
    if len(known) < len(rows):
        seen.invalid.append(f"{name} reports {len(rows) - len(known)} updates that no operation of this run wrote")
    return known


def _accepted(seen: Seen) -> Accepted:
    leader = seen.experiment.system.names[0]
    rows = [row for row in _with_unaccepted(seen, leader) if row[1] == "accepted"]
    known = _known(seen, rows, leader)
    table = np.array([(row[2], row[3], row[0] - seen.t0_ns) for row in known], dtype=np.int64).reshape(-1, 3)
    return Accepted(table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy())


def _with_unaccepted(seen: Seen, leader: str) -> list[tuple[int, str, int, int]]:
    """Return the leader's events, with the updates it made durable but was killed before it could report.

    A leader that starts with prefix p has accepted 1..p; what its log does not show of them is dated to that start, and
    its token is read from its changelog at the end of the run.
    """
    rows: list[tuple[int, str, int, int]] = []
    reported: set[int] = set()
    for row in seen.events.get(leader, Events()).rows:
        time_ns, event, sequence, _ = row
        rows.append(row)
        if event == "accepted":
            reported.add(sequence)
        elif event == "start" and sequence == 0:
            reported.clear()
        elif event == "start":
            missing = [s for s in range(1, sequence + 1) if s not in reported and s in seen.changelog]
            rows += [(time_ns, "accepted", s, seen.changelog[s]) for s in missing]
            reported.update(missing)
            if missing:
                seen.notes.append(
                    f"{leader} was killed before it reported {len(missing)} updates; dated to its restart"
                )
    return rows


def parse_snapshot(text: str) -> dict[int, int]:
    """Return the token of each sequence in a replica's `/snapshot`; raise ValueError if it is not one."""
    found: dict[int, int] = {}
    for line in text.splitlines()[1:]:
        try:
            entry = json.loads(line)
            found[int(entry["sequence"])] = int(entry["token"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an entry of a snapshot: {line[:80]}") from error
    return found


def _applies(seen: Seen, accepted: Accepted) -> Applies:
    token_of = dict(zip(accepted.sequence.tolist(), accepted.token.tolist(), strict=True))
    table: list[tuple[int, int, int, int, int]] = []
    for replica, name in enumerate(seen.experiment.system.names):
        rows = _with_unreported(seen, name, token_of)
        effects = [row for row in rows if row[1] in ("applied", "superseded")]
        for time_ns, event, sequence, token in _known(seen, effects, name):
            table.append((replica, sequence, token, time_ns - seen.t0_ns, int(event == "superseded")))
    columns = np.array(table, dtype=np.int64).reshape(-1, 5)
    return Applies(*(columns[:, column].copy() for column in range(5)))


def _with_unreported(seen: Seen, name: str, token_of: Mapping[int, int]) -> list[tuple[int, str, int, int]]:
    """Return a replica's events, with the effects it made durable but was killed before it could report.

    A replica that starts with prefix p has applied 1..p; what its log does not show of them is dated to that start.
    After a swap 1..p are of the store that was prepared beside it, and dated to the moment when that took the place.
    """
    replica = seen.experiment.system.names.index(name)
    swaps = sorted(time_ns for loser, time_ns in seen.swaps if loser == replica)
    rows: list[tuple[int, str, int, int]] = []
    reported: set[int] = set()
    before_ns = 0
    for row in seen.events.get(name, Events()).rows:
        time_ns, event, sequence, _ = row
        rows.append(row)
        if event in ("applied", "superseded"):
            reported.add(sequence)
        elif event == "start" and sequence == 0:
            reported.clear()
        elif event == "start":
            taken = [loss_ns for loss_ns in swaps if before_ns < loss_ns <= time_ns]
            if taken:
                reported.clear()
            missing = [s for s in range(1, sequence + 1) if s not in reported and s in token_of]
            dated_ns = taken[-1] + 1 if taken else time_ns
            rows += [(dated_ns, "applied", s, token_of[s]) for s in missing]
            reported.update(missing)
            if taken:
                seen.notes.append(f"{name} began with a store of {len(missing)} effects that was prepared beside it")
            elif missing:
                seen.notes.append(f"{name} was killed before it reported {len(missing)} effects; dated to its restart")
        before_ns = time_ns
    return rows


def _check_complete(seen: Seen, accepted: Accepted) -> None:
    """A history with holes must not be judged: compare the event logs with the states at the end."""
    names = seen.experiment.system.names
    for name, events in seen.events.items():
        if not events.rows or events.rows[0][1] != "start":
            seen.invalid.append(f"the event log of {name} does not begin with its start: it was cut")
        if events.broken:
            seen.notes.append(f"{name}: {events.broken} event lines were cut by a kill")
        state = seen.states.get(name)
        if state is None:
            continue
        reached, event = (
            (int(state["last_sequence"]), "accepted") if name == names[0] else (int(state["prefix"]), "applied")
        )
        reported = max(events.last(event), events.last("superseded") if event == "applied" else 0)
        if not seen.losses and reported < reached:
            seen.invalid.append(f"the event log of {name} ends at sequence {reported}, its state at {reached}")


def truth_digest(accepted: Accepted, driver: Driver) -> str:
    """Return the digest that the accepted updates imply: per key the highest sequence, the last to use it."""
    state: dict[str, tuple[int, bytes]] = {}
    for sequence, token in zip(accepted.sequence.tolist(), accepted.token.tolist(), strict=True):
        key = key_name(driver.planned[token].key)
        if sequence >= state.get(key, (0, b""))[0]:
            state[key] = (sequence, driver.payloads[token])
    return state_digest(state)


def _counters(seen: Seen) -> dict[str, int]:
    """Return the protocol's counters over all replicas and all their processes, without what was counted before the
    run.
    """
    total: Counter[str] = Counter(seen.earlier_counters)
    for name, state in seen.states.items():
        total.update({counter: int(value) for counter, value in state["counters"].items()})
        total.subtract(seen.first_counters.get(name, {}))
    return dict(total)


# Links and faults


def _rows(seen: Seen, link: Link) -> list[RowCounts]:
    """Return a link's counts by row, without what was counted before the run."""
    rows = list(seen.toxics[link.name].rows)
    before = seen.toxics_before.get(link.name)
    if before is not None:
        rows = [row - earlier for row, earlier in zip(rows, before.rows, strict=True)]
    return rows


def _link_counts(seen: Seen) -> list[LinkCount]:
    links = seen.timetable.links.links
    framed = [_link_count(seen, link) for link in links if link.name in seen.toxics]
    return framed or [_byte_count(seen, link) for link in links if link.name in seen.traffic]


def _byte_count(seen: Seen, link: Link) -> LinkCount:
    """Return a link of the oneshot wire: the stock server counts bytes, and does not say why some went no further."""
    before = seen.traffic_before.get(link.name, Traffic())
    one = seen.traffic[link.name] - Traffic(before.sent, before.sent)  # what was on its way then is of this run
    return LinkCount(link.source, link.target, BYTE, sent=one.received, delivered=one.sent, lost=one.lost)


def _link_count(seen: Seen, link: Link) -> LinkCount:
    rows, toxic, before = _rows(seen, link), seen.toxics[link.name], seen.toxics_before.get(link.name)
    # A proxy gives up a message when its receiver is gone or its queue is full; the first is so where an end was
    # killed, or where the connection is closed by a fault.
    broken = bool(link.killers) or any(one.type in CLOSING for one in link.toxics)
    crashed = broken or any(
        one.outage.keep is not None and one.outage.node in (link.source, link.target) for one in seen.timetable.outages
    )
    return LinkCount(
        source=link.source,
        target=link.target,
        kind=FRAME,
        sent=sum(row.frames for row in rows) + (before.queued if before else 0),  # what was on its way is of this run
        delivered=sum(row.delivered for row in rows),
        lost=sum(row.lost for row in rows),
        cut=sum(row.cut for row in rows),
        down=toxic.queue_dropped + toxic.queued if crashed else 0,
        overflow=sum(row.overflow for row in rows) + (0 if crashed else toxic.queue_dropped),
        duplicated=sum(row.duplicated for row in rows),
        reordered=sum(row.reordered for row in rows),
        corrupted=sum(row.corrupted for row in rows),
    )


def _fault(seen: Seen, index: int, fault: Fault) -> FaultRecord:
    interval = seen.intervals.get(index, Interval())
    start_ns = interval.start_ns - seen.t0_ns if interval.start_ns else fault.start_ns
    stop_ns = interval.stop_ns - seen.t0_ns if interval.stop_ns else fault.stop_ns
    return FaultRecord(
        kind=fault.kind,
        label=fault.label(),
        start_ns=start_ns,
        stop_ns=max(start_ns, stop_ns),
        colour=fault.colour,
        hatch=fault.hatch,
        bit=_bit(seen, index, fault),
        healed=_healed(seen, index, fault),
    )


def _bit(seen: Seen, index: int, fault: Fault) -> int | None:
    """Return how often a fault was seen to act; None where it needs no evidence."""
    if fault.outages():
        return int(seen.intervals.get(index, Interval()).start_ns > 0)
    if fault.inside():
        return seen.bites.get(index, 0)
    if not fault.shows():
        return None
    touched = [link for link in seen.timetable.links.links if any(index in active for active in link.faults)]
    marks = list(seen.marks.get(index, ()))
    if len(marks) == 1 and seen.last_snapshot is not None:
        marks.append(seen.last_snapshot)
    spans = [(marks[0], marks[1])] if len(marks) == 2 else []
    rows = {link.name: _rows(seen, link) for link in touched if link.name in seen.toxics}
    return sum(evidence.of_link(index, fault.shows(), link, rows.get(link.name, []), spans) for link in touched)


def _healed(seen: Seen, index: int, fault: Fault) -> bool:
    """Return whether the end was read back: rows and toxics as they should be, proxies open, nodes running."""
    interval = seen.intervals.get(index, Interval())
    if fault.settings():
        return interval.start_ns > 0
    if fault.inside():
        return interval.stop_ns > 0  # stamped when the replica had told that its values are 0 again
    for outage in fault.outages():
        into = [link.name for link in seen.timetable.links.links if link.target == outage.node]
        if not interval.stop_ns or outage.node not in seen.running or not all(seen.enabled.get(name) for name in into):
            return False
    touched = [link for link in seen.timetable.links.links if any(index in active for active in link.faults)]
    return all(
        seen.confirmed.get(link.name, link.row_of_epoch[0]) == link.row_of_epoch[-1]
        and seen.enabled.get(link.name, True)
        and (not link.framed or (link.name in seen.toxics and seen.toxics[link.name].row == link.row_of_epoch[-1]))
        for link in touched
    )
