"""Did a fault on a link act? Told from what the servers and the replicas counted while it was in force. Pure.

Our own server counts what it did to each frame under each row. A stock server counts bytes that came and bytes that
went on. There, what swallows must have swallowed at least a quarter of its share (less may be what was on its way when
the counts were read), and what delays or slices must have had bytes to act on while it was read back as in force.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.containers.chain import HOLD, WHOLE_PPM
from lab.containers.conduct import Snapshot
from lab.containers.links import Link
from lab.containers.stock import Traffic
from lab.containers.toxiproxy import RowCounts

SWALLOWS = frozenset({"timeout", "reset_peer"})
Span = tuple[Snapshot, Snapshot]


def acted(kind: str, row: RowCounts) -> int:
    """Return how many messages show a fault's evidence in the counts of one row."""
    if kind == "delayed":
        unharmed = row.frames + row.duplicated - row.lost - row.cut - row.corrupted - row.overflow
        return unharmed if row.delay_ns_total > 0 else 0
    if kind == "carried":
        return row.frames
    return int(getattr(row, kind))


def of_link(index: int, kind: str, link: Link, rows: Sequence[RowCounts], spans: Sequence[Span]) -> int:
    """Return how often fault `index`, whose evidence is `kind`, acted on a link: messages, connections or bytes.

    `rows` are the link's counts by row (framed); `spans` hold the snapshots before its begin and after its end, if both
    were taken.
    """
    if index in link.killers:
        return sum(_unsent(link, *span) for span in spans)
    mine = [toxic for toxic in link.toxics if toxic.owner == index]
    if any(toxic.type == "limit_data" for toxic in mine):  # the receiver sees frames without their end
        return sum(_counted(link.target, "partial_frames", *span) for span in spans)
    if link.framed and any(toxic.type == "reset_peer" for toxic in mine):
        return sum(_connections(link, *span) for span in spans)
    if link.framed and any(toxic.type == HOLD for toxic in mine):
        names = [f"{link.name}/{toxic.name}" for toxic in mine if toxic.type == HOLD]
        return sum(after.held.get(name, 0) - before.held.get(name, 0) for before, after in spans for name in names)
    if link.framed:
        return sum(acted(kind, row) for row, active in zip(rows, link.faults, strict=True) if index in active)
    if kind == "duplicated":
        return sum(_counted(link.source, "duplicated", *span) for span in spans)
    swallowed_ppm = max((toxic.share_ppm for toxic in mine if toxic.type in SWALLOWS), default=0)
    return sum(_bytes(link, swallowed_ppm, *span) for span in spans)


def _bytes(link: Link, swallowed_ppm: int, before: Snapshot, after: Snapshot) -> int:
    one = after.traffic.get(link.name, Traffic()) - before.traffic.get(link.name, Traffic())
    if not swallowed_ppm:
        return one.received
    return one.lost if 4 * one.lost * WHOLE_PPM >= one.received * swallowed_ppm else 0


def _connections(link: Link, before: Snapshot, after: Snapshot) -> int:
    return after.connections.get(link.name, 0) - before.connections.get(link.name, 0)


def _unsent(link: Link, before: Snapshot, after: Snapshot) -> int:
    """Return the frames that found no connection, or the connections that were opened again."""
    return _counted(link.source, "unsent", before, after) + max(0, _connections(link, before, after))


def _counted(replica: str, counter: str, before: Snapshot, after: Snapshot) -> int:
    return max(0, after.counters[replica][counter] - before.counters[replica][counter])
