"""The fate of one message on one link: delivered or not, how many copies, how late.

A link's behaviour at an instant is one *row* of integers (columns below); the baseline of the network and every
active fault
are composed into the row before the run, so this function is all there is to know about a link. The simulator calls it
with causal keys, the `message` toxic in Go with a message counter; both read the same rows and tables
(`compose/golden/fate.json`).
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.core.draws import COPY, DELAY, DUPLICATE, LOSS, REORDER, below, mix
from lab.core.quantiles import lookup

# Columns of a row. Delay-law columns hold indices into the table list, -1 where unused; their delays add up.
CUT = 0
LOSS_PPM = 1
DUPLICATE_PPM = 2
REORDER_PPM = 3
REORDER_BY_NS = 4
TABLE_0 = 5
TABLE_COUNT = 4
ROW_LENGTH = TABLE_0 + TABLE_COUNT

# Negative answers say why a copy was not delivered.
LOST = -1
CUT_OFF = -2
NO_COPY = -3


def copy_delay_ns(row: Sequence[int], tables: Sequence[Sequence[int]], key: int) -> int:
    """Return the delay of one copy in nanoseconds, or LOST. Draws are keyed, so those that a row does not need are
    not made.
    """
    if row[LOSS_PPM] and below(mix(key, LOSS), row[LOSS_PPM]):
        return LOST
    delay_ns = 0
    for slot in range(TABLE_COUNT):
        table = row[TABLE_0 + slot]
        if table >= 0:
            delay_ns += lookup(tables[table], mix(key, DELAY + (slot << 8)))
    if row[REORDER_PPM] and below(mix(key, REORDER), row[REORDER_PPM]):
        delay_ns += row[REORDER_BY_NS]
    return delay_ns


def fate(row: Sequence[int], tables: Sequence[Sequence[int]], key: int) -> tuple[int, int]:
    """Return (delay of the message, delay of its duplicate); negative numbers are LOST, CUT_OFF or NO_COPY.

    Duplication is decided first and each copy has its own loss, delay and reordering, as in tc-netem. A cut takes
    everything.
    """
    if row[CUT]:
        return CUT_OFF, NO_COPY
    first = copy_delay_ns(row, tables, key)
    if row[DUPLICATE_PPM] and below(mix(key, DUPLICATE), row[DUPLICATE_PPM]):
        return first, copy_delay_ns(row, tables, mix(key, COPY))
    return first, NO_COPY
