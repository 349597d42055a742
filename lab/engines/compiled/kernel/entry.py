"""The only function that Python calls: a chunk of seeds under rows of parameters, without the interpreter lock.

The loop over events stands in it as a whole, rather than in a function of its own: Numba optimises every function once
for itself and once more in each caller, which for code of this size takes seconds.
"""

from __future__ import annotations

from lab.engines.compiled.kernel.handlers import on_message, on_operation, on_set, on_start, on_timer
from lab.engines.compiled.kernel.loop import begin, crash, is_paused, note, prepare_run, reaches, restart
from lab.engines.compiled.kernel.marks import Tables, Words, as_tables, as_words, called, entry, slice_at
from lab.engines.compiled.kernel.memory import *
from lab.engines.compiled.kernel.network import drain
from lab.engines.compiled.kernel.not_holding import passed
from lab.engines.compiled.kernel.queue import pop

# The columns that every run has, before the protocol's counters and the summary.
C_EVENTS = 0
C_TRACE_HASH = 1
C_OPERATIONS = 2
C_PENDING_PEAK = 3
FIXED_COLUMNS = 4


@called
def start_run(M: Words, T: Tables, seed: int, row: Words, parameter_count: int) -> None:
    """Begin the run of a seed under a row of parameters."""
    M[SEED] = seed
    for index in range(parameter_count):
        M[PARAMETERS + index] = row[index]
    prepare_run(M, T)
    if M[ERROR] == 0:
        begin(M)


@called
def write_result(M: Words, result: Words) -> None:
    """Write a run's row of results."""
    result[C_EVENTS] = M[EVENTS]
    result[C_TRACE_HASH] = M[TRACE_HASH]
    result[C_OPERATIONS] = M[OPERATIONS]
    result[C_PENDING_PEAK] = M[QUEUE_USED]
    for index in range(M[COUNTERS]):
        result[FIXED_COLUMNS + index] = M[M[COUNTERS_AT] + index]


@entry
def run_chunk(
    block: int, tables: int, seeds: int, rows: int, parameters: int, width: int, results: int, start: int, stop: int
) -> int:
    """Run the seeds [start, stop) and write one row of results each; return the seed that failed, or `stop`.

    The arguments but the last two are addresses of int64 arrays and the number of parameters: `seeds[i]` runs with the
    parameters `parameters[rows[i]]`.
    """
    M = as_words(block)
    T = as_tables(tables)
    result_width = FIXED_COLUMNS + M[COUNTERS]
    for number in range(start, stop):
        row = slice_at(as_words(parameters), as_words(rows)[number] * width)
        start_run(M, T, as_words(seeds)[number], row, width)
        while M[ERROR] == 0:
            slot = pop(M)
            if slot < 0:
                break
            record = M[QUEUE_AT] + slot * RECORD
            now = M[record]
            if now >= M[HORIZON]:
                break
            meta, key = M[record + R_META], M[record + R_KEY]
            a, b, c, d = M[record + R_A], M[record + R_A + 1], M[record + R_A + 2], M[record + R_A + 3]
            M[NOW] = now
            M[M[NEXT_AT] + slot] = M[FREE]
            M[FREE] = slot
            if is_paused(M, now, meta, key, a, b, c, d):
                continue
            meta = passed(M, now, meta, key, a, b, c, d)
            if meta < 0 or not reaches(M, now, meta, key, a, b, c, d):
                continue
            note(M, now, meta, key, a, b, c, d)
            what, kind, node = meta & WHAT_MASK, (meta >> 4) & KIND_MASK, (meta >> 12) & NODE_MASK
            if what == MESSAGE or what == SERVED:
                on_message(M, node, now, key, (meta >> 32) & NODE_MASK, kind, a, b, c, d)
            elif what == TIMER:
                on_timer(M, node, now, key, kind, a, b, c, d)
            elif what == OPERATION:
                on_operation(M, node, now, key, a, b)
            elif what == START:
                on_start(M, node, now, key)
            elif what == SET:
                on_set(M, node, now, key, kind, a)
            elif what == CRASH:
                crash(M, node, a, now)
            else:
                key = restart(M, node, now)
            if M[OUT]:
                drain(M, T, node, now, key)
        if M[ERROR]:
            return number
        write_result(M, slice_at(as_words(results), number * result_width))
    return stop
