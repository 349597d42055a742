"""Numbers as people read them: with a unit, sensible digits and their interval."""

from __future__ import annotations

from math import floor, log10

from lab.metrics.estimate import Estimate

TIME_SCALES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
DIGITS = 3
NOTHING = "–"


def _decimals(size: float, digits: int = DIGITS) -> int:
    """Return how many decimals show `digits` significant digits of a number of this size."""
    if size <= 0:
        return 0
    # Rounding may add a digit in front (9.996 is 10.0), so the size is rounded first.
    rounded = float(f"{size:.{digits - 1}e}")
    return max(0, digits - 1 - floor(log10(rounded)))


def _scale(value: float, unit: str) -> tuple[float, str, int]:
    """Return (factor, suffix, decimals) in which `value` reads best."""
    size = abs(value)
    if unit == "ns":
        size = float(f"{size:.{DIGITS - 1}e}")  # 999.9 ms reads as 1.00 s
        factor, name = next(((f, n) for f, n in TIME_SCALES if size >= f), (1e9, "s") if size == 0 else (1.0, "ns"))
        return 1 / factor, f" {name}", 0 if factor == 1.0 else _decimals(size / factor)
    if unit == "share":
        # Near 100 % what counts is how much is missing.
        missing = 1 - size
        near = 0 < missing < 0.1
        return 100.0, " %", min(6, max(1, _decimals(100 * missing, 1))) if near else min(6, _decimals(100 * size))
    suffix = {"ratio": "×", "share_seconds": " share·s", "count": ""}.get(unit, f" {unit}")
    whole = unit == "count" and size == round(size)
    return 1.0, suffix, 0 if whole else min(6, _decimals(size))


def _number(value: float, factor: float, decimals: int) -> str:
    text = f"{value * factor:,.{decimals}f}"
    return text[1:] if text.startswith("-") and not text.strip("-0.,") else text.replace("-", "\u2212")


def format_value(value: float | None, unit: str) -> str:
    """Return a value with its unit: `1.24 s`, `99.95 %`, `3.02×`, `1,204`; a dash for None."""
    if value is None:
        return NOTHING
    factor, suffix, decimals = _scale(value, unit)
    if value == 0 or (unit == "share" and value == 1):
        decimals = 0
    return _number(value, factor, decimals) + suffix


def format_estimate(estimate: Estimate) -> str:
    """Return `1.24 s (1.10–1.41, n=40)`; `> 5 s (n=40, 23 censored)` where the value lies beyond the horizon.

    A bound that is not known is left out: `(≥ 1.10, n=40)`, `(n=2)`. Bounds are in the unit of the value.
    """
    notes = f"n={estimate.n}" + (f", {estimate.censored} censored" if estimate.censored else "")
    if estimate.value is None:
        if estimate.limit is None:
            return f"not defined ({notes})"
        number, _, suffix = format_value(estimate.limit, estimate.unit).partition(" ")
        # A limit is mostly a round horizon: > 5 s, not > 5.00 s.
        number = number.rstrip("0").rstrip(".") if "." in number else number
        return f"> {number} {suffix}".rstrip() + f" ({notes})"
    factor, suffix, decimals = _scale(estimate.value or estimate.high or estimate.low or 0.0, estimate.unit)
    if estimate.unit == "count":
        bounds = (estimate.value, estimate.low, estimate.high)
        whole = all(bound is None or bound == round(bound) for bound in bounds)
        decimals = 0 if whole else max(decimals, _decimals(abs(estimate.value)))

    def shown(bound: float) -> str:
        return _number(bound, factor, decimals)

    low, high = estimate.low, estimate.high
    if low is not None and high is not None:
        between = " to " if low < 0 else "–"
        notes = f"{shown(low)}{between}{shown(high)}, {notes}"
    elif low is not None:
        notes = f"≥ {shown(low)}, {notes}"
    elif high is not None:
        notes = f"≤ {shown(high)}, {notes}"
    exact = estimate.value == 0 or (estimate.unit == "share" and estimate.value == 1)
    return f"{_number(estimate.value, factor, 0 if exact else decimals)}{suffix} ({notes})"
