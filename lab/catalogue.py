"""What the lab has: printed from the tables themselves, so that it cannot be out of date."""

from __future__ import annotations

from typing import Any


def catalogue() -> dict[str, Any]:
    """Return protocols, faults, metrics and checkers with one sentence each."""
    from lab.checkers import CHECKERS
    from lab.faults import FAULTS
    from lab.metrics import METRICS
    from lab.protocols import PROTOCOLS

    return {
        "schema": "driftlab.list/1",
        "protocols": {name: _first_line(cls.__doc__) for name, (cls, _) in PROTOCOLS.items()},
        "faults": {
            kind: fault.summary + (f" (not on containers: {fault.containers})" if fault.containers else "")
            for kind, fault in FAULTS.items()
        },
        "measures": {name: f"{metric.summary} [{metric.unit}]" for name, metric in METRICS.items()},
        "checkers": {name: checker.summary for name, checker in CHECKERS.items()},
    }


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0] if text else ""


def catalogue_lines(document: dict[str, Any]) -> list[str]:
    """Return the catalogue as lines for a terminal."""
    lines = []
    for group in ("protocols", "faults", "measures", "checkers"):
        lines.append(f"{group}:")
        lines += [f"  {name:<26} {text}" for name, text in document[group].items()]
    return lines
