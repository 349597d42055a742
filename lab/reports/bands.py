"""Faults as the figures and tables show them: one row a fault and variant, numbered, over all runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.faults import FAULTS
from lab.metrics import Estimate, RunValue, summarise
from lab.reports.draw import safe_colour, safe_hatch
from lab.reports.text import one_line

if TYPE_CHECKING:
    import pandas as pd

BANDS_MAX = 12  # more shaded bands than this cannot be told apart


@dataclass(frozen=True, slots=True)
class Band:
    """One fault in one variant; `number` starts at 1.

    Times are medians over runs; `bits` has one entry for each run that counted how often it acted.
    """

    variant: str
    number: int
    kind: str
    label: str
    start_ns: float
    stop_ns: float
    colour: str
    hatch: str
    bits: tuple[int, ...]
    runs: int
    unhealed: int
    p50: Estimate
    p95: Estimate

    @property
    def lasts(self) -> bool:
        """Whether it heals; a switch does not."""
        return self.stop_ns > self.start_ns

    @property
    def gid(self) -> str:
        """The id of its group in a figure."""
        return f"fault-{self.number - 1}"


def colours(kind: str) -> tuple[str, str]:
    """Return (colour, hatch) of a kind of fault."""
    fault = FAULTS.get(kind)
    return (safe_colour(fault.colour), safe_hatch(fault.hatch)) if fault else (safe_colour(""), "//")


def run_values(table: pd.DataFrame, metric: str) -> list[RunValue]:
    """Return a column of a stored table with its `.censored` companion, row by row."""
    import pandas as pd

    numbers = table[metric]
    flags = table[f"{metric}.censored"] if f"{metric}.censored" in table else pd.Series(False, index=table.index)
    return [
        RunValue(None if pd.isna(number) else float(number), bool(flag))
        for number, flag in zip(numbers, flags.fillna(False), strict=True)
    ]


def bands(faults: pd.DataFrame, variants: Sequence[str]) -> list[Band]:
    """Return the bands of all variants, in order of variant and fault."""
    found = []
    for variant in variants:
        mine = faults[faults["variant"] == variant] if len(faults) else faults
        for index, rows in mine.groupby("index", sort=True):
            found.append(_band(variant, int(str(index)) + 1, rows))
    return found


def _band(variant: str, number: int, rows: pd.DataFrame) -> Band:
    kind = str(rows["kind"].iloc[0])
    colour, hatch = colours(kind)
    values = run_values(rows, "convergence")
    return Band(
        variant=variant,
        number=number,
        kind=one_line(kind, 40),
        label=_label(kind, rows),
        start_ns=float(rows["start_ns"].median()),
        stop_ns=float(rows["stop_ns"].median()),
        colour=colour,
        hatch=hatch,
        bits=tuple(int(bit) for bit in rows["bit"].dropna()),
        runs=len(rows),
        unhealed=int((~rows["healed"].astype(bool)).sum()),
        p50=summarise(values, "p50", "ns"),
        p95=summarise(values, "p95", "ns"),
    )


def _label(kind: str, rows: pd.DataFrame) -> str:
    """Return a fault's label; of faults that every run draws anew, their kind."""
    if rows["label"].nunique() > 1:
        return f"{one_line(kind, 40)} (drawn)"
    return one_line(rows["label"].iloc[0]) or one_line(kind, 40)


def of_variant(all_bands: Sequence[Band], variant: str) -> list[Band]:
    """Return the bands of one variant that are drawn."""
    return [band for band in all_bands if band.variant == variant][:BANDS_MAX]


def greatest_values(runs: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Return, by (variant, metric), the greatest value in the runs of every metric that has censored ones."""
    found: dict[tuple[str, str], float] = {}
    metrics = [str(name).removesuffix(".censored") for name in runs.columns if str(name).endswith(".censored")]
    for variant, rows in runs.groupby("variant"):
        for metric in metrics:
            column: Any = rows[metric].dropna()
            if len(column) and rows[f"{metric}.censored"].any():
                found[str(variant), metric] = float(column.max())
    return found
