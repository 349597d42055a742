"""The reference executor: a protocol class run as it is inside SimPy. Readable, breakpoints work, every effect in one place.

Order is (time_ns, sequence of scheduling): SimPy's own order of equal times. Every event carries a 63-bit key; an effect's key is
derived from the key of the event being handled and the effect itself, so luck depends on what happens, not on when it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import simpy
from simpy.events import Event, Timeout

from lab.core import draws
from lab.core.draws import mix
from lab.core.fate import CUT_OFF as FATE_CUT
from lab.core.fate import DUPLICATE_PPM, LOST as FATE_LOST, REORDER_PPM, fate
from lab.engines import record
from lab.engines.scenario import EVENTS_MAX, BudgetExceeded, Scenario
from lab.history import History
from lab.protocols.form import allocate, reset

# What an event is. Part of the trace hash: never renumber.
START, MESSAGE, TIMER, OPERATION, SET, CRASH, RESTART = range(7)
EVENT_NAMES = ("start", "message", "timer", "operation", "set", "crash", "restart")


@dataclass(slots=True)
class TraceRow:
    """One handled event, for replays: `what` as in EVENT_NAMES, `kind` and words as the protocol defines them."""

    time_ns: int
    what: int
    node: int
    source: int
    kind: int
    words: tuple[int, int, int, int]
    key: int


@dataclass(slots=True)
class _Happening:
    what: int
    node: int
    source: int
    kind: int
    a: int
    b: int
    c: int
    d: int
    key: int
    incarnation: int
    counter: list[int] | None = None


class _Context:
    """The `ctx` of one node. Handlers' effects are collected in the out-box and drained by the engine in order."""

    __slots__ = ("client", "engine", "incarnation", "key", "me", "n", "now", "outbox", "p")

    def __init__(self, engine: _Engine, me: int) -> None:
        scenario = engine.scenario
        self.engine = engine
        self.me = me
        self.client = len(scenario.names) - 1
        self.n = self.client
        self.p = scenario.params
        self.now = 0
        self.key = 0
        self.incarnation = 0
        self.outbox: list[tuple[int, int, int, int, int, int, int, int]] = []

    def send(self, target: int, kind: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> None:
        self.outbox.append((MESSAGE, target, kind, 0, a, b, c, d))

    def timer(self, delay_ns: int, kind: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> None:
        self.outbox.append((TIMER, self.me, kind, delay_ns, a, b, c, d))

    def rand(self, purpose: int) -> int:
        return mix(mix(self.key, draws.HANDLER_DRAW), purpose)

    def observe(self, what: int, a: int = 0, b: int = 0) -> None:
        self.engine.observations.append((self.now, self.me, what, a, b))

    def count(self, counter: int, amount: int = 1) -> None:
        self.engine.counters[counter] += amount


class _Engine:
    def __init__(self, scenario: Scenario, seed: int, events_max: int, trace: list[TraceRow] | None) -> None:
        self.scenario = scenario
        self.seed = seed
        self.events_max = events_max
        self.trace = trace
        self.env = simpy.Environment()
        self.operations = scenario.operations(seed)
        self.sizes = scenario.sizes(len(self.operations))
        self.node_count = len(scenario.names)
        self.nodes: list[Any] = [allocate(scenario.protocol, self.sizes) for _ in scenario.names]
        self.contexts = [_Context(self, node) for node in range(self.node_count)]
        self.incarnations = [0] * self.node_count
        self.down = [False] * self.node_count
        self.pauses = [scenario.pauses(name) for name in scenario.names]
        self.current_settings: dict[int, int] = {}
        self.observations: list[tuple[int, int, int, int, int]] = []
        self.counters = [0] * len(scenario.protocol.counters)
        self.links: dict[tuple[int, int, int, int], list[int]] = {}
        self.losses: list[tuple[int, int]] = []
        self.ideal = [[record.is_ideal(row) for row in rows] for rows in scenario.plan.rows]
        self.epoch = 0
        self.event_count = 0
        self.trace_hash = 0

    # Scheduling

    def schedule(self, delay_ns: int, happening: _Happening) -> None:
        Timeout(self.env, delay_ns, happening).callbacks.append(self.dispatch)

    def begin(self) -> None:
        """Schedule what is known before the run: outages, settings, node starts, the first operation."""
        scenario = self.scenario
        for outage in scenario.outages:
            node = scenario.names.index(outage.node)
            if outage.keep is None:
                continue
            wipe = int(record.loses_everything(outage.keep))
            self.schedule(outage.start_ns, _Happening(CRASH, node, node, 0, wipe, 0, 0, 0, 0, 0))
            self.schedule(outage.stop_ns, _Happening(RESTART, node, node, 0, wipe, 0, 0, 0, 0, 0))
        for setting in scenario.settings:
            number = list(scenario.protocol.settings).index(setting.name)
            value = scenario.protocol.settings[setting.name][setting.value]
            key = draws.chain(self.seed, draws.SETTING, number, setting.at_ns)
            for node in range(self.node_count - 1):
                happening = _Happening(SET, node, node, number, value, 0, 0, 0, mix(key, node), 0)
                self.schedule(setting.at_ns, happening)
        for node in range(self.node_count):
            key = draws.chain(self.seed, draws.NODE_START, node)
            self.schedule(0, _Happening(START, node, node, 0, 0, 0, 0, 0, key, 0))
        self.schedule_operation(0)

    def schedule_operation(self, token: int) -> None:
        if token < len(self.operations):
            operation = self.operations[token]
            client = self.node_count - 1
            key = draws.chain(self.seed, draws.ARRIVAL_TIME, token)
            happening = _Happening(OPERATION, client, client, 0, token, operation.key, 0, 0, key, 0)
            self.schedule(operation.at_ns - self.env.now, happening)

    # Handling

    def dispatch(self, event: Event) -> None:
        happening: _Happening = event.value
        node, what = happening.node, happening.what
        now = self.env.now
        if self.pauses[node] and what not in (CRASH, RESTART):
            resume_ns = self.resume_ns(node, now)
            if resume_ns > now:
                self.schedule(resume_ns - now, happening)
                return
        if what == OPERATION:
            self.schedule_operation(happening.a + 1)
        if not self.reaches(happening):
            return
        self.event_count += 1
        if self.event_count > self.events_max:
            name = self.scenario.names[node]
            raise BudgetExceeded(f"over {self.events_max} events at {now} ns, last at {name} ({EVENT_NAMES[what]})")
        self.note(happening, now)
        context = self.contexts[node]
        context.now, context.key, context.incarnation = now, happening.key, self.incarnations[node]
        self.handle(happening, self.nodes[node], context)
        if context.outbox:
            self.drain(context)

    def resume_ns(self, node: int, now: int) -> int:
        """Return when a paused node runs again; `now` if it runs."""
        for start_ns, stop_ns in self.pauses[node]:
            if start_ns <= now < stop_ns:
                return stop_ns
        return now

    def reaches(self, happening: _Happening) -> bool:
        """Return whether the event finds its node running; count a message that does not."""
        node, what = happening.node, happening.what
        if what == MESSAGE:
            assert happening.counter is not None
            column = record.DOWN if self.down[node] else record.DELIVERED
            happening.counter[column] += 1
            return not self.down[node]
        if what == TIMER:
            return not self.down[node] and happening.incarnation == self.incarnations[node]
        if what == SET:
            self.current_settings[happening.kind] = happening.a
            return not self.down[node]
        return True

    def handle(self, happening: _Happening, node: Any, context: _Context) -> None:
        what, h = happening.what, happening
        if what == MESSAGE:
            node.on_message(context, h.source, h.kind, h.a, h.b, h.c, h.d)
        elif what == TIMER:
            node.on_timer(context, h.kind, h.a, h.b, h.c, h.d)
        elif what == OPERATION:
            node.on_operation(context, h.a, h.b)
        elif what == START:
            node.on_start(context)
        elif what == SET:
            node.on_set(context, h.kind, h.a)
        elif what == CRASH:
            self.crash(h.node, bool(h.a))
        else:
            self.restart(h.node, node, context)

    def crash(self, index: int, wipe: bool) -> None:
        self.down[index] = True
        self.incarnations[index] += 1
        reset(self.nodes[index], self.sizes, lambda declared: wipe or not declared.durable)
        if wipe:
            self.losses.append((index, self.env.now))

    def restart(self, index: int, node: Any, context: _Context) -> None:
        self.down[index] = False
        context.key = draws.chain(self.seed, draws.NODE_RESTART, index, self.incarnations[index])
        node.on_start(context)
        for setting, value in self.current_settings.items():
            node.on_set(context, setting, value)

    def note(self, h: _Happening, now: int) -> None:
        meta = h.what + (h.node << 4) + (h.source << 12) + (h.kind << 20)
        word = h.key + 3 * meta + 5 * h.a + 7 * h.b + 11 * h.c + 13 * h.d
        self.trace_hash = mix(mix(self.trace_hash, now), word)
        if self.trace is not None:
            self.trace.append(TraceRow(now, h.what, h.node, h.source, h.kind, (h.a, h.b, h.c, h.d), h.key))

    # Effects

    def drain(self, context: _Context) -> None:
        """Turn the out-box into events: keys, fates and order are decided here and nowhere else."""
        seen: dict[tuple[int, int, int, int], int] = {}
        me, incarnation = context.me, self.incarnations[context.me]
        for what, target, kind, delay_ns, a, b, c, d in context.outbox:
            identity = (what, target, kind, a)
            occurrence = seen.get(identity, 0)
            seen[identity] = occurrence + 1
            word = (draws.EFFECT_SEND if what == MESSAGE else draws.EFFECT_TIMER) + (kind << 8) + (target << 16)
            key = mix(mix(context.key, word), a)
            if occurrence:
                key = mix(key, occurrence)
            happening = _Happening(what, target, me, kind, a, b, c, d, key, incarnation)
            if what == MESSAGE:
                self.transmit(happening)
            else:
                self.schedule(delay_ns, happening)
        context.outbox.clear()

    def transmit(self, message: _Happening) -> None:
        """Send a message over its link: count it, decide its fate, schedule its copies."""
        plan, now = self.scenario.plan, self.env.now
        while self.epoch + 1 < len(plan.boundaries_ns) and plan.boundaries_ns[self.epoch + 1] <= now:
            self.epoch += 1
        link = message.source * self.node_count + message.node
        place = (self.epoch, message.source, message.node, message.kind)
        counter = self.links.setdefault(place, [0] * record.COUNTER_COLUMNS)
        counter[record.SENT] += 1
        message.counter = counter
        if self.ideal[self.epoch][link]:
            self.schedule(0, message)
            return
        row = plan.rows[self.epoch][link]
        first, second = fate(row, plan.tables, message.key)
        if row[DUPLICATE_PPM] and second != -3:
            counter[record.DUPLICATED] += 1
        for delay_ns, key in ((first, message.key), (second, mix(message.key, draws.COPY))):
            if delay_ns >= 0:
                self.deliver(message, delay_ns, key, row, counter)
            elif delay_ns == FATE_LOST:
                counter[record.LOST] += 1
            elif delay_ns == FATE_CUT:
                counter[record.CUT_OFF] += 1

    def deliver(self, message: _Happening, delay_ns: int, key: int, row: tuple[int, ...], counter: list[int]) -> None:
        if delay_ns > 0:
            counter[record.DELAYED] += 1
        if row[REORDER_PPM] and draws.below(mix(key, draws.REORDER), row[REORDER_PPM]):
            counter[record.REORDERED] += 1
        m = message
        copy = _Happening(m.what, m.node, m.source, m.kind, m.a, m.b, m.c, m.d, key, m.incarnation, counter)
        self.schedule(delay_ns, copy)


def run(
    scenario: Scenario, seed: int, *, events_max: int = EVENTS_MAX, trace: list[TraceRow] | None = None
) -> History:
    """Run one seed to the scenario's horizon and return its history; append every handled event to `trace` if given.

    Raise BudgetExceeded when the run handles more than `events_max` events.
    """
    engine = _Engine(scenario, seed, events_max, trace)
    engine.begin()
    engine.env.run(until=scenario.horizon_ns)
    replicas = engine.nodes[:-1]
    raw = record.Raw(
        seed=seed,
        executor="reference",
        operations=engine.operations,
        observations=engine.observations,
        counters=dict(zip(scenario.protocol.counters, engine.counters, strict=True)),
        links=engine.links,
        key_sequences=[node.key_sequence for node in replicas],
        log_tokens=[node.log_token for node in replicas],
        prefixes=[node.prefix for node in replicas],
        event_count=engine.event_count,
        trace_hash=engine.trace_hash,
        losses=engine.losses,
    )
    return record.build(scenario, raw)
