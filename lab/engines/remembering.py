"""Messages over links that remember, in the reference executor; `kernel/stateful_links.py` is its compiled twin."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import TYPE_CHECKING

from lab.core import draws, stateful
from lab.core.draws import mix
from lab.core.fate import CUT_OFF, LOST, NO_COPY, REORDER_PPM, fate
from lab.core.sizes import MESSAGE_BYTES
from lab.engines import record

if TYPE_CHECKING:
    from lab.engines.reference import Happening, _Engine


class Memories:
    """The words that links remember in one run: one piece for all links, or one a link where they share a row."""

    def __init__(self, engine: _Engine) -> None:
        self.words = engine.scenario.plan.memory_words
        self.is_shared = engine.shares_links
        self.pieces: dict[int, list[int]] = {}
        protocol = engine.scenario.protocol
        self.sizes = {kind: getattr(protocol, "sizes", {}).get(kind, MESSAGE_BYTES) for kind in protocol.kinds}

    def of(self, link: int) -> list[int]:
        """Return the memory that the link (source * nodes + target) uses."""
        return self.pieces.setdefault(link if self.is_shared else 0, [0] * self.words)


def transmit(engine: _Engine, message: Happening, counter: list[int], link: int) -> None:
    """Send a counted message over the link: choose the behaviour, decide its fate, schedule its copies."""
    plan, now = engine.scenario.plan, engine.now
    _, target, source, kind, _, _, _, _, key, _ = message
    memory = engine.memories.of(source * engine.node_count + target)
    row, extra = plan.rows[engine.epoch][link], plan.extras[engine.epoch][link]
    if extra[stateful.RULES]:
        row, extra = plan.leaves[stateful.leaf_of(extra, memory, kind)]
    evidence = engine.evidence_of(engine.epoch, source, target)
    if extra[stateful.STREAM_SLOT] < 0 and row[0]:
        counter[record.CUT_OFF] += 1
        evidence[record.E_CUT] += 1
        return
    start = stateful.departure_ns(extra, memory, now, engine.memories.sizes[kind])
    if start == stateful.OVERFLOWED:
        counter[record.OVERFLOW] += 1
        return
    if extra[stateful.HOLD_UNTIL_NS] > now:
        evidence[record.E_HELD] += 1
        if extra[stateful.KILLS]:
            evidence[record.E_CUT] += 1
    if engine.burst_tables and engine.is_burst_loss(link, now, key):
        counter[record.LOST] += 1
        evidence[record.E_LOST] += 1
    elif extra[stateful.STREAM_SLOT] >= 0:
        _stream(engine, message, counter, evidence, (row, extra), memory, start)
    elif stateful.chain_takes(extra, memory, key):
        counter[record.LOST] += 1
        evidence[record.E_LOST] += 1
    else:
        _copies(engine, message, counter, evidence, row, extra, start)


def _copies(
    engine: _Engine,
    message: Happening,
    counter: list[int],
    evidence: list[int],
    row: Sequence[int],
    extra: Sequence[int],
    start: int,
) -> None:
    """Decide the fate of a message of its own and of its duplicate."""
    key = message[8]
    first, second = fate(row, engine.scenario.plan.tables, key)
    copies = [(first, key)]
    if second != NO_COPY:
        copies.append((second, mix(key, draws.COPY)))
        counter[record.DUPLICATED] += 1
        evidence[record.E_DUPLICATED] += 1
    for delay_ns, own in copies:
        if delay_ns == LOST:
            counter[record.LOST] += 1
            evidence[record.E_LOST] += 1
        elif _is_killed(engine, message, counter, extra, start + delay_ns):
            pass
        elif stateful.is_corrupt(extra, own):
            counter[record.CORRUPTED] += 1
            evidence[record.E_CORRUPTED] += 1
        else:
            assert delay_ns != CUT_OFF
            if start + delay_ns > engine.now:
                evidence[record.E_DELAYED] += 1
            if row[REORDER_PPM] and draws.below(mix(own, draws.REORDER), row[REORDER_PPM]):
                counter[record.REORDERED] += 1
                evidence[record.E_REORDERED] += 1
            engine.schedule(start + delay_ns - engine.now, (*message[:8], own, message[9]))


def _stream(
    engine: _Engine,
    message: Happening,
    counter: list[int],
    evidence: list[int],
    sent_under: tuple[Sequence[int], Sequence[int]],
    memory: MutableSequence[int],
    start: int,
) -> None:
    """Decide when a message on a connection arrives: each transmission meets what is in force at its time, the first
    one the rules as well.
    """
    now, key, own = engine.now, message[8], message[8]
    row, extra = sent_under
    time = stateful.stream_start_ns(extra, memory, now, start)
    if time == LOST:
        counter[record.LOST] += 1
        return
    if time > start or extra[stateful.HOLD_UNTIL_NS] > now:
        row, extra = _in_force(engine, message, time)
    wait = extra[stateful.RTO_NS]
    for number in range(1, extra[stateful.RETRANSMISSIONS] + 2):
        delay = stateful.transmission_ns(row, extra, engine.scenario.plan.tables, memory, time, own)
        if delay >= 0:
            arrival = stateful.arrival_ns(extra, memory, time, delay, int(number > 1))
            if not _is_killed(engine, message, counter, sent_under[1], arrival):
                if arrival > now:
                    evidence[record.E_DELAYED] += 1
                engine.schedule(arrival - now, message)
            return
        evidence[_WHY_LATE[delay]] += 1
        time = stateful.repeat_ns(extra, memory, time, wait)
        wait = min(2 * wait, extra[stateful.RTO_CAP_NS])
        row, extra = _in_force(engine, message, time)
        own = mix(key, draws.RETRANSMIT + (number << 8))
    stateful.give_up(extra, memory, time)
    counter[record.LOST] += 1


_WHY_LATE = {LOST: record.E_LOST, CUT_OFF: record.E_CUT, stateful.GARBAGE: record.E_CORRUPTED}


def _in_force(engine: _Engine, message: Happening, time: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return the row and extra of the message's link at a time from now on, rules aside."""
    plan, epoch = engine.scenario.plan, engine.epoch
    while epoch + 1 < len(plan.boundaries_ns) and plan.boundaries_ns[epoch + 1] <= time:
        epoch += 1
    link = 0 if engine.shares_links else message[2] * engine.node_count + message[1]
    return plan.rows[epoch][link], plan.extras[epoch][link]


def _is_killed(engine: _Engine, message: Happening, counter: list[int], extra: Sequence[int], arrival: int) -> bool:
    """Return whether the connection breaks before the message arrives; count it for the fault that breaks it."""
    if not 0 < extra[stateful.NEXT_KILL_NS] <= arrival:
        return False
    counter[record.CUT_OFF] += 1
    engine.evidence_of(extra[stateful.KILL_EPOCH], message[2], message[1])[record.E_CUT] += 1
    return True
