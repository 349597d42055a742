"""The reference executor: a protocol class run as it is inside SimPy. Readable, breakpoints work, every effect in one
place.

Order is (time_ns, sequence of scheduling): SimPy's own order of equal times. Every event carries a 63-bit key; an
effect's key is derived from the key of the event being handled and the effect itself, so luck depends on what happens,
not on when it is drawn.

What an event may meet before its node handles it, in this order:
- a pause defers everything but crash and restart to its end;
- a disturbed replica keeps messages back (`lab.engines.holding`);
- a crash discards timers and the inbox, and raises the incarnation; overlapping outages hold a node until the last one
  ends;
- a message to a node that is down when it is sent (there is no connection) or when it arrives is lost; to one that
  needs time to serve, it waits in a bounded inbox.
"""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import simpy
from simpy.events import Event, Timeout

from lab.core import draws, quantiles
from lab.core.draws import mix
from lab.core.fate import CUT_OFF as FATE_CUT
from lab.core.fate import LOST as FATE_LOST
from lab.core.fate import NO_COPY, REORDER_PPM, fate
from lab.engines import holding, record, remembering
from lab.engines.context import (
    CRASH,
    EVENT_NAMES,
    MESSAGE,
    OPERATION,
    RESTART,
    SERVED,
    SET,
    START,
    TIMER,
    CheckedContext,
    Context,
    ProtocolMistake,
    TraceRow,
    check_node,
    checked,
)
from lab.engines.scenario import EVENTS_MAX, BudgetExceeded, Scenario
from lab.history import History
from lab.protocols.form import WIPED, allocate, reset

__all__ = ["EVENT_NAMES", "MESSAGE", "OPERATION", "TIMER", "ProtocolMistake", "TraceRow", "run"]

# A scheduled event: what, node, source, kind, a, b, c, d, key, incarnation.
Happening = tuple[int, int, int, int, int, int, int, int, int, int]
_MASK = draws.MASK_64


class _Engine:
    def __init__(
        self, scenario: Scenario, seed: int, events_max: int, trace: list[TraceRow] | None, strict: bool
    ) -> None:
        self.scenario = scenario
        self.seed = seed
        self.events_max = events_max
        self.trace = trace
        self.strict = strict
        self.env = simpy.Environment()
        self.operations = scenario.operations(seed)
        self.sizes = scenario.sizes(len(self.operations))
        self.node_count = len(scenario.names)
        self.nodes: list[Any] = [allocate(scenario.protocol, self.sizes, node) for node in range(self.node_count)]
        if strict:
            for node in self.nodes:
                checked(node)
        make = CheckedContext if strict else Context
        self.observations: list[tuple[int, int, int, int, int]] = []
        self.counters = [0] * len(scenario.protocol.counters)
        self.reads = [0] * len(scenario.skews)  # how often each wrong clock was read
        self.contexts = [
            make(scenario, node, self.observations, self.counters, self.reads) for node in range(self.node_count)
        ]
        self.incarnations = [0] * self.node_count
        self.down = [0] * self.node_count  # outages that hold the node
        self.inbox = [0] * self.node_count
        self.busy_until = [0] * self.node_count
        self.pauses = [scenario.pauses(name) for name in scenario.names]
        self.has_pauses = any(self.pauses)
        self.current_settings: dict[int, int] = {}
        self.links: dict[tuple[int, int, int], list[int]] = {}
        self.evidence: dict[tuple[int, int, int], list[int]] = {}
        self.shares_links = scenario.shares_links
        self.serves = scenario.service_ns > 0 or bool(scenario.services)
        self.bursts: dict[int, list[int]] = {}
        bursts = scenario.bursts
        means_ns = (bursts.good_ns, bursts.bad_ns) if bursts else ()
        self.burst_tables = [quantiles.exponential(mean_ns) for mean_ns in means_ns]
        self.ideal = [
            [scenario.is_ideal(epoch, link) for link in range(len(rows))]
            for epoch, rows in enumerate(scenario.plan.rows)
        ]
        self.memories = remembering.Memories(self)
        self.holding = holding.Holding(self) if scenario.stages else None
        self.now = 0
        self.epoch = 0
        self.event_count = 0
        self.trace_hash = 0
        self._callback = self.dispatch  # bound once: it is attached to every event

    # Scheduling

    def schedule(self, delay_ns: int, happening: Happening) -> None:
        callbacks = Timeout(self.env, delay_ns, happening).callbacks
        assert callbacks is not None
        callbacks.append(self._callback)

    def begin(self) -> None:
        """Schedule what is known before the run: outages, settings, node starts, the first operation."""
        scenario = self.scenario
        for outage in scenario.outages:
            node = scenario.names.index(outage.node)
            if outage.keep is None:
                continue
            wipe = int(record.loses_everything(outage.keep))
            self.schedule(outage.start_ns, (CRASH, node, node, 0, wipe, 0, 0, 0, 0, 0))
            self.schedule(outage.stop_ns, (RESTART, node, node, 0, wipe, 0, 0, 0, 0, 0))
        for setting in scenario.settings:
            number = list(scenario.protocol.settings).index(setting.name)
            value = scenario.protocol.settings[setting.name][setting.value]
            key = draws.chain(self.seed, draws.SETTING, number, setting.at_ns)
            for node in range(self.node_count - 1):
                self.schedule(setting.at_ns, (SET, node, node, number, value, 0, 0, 0, mix(key, node), 0))
        for node in range(self.node_count):
            key = draws.chain(self.seed, draws.NODE_START, node)
            self.schedule(0, (START, node, node, 0, 0, 0, 0, 0, key, 0))
        self.schedule_operation(0)

    def schedule_operation(self, token: int) -> None:
        if token < len(self.operations):
            operation = self.operations[token]
            client = self.node_count - 1
            key = draws.chain(self.seed, draws.ARRIVAL_TIME, token)
            happening = (OPERATION, client, client, 0, token, operation.key, 0, 0, key, 0)
            self.schedule(operation.at_ns - self.now, happening)

    # Handling

    def dispatch(self, event: Event) -> None:
        happening: Happening = event._value
        what, node, source, kind, a, b, c, d, key, incarnation = happening
        now: int = self.env.now  # type: ignore[assignment]
        self.now = now
        if self.has_pauses and what not in (CRASH, RESTART):
            resume_ns = self.resume_ns(node, now)
            if resume_ns > now:
                self.schedule(resume_ns - now, happening)
                return
        if self.holding is not None:
            going_on = self.holding.passed(happening, now)
            if going_on is None:
                return
            happening = going_on
            what, incarnation = happening[0], happening[9]
        if not self.reaches(happening, now):
            return
        self.event_count += 1
        if self.event_count > self.events_max:
            name = self.scenario.names[node]
            raise BudgetExceeded(f"over {self.events_max} events at {now} ns, last at {name} ({EVENT_NAMES[what]})")
        meta = what + (kind << 4) + (node << 12) + (source << 32) + (incarnation << 52)
        self.trace_hash = mix(self.trace_hash, key + 3 * meta + 5 * a + 7 * b + 11 * c + 13 * d + 17 * now)
        if self.trace is not None:
            shown = MESSAGE if what == SERVED else what
            self.trace.append(TraceRow(now, shown, node, source, kind, (a, b, c, d), key))
        context = self.contexts[node]
        context.now, context.key, context.incarnation = now, key, self.incarnations[node]
        self.handle(happening, self.nodes[node], context)
        if context.outbox:
            self.drain(context)
        if self.strict:
            check_node(self.nodes[node])

    def resume_ns(self, node: int, now: int) -> int:
        """Return when a paused node runs again; `now` if it runs."""
        for start_ns, stop_ns in self.pauses[node]:
            if start_ns <= now < stop_ns:
                return stop_ns
        return now

    def reaches(self, happening: Happening, now: int) -> bool:
        """Return whether the event finds its node running; count a message that does not."""
        what, node, source, kind, a, _, _, _, _, incarnation = happening
        if what == MESSAGE:
            if self.serves and node < self.node_count - 1:
                column = self.admit(happening, now)
            else:
                column = record.DOWN if self.down[node] else record.DELIVERED
            if column >= 0:
                self.link_counter(source, node, kind)[column] += 1
            return column == record.DELIVERED
        if what == TIMER:
            return not self.down[node] and incarnation == self.incarnations[node]
        if what == SERVED:
            alive = incarnation == self.incarnations[node]  # else a crash since its arrival took the inbox with it
            if alive:
                self.inbox[node] -= 1
            self.link_counter(source, node, kind)[record.DELIVERED if alive else record.DOWN] += 1
            return alive
        if what == OPERATION:
            self.schedule_operation(a + 1)
        elif what == SET:
            self.current_settings[kind] = a
            return not self.down[node]
        elif what == START:
            return self.incarnations[node] == 0
        return True

    def admit(self, happening: Happening, now: int) -> int:
        """Return the link counter that a message's arrival at a serving node raises, or -1 when it now waits in the
        inbox.
        """
        _, node, source, kind, a, b, c, d, key, _ = happening
        if self.down[node]:
            return record.DOWN
        limit, service_ns = self.scenario.inbox_limit, self.scenario.service_ns
        if self.scenario.services:
            service = self.scenario.services[node]
            if service is None:
                return record.DELIVERED
            limit, service_ns = service.inbox_limit, quantiles.lookup(service.table, mix(key, draws.SERVICE))
        if self.inbox[node] >= limit:
            return record.OVERFLOW
        self.inbox[node] += 1
        finish_ns = max(now, self.busy_until[node]) + service_ns
        self.busy_until[node] = finish_ns
        self.schedule(finish_ns - now, (SERVED, node, source, kind, a, b, c, d, key, self.incarnations[node]))
        return -1

    def handle(self, happening: Happening, node: Any, context: Context) -> None:
        what, index, source, kind, a, b, c, d, _, _ = happening
        if what in (MESSAGE, SERVED):
            node.on_message(context, source, kind, a, b, c, d)
        elif what == TIMER:
            node.on_timer(context, kind, a, b, c, d)
        elif what == OPERATION:
            node.on_operation(context, a, b)
        elif what == START:
            node.on_start(context)
        elif what == SET:
            node.on_set(context, kind, a)
        elif what == CRASH:
            self.crash(index, bool(a))
        else:
            self.restart(index, node, context)

    def crash(self, index: int, wipe: bool) -> None:
        self.down[index] += 1
        self.incarnations[index] += 1
        self.inbox[index] = self.busy_until[index] = 0
        if self.holding is not None:
            self.holding.crash(index)
        reset(self.nodes[index], self.sizes, lambda declared: wipe or not declared.durable)
        if self.strict:
            checked(self.nodes[index])
        if wipe:
            self.observations.append((self.now, index, WIPED, 0, 0))

    def restart(self, index: int, node: Any, context: Context) -> None:
        self.down[index] -= 1
        if self.down[index]:
            return
        context.key = draws.chain(self.seed, draws.NODE_RESTART, index, self.incarnations[index])
        node.on_start(context)
        for setting, value in sorted(self.current_settings.items()):
            node.on_set(context, setting, value)

    # Effects

    def drain(self, context: Context) -> None:
        """Turn the out-box into events: keys, fates and order are decided here and nowhere else."""
        seen: dict[tuple[int, int, int, int], int] = {}
        me, incarnation, parent = context.me, self.incarnations[context.me], context.key
        several = len(context.outbox) > 1
        for what, target, kind, delay_ns, a, b, c, d in context.outbox:
            word = (draws.EFFECT_SEND if what == MESSAGE else draws.EFFECT_TIMER) + (kind << 8) + (target << 16)
            key = mix(mix(parent, word), a)
            if several:
                identity = (what, target, kind, a)
                occurrence = seen.get(identity, 0)
                seen[identity] = occurrence + 1
                if occurrence:
                    key = mix(key, occurrence)
            happening = (what, target, me, kind, a, b, c, d, key, incarnation)
            if what == MESSAGE:
                self.transmit(happening)
            else:
                self.schedule(delay_ns, happening)
        context.outbox.clear()

    def link_counter(self, source: int, target: int, kind: int) -> list[int]:
        """Return the counters of one message kind on a link."""
        place = (0, 0, kind) if self.shares_links else (source, target, kind)
        counter = self.links.get(place)
        if counter is None:
            counter = self.links[place] = [0] * record.COUNTER_COLUMNS
        return counter

    def evidence_of(self, epoch: int, source: int, target: int) -> list[int]:
        """Return the evidence of what happened on a link to messages sent in an epoch."""
        place = (epoch, 0, 0) if self.shares_links else (epoch, source, target)
        evidence = self.evidence.get(place)
        if evidence is None:
            evidence = self.evidence[place] = [0] * record.EVIDENCE_COLUMNS
        return evidence

    def transmit(self, message: Happening) -> None:
        """Send a message over its link: count it, decide its fate, schedule its copies."""
        plan, now = self.scenario.plan, self.now
        while self.epoch + 1 < len(plan.boundaries_ns) and plan.boundaries_ns[self.epoch + 1] <= now:
            self.epoch += 1
        _, target, source, kind, a, b, c, d, key, incarnation = message
        link = 0 if self.shares_links else source * self.node_count + target
        counter = self.link_counter(source, target, kind)
        counter[record.SENT] += 1
        if self.down[target]:
            counter[record.DOWN] += 1
            return
        if self.ideal[self.epoch][link]:
            self.schedule(0, message)
            return
        if plan.extras:
            remembering.transmit(self, message, counter, link)
            return
        evidence = self.evidence_of(self.epoch, source, target)
        if self.burst_tables and self.is_burst_loss(link, now, key):
            counter[record.LOST] += 1
            evidence[record.E_LOST] += 1
            return
        row = plan.rows[self.epoch][link]
        first, second = fate(row, plan.tables, key)
        copies = [(first, key)]
        if second != NO_COPY:
            copies.append((second, mix(key, draws.COPY)))
            counter[record.DUPLICATED] += 1
            evidence[record.E_DUPLICATED] += 1
        for delay_ns, own in copies:
            if delay_ns >= 0:
                if delay_ns > 0:
                    evidence[record.E_DELAYED] += 1
                if row[REORDER_PPM] and draws.below(mix(own, draws.REORDER), row[REORDER_PPM]):
                    counter[record.REORDERED] += 1
                    evidence[record.E_REORDERED] += 1
                self.schedule(delay_ns, (MESSAGE, target, source, kind, a, b, c, d, own, incarnation))
            elif delay_ns == FATE_LOST:
                counter[record.LOST] += 1
                evidence[record.E_LOST] += 1
            elif delay_ns == FATE_CUT:
                counter[record.CUT_OFF] += 1
                evidence[record.E_CUT] += 1

    def is_burst_loss(self, link: int, now: int, key: int) -> bool:
        """Return whether the link's bursts take the message: sojourns alternate, good first, keyed by number."""
        bursts = self.scenario.bursts
        assert bursts is not None
        base = draws.chain(self.seed, draws.BURST, link)
        chain = self.bursts.get(link)
        if chain is None:
            chain = self.bursts[link] = [1, quantiles.lookup(self.burst_tables[0], mix(base, 0))]
        while chain[1] <= now:  # [sojourns so far, when the last of them ends]
            chain[1] += quantiles.lookup(self.burst_tables[chain[0] % 2], mix(base, chain[0]))
            chain[0] += 1
        share_ppm = bursts.good_loss_ppm if chain[0] & 1 else bursts.bad_loss_ppm
        return bool(draws.below(mix(key, draws.BURST_LOSS), share_ppm))


def run(
    scenario: Scenario,
    seed: int,
    *,
    events_max: int = EVENTS_MAX,
    trace: list[TraceRow] | None = None,
    strict: bool = False,
    states: dict[str, list[list[int] | None]] | None = None,
) -> History:
    """Run one seed to the scenario's horizon and return its history; append every handled event to `trace` if given.

    `strict` refuses what compiled code could not hold: negative indices and numbers over 64 bits. `states` receives
    every field of every node as it is at the end. Raise BudgetExceeded when the run handles more than `events_max`
    events.
    """
    engine = _Engine(scenario, seed, events_max, trace, strict)
    engine.begin()
    engine.env.run(until=scenario.horizon_ns)
    if states is not None:
        for name in scenario.protocol.fields:
            states[name] = [_values(getattr(node, name, None)) for node in engine.nodes]
    raw = record.Raw(
        seed=seed,
        executor="reference",
        intended_ns=np.array([operation.at_ns for operation in engine.operations], dtype=np.int64),
        keys=np.array([operation.key for operation in engine.operations], dtype=np.int64),
        observations=np.asarray(engine.observations, dtype=np.int64).reshape(-1, 5),
        counters=dict(zip(scenario.protocol.counters, engine.counters, strict=True)),
        links=engine.links,
        evidence=engine.evidence,
        finals=[record.final_state(vars(node), scenario.protocol.read_state) for node in engine.nodes[:-1]],
        event_count=engine.event_count,
        trace_hash=engine.trace_hash,
        kept=engine.holding.kept() if engine.holding else (),
        reads=engine.reads,
    )
    return record.build(scenario, raw)


def _values(value: Any) -> list[int] | None:
    if value is None:
        return None
    return list(value) if isinstance(value, array) else [int(value)]
