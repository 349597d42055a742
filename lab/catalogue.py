"""What the lab has: printed from the tables themselves, so that it cannot be out of date."""

from __future__ import annotations

from typing import Any


def catalogue() -> dict[str, Any]:
    """Return protocols, faults, presets, metrics and checkers with one sentence each."""
    from lab.checkers import CHECKERS
    from lab.faults import FAULTS
    from lab.metrics import METRICS
    from lab.model.fault_presets import PRESETS
    from lab.model.presets import NETWORKS
    from lab.protocols import PROTOCOLS

    return {
        "schema": "driftlab.list/1",
        "protocols": {name: _first_line(cls.__doc__ or module.__doc__) for name, (cls, module) in PROTOCOLS.items()},
        "faults": {
            kind: fault.summary
            + (f" (not on containers: {fault.containers})" if fault.containers else "")
            + (f" (not in the simulator: {fault.simulator})" if fault.simulator else "")
            for kind, fault in FAULTS.items()
        },
        "fault_presets": {
            name: f"{kind} {', '.join(f'{key} {value}' for key, value in parameters.items())}: {about}"
            for name, (kind, parameters, about) in PRESETS.items()
        },
        "network_presets": {name: about for name, (_, about) in NETWORKS.items()},
        "measures": {
            name: f"{metric.summary} [{metric.unit}]{_scope(metric.protocols)}" for name, metric in METRICS.items()
        }
        | {"count.NAME": "a protocol's own counter of that name [count]"},
        "checkers": {name: f"{checker.summary}{_scope(checker.protocols)}" for name, checker in CHECKERS.items()},
    }


def _scope(protocols: tuple[str, ...]) -> str:
    return f" ({', '.join(protocols)})" if protocols else ""


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0] if text else ""


def catalogue_lines(document: dict[str, Any]) -> list[str]:
    """Return the catalogue as lines for a terminal."""
    lines = []
    for group in ("protocols", "faults", "fault_presets", "network_presets", "measures", "checkers"):
        lines.append(f"{group.replace('_', ' ')}:")
        lines += [f"  {name:<26} {text}" for name, text in document[group].items()]
    return lines
