"""The measures of many runs as columns, by the names and definitions of `lab.metrics`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.engines.compiled.generate import Announce, load_measures
from lab.engines.compiled.kernel import entry
from lab.engines.compiled.kernel import measures as m
from lab.engines.compiled.layout import Block
from lab.engines.scenario import Scenario

Column = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Name of a measure -> (column, whether the next column says that it is censored).
DIRECT: dict[str, tuple[int, bool]] = {
    "convergence_final": (m.CONVERGENCE_FINAL, True),
    "visibility_lag_p50": (m.VISIBILITY_P50, True),
    "visibility_lag_p99": (m.VISIBILITY_P99, True),
    "staleness_max": (m.STALENESS, True),
    "staleness_versions_max": (m.STALENESS_VERSIONS, False),
    "acknowledge_latency_p50": (m.LATENCY_P50, True),
    "acknowledge_latency_p99": (m.LATENCY_P99, True),
    "lost_acknowledged": (m.LOST_COUNT, False),
    "duplicate_effects": (m.DUPLICATE_COUNT, False),
    "order_violations": (m.VIOLATION_COUNT, False),
    "digest_unequal": (m.UNEQUAL_COUNT, False),
    "rejected": (m.REJECTED_COUNT, False),
}
COUNTERS = {
    "transmissions": "transmissions",
    "retries": "retries",
    "repairs": "repairs",
    "bytes_sent": "bytes",
    "out_of_order_deliveries": "out_of_order",
}


@dataclass(frozen=True, slots=True)
class Measures:
    """One row a run. `value[name]` is NaN where it is not defined, `censored[name]` where the true value is above it.

    `is_measured` is False for a run in which a replica lost its state: its other entries mean nothing, make its history
    and judge that. `fault_value` and `fault_censored` hold the convergence of each fault, a column a fault.
    """

    is_measured: Flags
    value: dict[str, Floats]
    censored: dict[str, Flags]
    fault_value: Floats
    fault_censored: Flags

    @classmethod
    def of(cls, scenario: Scenario, table: Column, results: Column, counters: Sequence[str]) -> Measures:
        """Return the measures from the raw columns of runs."""
        value: dict[str, Floats] = {}
        censored: dict[str, Flags] = {}
        none = np.zeros(len(table), dtype=np.bool_)
        for name, (column, has_flag) in DIRECT.items():
            value[name] = _defined(table[:, column])
            censored[name] = table[:, column + 1] != 0 if has_flag else none
        faults = table[:, m.FAULTS_FROM :]
        fault_value, fault_censored = _defined(faults[:, 0::2]), faults[:, 1::2] != 0
        worst = faults[:, 0::2].max(axis=1, initial=-1)
        value["convergence"], censored["convergence"] = _defined(worst), fault_censored.any(axis=1)
        operations = results[:, entry.C_OPERATIONS]
        replicas = len(scenario.names) - 1
        value["operations"] = operations.astype(np.float64)
        answered = table[:, m.ACKNOWLEDGED_COUNT] + table[:, m.REJECTED_COUNT]
        value["unknown"] = (operations - answered).astype(np.float64)
        value["availability"] = _share(table[:, m.IN_TIME_COUNT], operations)
        pairs = replicas * scenario.key_count
        value["divergence_max"] = table[:, m.DIVERGED_PAIRS] / pairs
        value["divergence_area"] = table[:, m.DIVERGED_AREA] / pairs / 1e9
        censored["divergence_area"] = table[:, m.DIVERGED_AT_END] > 0
        for name, counter in COUNTERS.items():
            if counter in counters:
                value[name] = results[:, entry.FIXED_COLUMNS + list(counters).index(counter)].astype(np.float64)
        if "transmissions" in value:
            value["amplification"] = _share(value["transmissions"], table[:, m.ACCEPTED_COUNT] * (replicas - 1))
        for index, name in enumerate(counters):
            value[f"count.{name}"] = results[:, entry.FIXED_COLUMNS + index].astype(np.float64)
        for name in value:
            censored.setdefault(name, none)
        return cls(table[:, m.MEASURED] != 0, value, censored, fault_value, fault_censored)


def _defined(column: Column) -> Floats:
    return np.where(column < 0, np.nan, column.astype(np.float64))


def _share(part: Column | Floats, whole: Column) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


class Measurer:
    """The work space of one worker for measuring the run that is in its block."""

    def __init__(self, scenario: Scenario, announce: Announce) -> None:
        self.module = load_measures(announce)
        heals = [fault.stop_ns if fault.stop_ns > fault.start_ns else -1 for fault in scenario.faults]
        self.heals = np.array(heals, dtype=np.int64)
        self.deadline_ns = scenario.workload.client.deadline if scenario.workload else 0
        self._resize(1 << 14)

    def _resize(self, size: int) -> None:
        self.work = np.zeros(size, dtype=np.int64)
        self.work[m.W_SIZE] = size

    @staticmethod
    def table(scenario: Scenario, runs: int) -> Column:
        """Return the raw columns of so many runs, empty."""
        return np.zeros((runs, m.FAULTS_FROM + 2 * len(scenario.faults)), dtype=np.int64)

    def measure(self, block: Block, result: Column) -> None:
        """Measure the run that the block holds into one row of raw columns."""
        while True:
            needed = self.module.measure_run(
                block.words.ctypes.data, self.work.ctypes.data, self.heals.ctypes.data, len(self.heals),
                self.deadline_ns, len(result), result.ctypes.data,
            )  # fmt: skip
            if needed == 0:
                return
            self._resize(2 * needed)
