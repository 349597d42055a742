"""When a run breaks the rules of its alarms."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.alarms import ALARMS
from lab.alarms.alarm import grid
from lab.history import History
from lab.spec.rules import STEP_NS, Rule

AFTERMATH_NS = 2_000_000_000
_OPERATORS: dict[str, Callable[..., NDArray[np.bool_]]] = {"<": operator.lt, ">": operator.gt}


@dataclass(frozen=True, slots=True)
class Ringing:
    """One alarm of one run: rung in [start_ns, stop_ns), at worst at `worst` (in the alarm's unit).

    `in_fault`: some fault of the run, or the two seconds after it, overlapped it.
    """

    rule: str
    start_ns: int
    stop_ns: int
    worst: float
    in_fault: bool


def ringings(history: History, rules: Sequence[Rule]) -> tuple[Ringing, ...]:
    """Return when each rule rang in a run, in order of rules and time.

    A rule rings from the instant at which its series has been beyond the limit at every step for `for_ns`, until the
    first step at which it is not. Steps at which a series is not defined are not beyond any limit.
    """
    grid_ns = grid(history.horizon_ns)
    found: list[Ringing] = []
    for rule in rules:
        series = ALARMS[rule.alarm].function(history, grid_ns)
        beyond = _OPERATORS[rule.sign](series, rule.limit) & ~np.isnan(series)
        edges = np.flatnonzero(np.diff(np.concatenate(([0], beyond.astype(np.int8), [0]))))
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            start = begin + rule.for_ns // STEP_NS
            if start >= end:
                continue
            worst = series[begin:end].max() if rule.sign == ">" else series[begin:end].min()
            start_ns = int(grid_ns[start])
            stop_ns = int(grid_ns[end]) if end < len(grid_ns) else history.horizon_ns
            found.append(Ringing(rule.text, start_ns, stop_ns, float(worst), _in_fault(history, start_ns, stop_ns)))
    return tuple(found)


def _in_fault(history: History, start_ns: int, stop_ns: int) -> bool:
    return any(fault.start_ns < stop_ns and start_ns < fault.stop_ns + AFTERMATH_NS for fault in history.faults)
