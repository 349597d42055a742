"""Runs in compiled code: one seed as a history, many seeds as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.core.nodes import HELD_WORDS, KEPT
from lab.engines import record
from lab.engines.compiled.generate import Announce, Compiled, Options, load
from lab.engines.compiled.kernel import entry
from lab.engines.compiled.kernel import memory as m
from lab.engines.compiled.layout import ROOM_ERRORS, Block, Room, first_room
from lab.engines.compiled.measures import Measurer, Measures
from lab.engines.context import EVENT_NAMES, MESSAGE, ProtocolMistake, TraceRow
from lab.engines.scenario import EVENTS_MAX, BudgetExceeded, Scenario
from lab.history import History
from lab.protocols import name_of

Column = NDArray[np.int64]
CHUNK = 100  # seeds a call: long enough to hide the call, short enough to share the work evenly


@dataclass(frozen=True, slots=True)
class Columns:
    """Many runs as columns, one row a run, in the order asked for.

    `policy` is the row of `policies` a run used; `trace_hash` and `event_count` are those of its history; `counters`
    maps the protocol's counters to columns; `pending_peak` is the most events that were pending at once.
    """

    seed: Column
    policy: Column
    event_count: Column
    trace_hash: Column
    operations: Column
    pending_peak: Column
    counters: dict[str, Column]
    measures: Measures | None = None

    def __len__(self) -> int:
        return len(self.seed)


def options_of(scenario: Scenario) -> Options:
    """Return the options of the module that a scenario needs."""
    return Options(
        remembers=scenario.remembers,
        services=bool(scenario.services),
        holds=scenario.holds,
        clocks=scenario.skews_clocks,
    )


def load_for(scenario: Scenario, announce: Announce = None) -> Compiled:
    """Return the module that a scenario needs: its protocol's, with the options it uses. Raise as `load`."""
    return load(scenario.protocol, announce, options_of(scenario))


class Worker:
    """One block of memory and the loop over it; not shared between threads."""

    def __init__(self, scenario: Scenario, compiled: Compiled, room: Room, events_max: int) -> None:
        self.scenario, self.compiled, self.events_max = scenario, compiled, events_max
        self.block = Block(scenario, compiled.lifted, room, events_max)

    def run(self, seeds: Column, policy: Column, policies: Column, results: Column, start: int, stop: int) -> None:
        """Run `seeds[start:stop]` into `results`, growing the block and running again where room is missing."""
        while start < stop:
            block = self.block
            try:
                start = self.compiled.module.run_chunk(
                    block.words.ctypes.data, block.pointers.ctypes.data, seeds.ctypes.data, policy.ctypes.data,
                    policies.ctypes.data, policies.shape[1], results.ctypes.data, start, stop,
                )  # fmt: skip
            except IndexError:
                raise self.mistake() from None
            if start < stop:
                self.recover()

    def recover(self) -> None:
        """Grow the block, or raise what stopped the run."""
        words = self.block.words
        error, site, value = int(words[m.ERROR]), int(words[m.ERROR_SITE]), int(words[m.ERROR_VALUE])
        if error in ROOM_ERRORS:
            width = int(words[m.WIDTH])
            self.block = Block(
                self.scenario, self.compiled.lifted, self.block.room.grown(error, value), self.events_max
            )
            self.block.words[m.WIDTH] = width
        elif error == m.BUDGET_SPENT:
            where = f"last at {self.scenario.names[site]} ({EVENT_NAMES[value]})"
            raise BudgetExceeded(f"over {self.events_max} events at {int(words[m.NOW])} ns, {where}")
        elif error == m.TOO_MANY_OPERATIONS:
            self.scenario.operations(int(words[m.SEED]))  # raises with the number
        else:
            raise AssertionError(f"the compiled executor stopped with error {error}")

    def mistake(self) -> ProtocolMistake:
        """Return the author's mistake that stopped the run, with its file and line."""
        words, lifted = self.block.words, self.compiled.lifted
        site = lifted.sites[int(words[m.ERROR_SITE])]
        text = site.text.format(value=int(words[m.ERROR_VALUE]))
        where = f"seed {int(words[m.SEED])}, {int(words[m.NOW])} ns"
        return ProtocolMistake(f"{lifted.file}:{site.line}: {text} ({where})")


def run(
    scenario: Scenario,
    seed: int,
    *,
    events_max: int = EVENTS_MAX,
    trace: list[TraceRow] | None = None,
    states: dict[str, list[list[int] | None]] | None = None,
    room: Room | None = None,
    announce: Announce = None,
) -> History:
    """Run one seed and return its history, equal to the reference executor's; arguments as there.

    `room` is what to begin with (results do not depend on it), `announce` gets a sentence before a compilation.
    """
    (history,) = histories(
        scenario, [seed], events_max=events_max, trace=trace, states=states, room=room, announce=announce
    )
    return history


def histories(
    scenario: Scenario,
    seeds: Sequence[int],
    *,
    events_max: int = EVENTS_MAX,
    trace: list[TraceRow] | None = None,
    states: dict[str, list[list[int] | None]] | None = None,
    room: Room | None = None,
    announce: Announce = None,
) -> Iterator[History]:
    """Yield the history of each seed in order. One worker serves them all; building a history costs more than running
    it.
    """
    compiled = load_for(scenario, announce)
    room = room or first_room(scenario)
    if trace is not None:
        room = Room(**{**_fields(room), "trace": max(room.trace, 4096)})
    worker = Worker(scenario, compiled, room, events_max)
    policies = np.array([scenario.params], dtype=np.int64).reshape(1, -1)
    results = np.zeros((1, _width(compiled)), dtype=np.int64)
    for seed in seeds:
        worker.run(np.array([seed], dtype=np.int64), np.zeros(1, dtype=np.int64), policies, results, 0, 1)
        if trace is not None:
            trace += _trace(worker.block)
        if states is not None:
            for name, rows in worker.block.state().items():
                states[name] = [None if row is None else row.tolist() for row in rows]
        yield record.build(scenario, _raw(scenario, compiled, worker.block, seed, results[0]))


def run_many(
    scenario: Scenario,
    seeds: Sequence[int] | Column,
    *,
    policies: Sequence[Any] | None = None,
    threads: int = 2,
    events_max: int = EVENTS_MAX,
    room: Room | None = None,
    chunk: int = CHUNK,
    measures: bool = False,
    announce: Announce = None,
) -> Columns:
    """Run every seed under every policy in compiled code, without the interpreter lock, and return columns.

    `policies` are rows of the protocol's parameters (`scenario.params` of scenarios that differ in nothing else); rows
    of the result are all seeds of the first policy, then of the second. With `measures`, every run is measured as
    `lab.metrics` would measure its history. Results do not depend on `threads`, `chunk` or `room`.
    """
    if measures and name_of(scenario.protocol) != "changelog":
        raise ValueError("columns of measures are of the changelog alone; take `histories` and `lab.metrics`")
    compiled = load_for(scenario, announce)
    rows = np.array([tuple(row) for row in (policies or [scenario.params])], dtype=np.int64).reshape(
        -1, len(scenario.protocol.parameters)
    )
    seed = np.tile(np.asarray(seeds, dtype=np.int64), len(rows))
    policy = np.repeat(np.arange(len(rows), dtype=np.int64), len(seeds))
    results = np.zeros((len(seed), _width(compiled)), dtype=np.int64)
    measured = Measurer.table(scenario, len(seed)) if measures else None
    room = room or first_room(scenario)
    chunk = max(1, min(chunk, -(-len(seed) // (4 * threads))))
    pending = iter(range(0, len(seed), chunk))  # threads take chunks from it until none is left: next() is atomic

    def serve() -> None:
        worker = Worker(scenario, compiled, room, events_max)
        measurer = Measurer(scenario, announce) if measured is not None else None
        for start in pending:
            stop = min(start + chunk, len(seed))
            if measurer is None or measured is None:
                worker.run(seed, policy, rows, results, start, stop)
                continue
            for number in range(start, stop):
                worker.run(seed, policy, rows, results, number, number + 1)
                measurer.measure(worker.block, measured[number])

    if threads == 1 or len(seed) <= chunk:
        serve()
    else:
        if measures:
            Measurer(scenario, announce)  # compile before the threads begin
        with ThreadPoolExecutor(threads) as pool:
            for future in [pool.submit(serve) for _ in range(threads)]:
                future.result()
    columns = Measures.of(scenario, measured, results, compiled.lifted.counters) if measured is not None else None
    return _columns(compiled, seed, policy, results, columns)


def _fields(room: Room) -> dict[str, int]:
    return {name: getattr(room, name) for name in Room.__slots__}


def _width(compiled: Compiled) -> int:
    return entry.FIXED_COLUMNS + len(compiled.lifted.counters)


def _columns(compiled: Compiled, seed: Column, policy: Column, results: Column, measures: Measures | None) -> Columns:
    fixed = entry.FIXED_COLUMNS
    return Columns(
        seed=seed,
        policy=policy,
        event_count=results[:, entry.C_EVENTS],
        trace_hash=results[:, entry.C_TRACE_HASH],
        operations=results[:, entry.C_OPERATIONS],
        pending_peak=results[:, entry.C_PENDING_PEAK],
        counters={name: results[:, fixed + index] for index, name in enumerate(compiled.lifted.counters)},
        measures=measures,
    )


def _trace(block: Block) -> list[TraceRow]:
    rows = block.region(m.TRACE_AT, int(block.words[m.TRACED]) * m.TRACE_WORDS).reshape(-1, m.TRACE_WORDS)
    traced = []
    for time_ns, meta, key, a, b, c, d, _ in rows.tolist():
        what = meta & m.WHAT_MASK
        shown = MESSAGE if what == m.SERVED else what
        node, source = (meta >> 12) & m.NODE_MASK, (meta >> 32) & m.NODE_MASK
        traced.append(TraceRow(time_ns, shown, node, source, (meta >> 4) & m.KIND_MASK, (a, b, c, d), key))
    return traced


def _observations(block: Block) -> Column:
    packed = block.region(m.SEEN_AT, int(block.words[m.SEEN]) * m.SEEN_WORDS).reshape(-1, m.SEEN_WORDS)
    table = np.empty((len(packed), 5), dtype=np.int64)
    table[:, 0] = packed[:, 0]
    table[:, 1] = packed[:, 1] >> 8
    table[:, 2] = packed[:, 1] & 255
    table[:, 3:] = packed[:, 2:]
    return table


def _link_counters(block: Block) -> dict[tuple[int, int, int], list[int]]:
    nodes = block.nodes if block.link_count > 1 else 1
    cells = block.region(m.CELLS_AT, block.link_count * block.kinds * m.CELL).reshape(-1, block.kinds, m.CELL)
    corrupted = np.zeros(cells.shape[:2], dtype=np.int64)
    if block.scenario.remembers:
        corrupted = block.region(m.CORRUPTED_AT, corrupted.size).reshape(corrupted.shape)
    links, kinds = np.nonzero(cells[:, :, m.SENT])
    return {
        (*divmod(int(link), nodes), int(kind)): [*cells[link, kind].tolist(), int(corrupted[link, kind])]
        for link, kind in zip(links, kinds, strict=True)
    }


def _evidence(block: Block) -> dict[tuple[int, int, int], list[int]]:
    nodes = block.nodes if block.link_count > 1 else 1
    epochs = len(block.plan.boundaries_ns)
    rows = block.region(m.EVIDENCE_AT, block.link_count * epochs * m.EVIDENCE).reshape(epochs, -1, m.EVIDENCE)
    found = zip(*np.nonzero(rows.any(axis=2)), strict=True)
    return {(int(epoch), *divmod(int(link), nodes)): rows[epoch, link].tolist() for epoch, link in found}


def _raw(scenario: Scenario, compiled: Compiled, block: Block, seed: int, result: Column) -> record.Raw:
    count = int(result[entry.C_OPERATIONS])
    operations = block.region(m.OPERATIONS_AT, 2 * count).reshape(-1, 2)
    state = block.state()
    finals = []
    for node in range(len(scenario.names) - 1):
        fields = {name: rows[node] for name, rows in state.items() if rows[node] is not None}
        finals.append(record.final_state(fields, scenario.protocol.read_state))
    return record.Raw(
        seed=seed,
        executor="compiled",
        intended_ns=operations[:, 0].copy(),
        keys=operations[:, 1].copy(),
        observations=_observations(block),
        counters={
            name: int(result[entry.FIXED_COLUMNS + index]) for index, name in enumerate(compiled.lifted.counters)
        },
        links=_link_counters(block),
        evidence=_evidence(block),
        finals=finals,
        event_count=int(result[entry.C_EVENTS]),
        trace_hash=int(result[entry.C_TRACE_HASH]),
        kept=block.region(m.HELD_AT, HELD_WORDS * len(scenario.stages)).reshape(-1, HELD_WORDS)[:, KEPT].tolist(),
        reads=block.region(m.READS_AT, len(scenario.skews)).tolist(),
    )
