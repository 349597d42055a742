"""What faults do that only real replicas and real connections have: stock toxics, disturbances inside a replica,
another program in its place.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StockToxic:
    """One of Toxiproxy's own toxics on one directed link: its type, its attributes in Toxiproxy's names and units, and
    the share of connections (millionths) on which it acts.
    """

    type: str
    attributes: tuple[tuple[str, int], ...]
    share_ppm: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Inside:
    """Values that a replica is told through `POST /faults` for [start_ns, stop_ns); `evidence` is the counter that must
    grow meanwhile.
    """

    node: str
    start_ns: int
    stop_ns: int
    values: tuple[tuple[str, int], ...]
    evidence: str


@dataclass(frozen=True, slots=True)
class Replacement:
    """The program that takes a replica's place while it is down; None: as before.

    With `warm_ns` above 0 it is prepared beside the replica for that long before, with a store of its own.
    """

    node: str
    runtime: str | None
    schema_version: int | None
    warm_ns: int = 0
