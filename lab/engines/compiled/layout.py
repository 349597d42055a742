"""A scenario in the block: sizes of the regions, the integers of the configuration, what is read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.core import quantiles
from lab.core.fate import ROW_LENGTH
from lab.core.nodes import HELD_WORDS
from lab.core.sizes import MESSAGE_BYTES
from lab.core.stateful import EXTRA_LENGTH
from lab.engines import record
from lab.engines.compiled.kernel import memory as m
from lab.engines.compiled.lift import DIMENSIONS, Lifted
from lab.engines.scenario import Scenario
from lab.model import workload as workload_model
from lab.protocols.form import owns

Column = NDArray[np.int64]
NODES_MAX = m.NODE_MASK


@dataclass(frozen=True, slots=True)
class Room:
    """How much a run may hold before it is repeated with more: pending events, effects of one handler, observations,
    operations, words of protocol state, rows of trace (0 keeps none).
    """

    queue: int = 1024
    outbox: int = 256
    observations: int = 4096
    operations: int = 512
    state: int = 1 << 15
    trace: int = 0

    def grown(self, error: int, needed: int) -> Room:
        """Return twice the room where it was missing."""
        if error == m.QUEUE_FULL:
            return replace(self, queue=2 * self.queue)
        if error == m.OUTBOX_FULL:
            return replace(self, outbox=2 * self.outbox)
        if error == m.OBSERVATIONS_FULL:
            return replace(self, observations=2 * self.observations)
        if error == m.OPERATIONS_FULL:
            return replace(self, operations=2 * self.operations)
        if error == m.TRACE_FULL:
            return replace(self, trace=2 * self.trace)
        return replace(self, state=max(needed + needed // 4, 2 * self.state))


ROOM_ERRORS = (m.QUEUE_FULL, m.OUTBOX_FULL, m.OBSERVATIONS_FULL, m.OPERATIONS_FULL, m.TRACE_FULL, m.STATE_FULL)


def first_room(scenario: Scenario) -> Room:
    """Return the room that a run of this scenario most likely needs."""
    nodes = len(scenario.names)
    if scenario.workload is None:
        return Room(queue=max(1024, 4 * nodes))
    operations = scenario.workload.expected_operations()
    operations += 5 * int(operations**0.5) + 64
    return Room(
        queue=max(1024, 4 * nodes),
        observations=max(1024, operations * (nodes + 5)),
        operations=operations,
        outbox=max(256, 2 * nodes if nodes < 64 else 256),
    )


class Block:
    """The memory of one worker: allocated once per scenario and room, used for one run after the other."""

    def __init__(self, scenario: Scenario, lifted: Lifted, room: Room, events_max: int) -> None:
        self.scenario, self.lifted, self.room = scenario, lifted, room
        self.kinds = 1 + max(scenario.protocol.kinds, default=0)
        self.nodes = len(scenario.names)
        self._check()
        self.plan = scenario.plan
        self.link_count = len(self.plan.rows[0])
        self.tables = self._tables()
        config, places = self._config()
        sizes = self._regions()
        self.words = np.zeros(m.REGISTERS + len(config) + sum(size for _, size in sizes), dtype=np.int64)
        words = self.words
        words[m.REGISTERS : m.REGISTERS + len(config)] = config
        for register, place in places.items():
            words[register] = m.REGISTERS + place
        at = m.REGISTERS + len(config)
        for register, size in sizes:
            if register:
                words[register] = at
            at += size
        self._scalars(events_max)
        self.pointers = np.array([table.ctypes.data for table in self.tables], dtype=np.int64)

    def _check(self) -> None:
        scenario = self.scenario
        if self.nodes > NODES_MAX:
            raise ValueError(f"{self.nodes} nodes are over the limit of {NODES_MAX}")
        if max((*scenario.protocol.kinds, *scenario.protocol.timers), default=0) > m.KIND_MASK:
            raise ValueError(f"message and timer kinds must be at most {m.KIND_MASK}")
        if len(scenario.outages) > m.INCARNATION_MAX:
            raise ValueError(f"{len(scenario.outages)} outages are over the limit of {m.INCARNATION_MAX}")

    def _tables(self) -> list[Column]:
        """Return the quantile tables of the links, then those of arrivals and bursts."""
        tables = [np.asarray(table, dtype=np.int64) for table in self.plan.tables]
        self.gap_table = len(tables)
        tables.append(np.asarray(workload_model._exponential(), dtype=np.int64))
        self.zipf_table = -1
        workload = self.scenario.workload
        if workload is not None and workload.skew:
            self.zipf_table = len(tables)
            tables.append(np.asarray(workload_model._zipf_ends(workload.keys, workload.skew), dtype=np.int64))
        self.burst_tables = (-1, -1)
        bursts = self.scenario.bursts
        if bursts is not None:
            self.burst_tables = (len(tables), len(tables) + 1)
            tables += [
                np.asarray(quantiles.exponential(mean), dtype=np.int64) for mean in (bursts.good_ns, bursts.bad_ns)
            ]
        return tables

    def _config(self) -> tuple[list[int], dict[int, int]]:
        """Return the read-only words of the scenario, and which register points where among them."""
        scenario, plan = self.scenario, self.plan
        classes, rows, extras = self._classes()
        names = {name: index for index, name in enumerate(scenario.names)}
        setting_numbers = {name: index for index, name in enumerate(scenario.protocol.settings)}
        pauses = [(names[o.node], o.start_ns, o.stop_ns) for o in scenario.outages if o.keep is None]
        outages = [
            (names[o.node], o.start_ns, o.stop_ns, int(record.loses_everything(o.keep)))
            for o in scenario.outages
            if o.keep is not None
        ]
        settings = [
            (setting_numbers[s.name], scenario.protocol.settings[s.name][s.value], s.at_ns) for s in scenario.settings
        ]
        spikes = scenario.workload.spikes if scenario.workload else []
        duration = scenario.workload.duration if scenario.workload else 0
        parts: dict[int, list[int]] = {
            m.BOUNDARIES_AT: list(plan.boundaries_ns),
            m.CLASSES_AT: classes,
            m.ROWS_AT: rows,
            m.EXTRAS_AT: extras,
            m.SIZES_AT: self._message_sizes() if extras else [],
            **self._services(),
            m.PAUSES_AT: [word for pause in pauses for word in pause],
            m.OUTAGES_AT: [word for outage in outages for word in outage],
            m.SETTINGS_AT: [word for setting in settings for word in setting],
            m.STAGES_AT: [word for stage in scenario.stages for word in stage.words()],
            m.SKEWS_AT: [word for skew in scenario.skews for word in skew.words()],
            m.SPIKES_AT: [word for s in spikes for word in (s.at, min(s.at + s.for_, duration), s.rate)],
        }
        self.counts = {
            m.PAUSES: len(pauses), m.OUTAGES: len(outages), m.SETTINGS: len(settings), m.SPIKES: len(spikes),
            m.STAGES: len(scenario.stages), m.SKEWS: len(scenario.skews),
        }  # fmt: skip
        config: list[int] = []
        places: dict[int, int] = {}
        for register, part in parts.items():
            places[register] = len(config)
            config += part
        return config, places

    def _classes(self) -> tuple[list[int], list[int], list[int]]:
        """Return the class in force per epoch and link, and the rows and extras of the classes (no extras if no link
        remembers). The behaviours that rules choose among come first and keep their numbers.
        """
        scenario, plan = self.scenario, self.plan
        behaviours = [(row, extra, False) for row, extra in plan.leaves]
        class_of: dict[tuple[tuple[int, ...], tuple[int, ...], bool], int] = {}
        classes = []
        for epoch, epoch_rows in enumerate(plan.rows):
            for link, row in enumerate(epoch_rows):
                extra = plan.extras[epoch][link] if plan.extras else ()
                behaviour = (row, extra, scenario.is_ideal(epoch, link))
                number = class_of.setdefault(behaviour, len(behaviours))
                if number == len(behaviours):
                    behaviours.append(behaviour)
                classes.append(number)
        rows: list[int] = []
        extras: list[int] = []
        for row, extra, ideal in behaviours:
            rows += [*row, *[0] * (m.ROW_WORDS - ROW_LENGTH - 1), int(ideal)]
            if extra:
                extras += [*extra, *[0] * (m.EXTRA_WORDS - EXTRA_LENGTH)]
        return classes, rows, extras

    def _message_sizes(self) -> list[int]:
        """Return the bytes of a message of each kind."""
        sizes = getattr(self.scenario.protocol, "sizes", {})
        return [sizes.get(kind, MESSAGE_BYTES) for kind in range(self.kinds)]

    def _services(self) -> dict[int, list[int]]:
        """Return the words of replicas that differ in service, and the tables of its time, each once."""
        if not self.scenario.services:
            return {}
        place_of: dict[tuple[int, ...], int] = {}
        words: list[int] = []
        for service in self.scenario.services:
            if service is None:
                words += [-1, 0]
                continue
            number = place_of.setdefault(service.table, len(place_of))
            words += [number * quantiles.KNOTS, service.inbox_limit]
        return {m.SERVICES_AT: words, m.SERVICE_TABLES_AT: [knot for table in place_of for knot in table]}

    def _regions(self) -> list[tuple[int, int]]:
        """Return (register, words) of the regions in order; those of SCRATCH begin at zero in every run."""
        room, links, epochs = self.room, self.link_count, len(self.plan.boundaries_ns)
        scratch = [
            (m.COUNTERS_AT, len(self.lifted.counters)),
            (m.NODES_AT, self.nodes * m.NODE_WORDS),
            (m.CURRENT_AT, 2 * len(self.scenario.protocol.settings)),
            (m.CELLS_AT, links * self.kinds * m.CELL),
            (m.EVIDENCE_AT, links * epochs * m.EVIDENCE),
            (m.BURSTS_AT, 2 * links),
            (m.HELD_AT, HELD_WORDS * len(self.scenario.stages)),
            (m.READS_AT, len(self.scenario.skews)),
        ]
        if self.scenario.remembers:
            pieces = self.nodes * self.nodes if links == 1 else 1
            scratch += [(m.MEMORY_AT, pieces * self.plan.memory_words), (m.CORRUPTED_AT, links * self.kinds)]
        self.ring = m.RING_SMALLEST
        while self.ring < room.queue // 4:
            self.ring *= 2
        self.scratch_size = sum(size for _, size in scratch)
        return [
            (m.SCRATCH_AT, 0),
            *scratch,
            (m.OPERATIONS_AT, 3 * room.operations),
            (m.QUEUE_AT, m.RECORD * room.queue),
            (m.NEXT_AT, room.queue),
            (m.NEAR_AT, 2 * room.queue),
            (m.RING_AT, self.ring),
            (m.OUT_AT, m.EFFECT * room.outbox),
            (m.SEEN_AT, m.SEEN_WORDS * room.observations),
            (m.TRACE_AT, m.TRACE_WORDS * room.trace),
            (m.STATE_AT, room.state),
        ]

    def _scalars(self, events_max: int) -> None:
        scenario, room = self.scenario, self.room
        workload, bursts = scenario.workload, scenario.bursts
        values = {
            **self.counts,
            m.NODES: self.nodes,
            m.REPLICAS: self.nodes - 1,
            m.HORIZON: scenario.horizon_ns,
            m.EVENTS_MAX: events_max,
            m.SERVICE_NS: scenario.service_ns or int(bool(scenario.services)),
            m.MEMORY_STRIDE: self.plan.memory_words if self.link_count == 1 else 0,
            m.INBOX_LIMIT: scenario.inbox_limit,
            m.EPOCHS: len(self.plan.boundaries_ns),
            m.LINKS: self.link_count,
            m.KINDS: self.kinds,
            m.SETTING_COUNT: len(scenario.protocol.settings),
            m.BURST_GOOD_TABLE: self.burst_tables[0],
            m.BURST_BAD_TABLE: self.burst_tables[1],
            m.BURST_GOOD_PPM: bursts.good_loss_ppm if bursts else 0,
            m.BURST_BAD_PPM: bursts.bad_loss_ppm if bursts else 0,
            m.POISSON: int(workload is not None and workload.arrivals.shape == "poisson"),
            m.RATE: workload.arrivals.rate_millihertz if workload else 0,
            m.DURATION: workload.duration if workload else 0,
            m.KEYS: workload.keys if workload else 1,
            m.GAP_TABLE: self.gap_table,
            m.ZIPF_TABLE: self.zipf_table,
            m.OPERATIONS_CAP: room.operations,
            m.QUEUE_CAP: room.queue,
            m.RING_MASK: self.ring - 1,
            m.WIDTH: 18,
            m.OUT_CAP: room.outbox,
            m.SEEN_CAP: room.observations,
            m.TRACE_CAP: room.trace,
            m.COUNTERS: len(self.lifted.counters),
            m.SCRATCH_SIZE: self.scratch_size,
            m.STATE_CAP: room.state,
            m.SIZE_KEYS: workload.keys if workload else 1,
            m.SIZE_NODES: self.nodes,
        }
        for register, value in values.items():
            self.words[register] = value

    # What a run left

    def region(self, register: int, count: int) -> Column:
        """Return a copy of the first words of a region."""
        at = int(self.words[register])
        return self.words[at : at + count].copy()

    def state(self) -> dict[str, list[Column | None]]:
        """Return every field of every node, None where a node does not have it; scalars are columns of one."""
        words = self.words
        result: dict[str, list[Column | None]] = {}
        for group in self.lifted.groups:
            elements = int(words[DIMENSIONS[group.size]]) if group.size else 1
            width = len(group.names)
            for position, name in enumerate(group.names):
                declared = self.scenario.protocol.fields[name]
                rows: list[Column | None] = []
                at = int(words[m.GROUPS + group.number])
                for node in range(self.nodes):
                    if not owns(declared, node, self.nodes - 1):
                        rows.append(None)
                        continue
                    rows.append(words[at : at + elements * width].reshape(elements, width)[:, position].copy())
                    at += elements * width
                result[name] = rows
        return {name: result[name] for name in self.scenario.protocol.fields}


Announce = Callable[[str], None] | None
Rows = Sequence[Sequence[int]]
Anything = Any
