"""What an alarm is: a named series over a run, looked at as a monitor does, ten times a second over the last second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.history import Column, History
from lab.spec.rules import STEP_NS

WINDOW_NS = 1_000_000_000
Series = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A series that can be compared with a limit.

    `unit` is `ns`, `share`, `rate` (a second) or `count`; `function(history, grid_ns)` returns the series at each
    instant of the grid, NaN where it is not defined; `runbook` is the file below docs/runbooks/.
    """

    name: str
    unit: str
    summary: str
    runbook: str
    function: Callable[[History, Column], Series]


def grid(horizon_ns: int) -> Column:
    """Return the instants (ns) at which a run is looked at: every 100 ms from 100 ms to the horizon."""
    return np.arange(STEP_NS, horizon_ns + 1, STEP_NS, dtype=np.int64)


def in_window(time_ns: Column, grid_ns: Column) -> tuple[Column, Column]:
    """Return, per instant t of the grid, the bounds [first, last) of the sorted `time_ns` in (t - 1 s, t]."""
    return (
        np.searchsorted(time_ns, grid_ns - WINDOW_NS, side="right"),
        np.searchsorted(time_ns, grid_ns, side="right"),
    )
