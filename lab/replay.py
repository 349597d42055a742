"""`lab replay`: one seed again, on the reference executor, with what happened on screen."""

from __future__ import annotations

from typing import Any

from lab.core.units import duration_text, parse_duration_ns
from lab.engines.reference import EVENT_NAMES, MESSAGE, TIMER, TraceRow, run
from lab.engines.scenario import Scenario, prepare_seed
from lab.metrics import METRICS, format_value
from lab.run import RunRow, judge
from lab.spec.drawing import is_drawn
from lab.spec.schema import Experiment
from lab.suite import variants


class ReplayError(Exception):
    """The replay was asked for something that is not there."""

    exit_code = 2


def replay_run(
    experiment: Experiment, seed: int, variant: str | None, limit: int, start: str, node: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Return (JSON document, lines for a terminal) of one run; the document's exit code is 1 if a checker was
    violated.
    """
    known = variants(experiment)
    if variant and variant not in known:
        raise ReplayError(f"{variant!r} is not a variant; there are {', '.join(known)}")
    chosen = known[variant] if variant else next(iter(known.values()))
    scenario = prepare_seed(chosen, seed)
    if node and node not in scenario.names:
        raise ReplayError(f"{node!r} is not a node; there are {', '.join(scenario.names)}")
    try:
        start_ns = parse_duration_ns(start)
    except ValueError as error:
        raise ReplayError(str(error)) from error
    trace: list[TraceRow] = []
    row = judge(run(scenario, seed, trace=trace))
    shown = [event for event in trace if event.time_ns >= start_ns and (not node or scenario.names[event.node] == node)]
    document = {
        "schema": "driftlab.replay/1",
        "seed": seed,
        "digest": row.digest,
        "trace_hash": row.trace_hash,
        "event_count": row.event_count,
        "faults": [
            {"label": fault.label, "start_ns": fault.start_ns, "stop_ns": fault.stop_ns, "bit": fault.bit}
            for fault in row.faults
        ],
        "values": {name: {"value": value.value, "censored": value.censored} for name, value in row.values.items()},
        "checkers": {name: {"valid": v.valid, "reason": v.reason} for name, v in row.validities.items()},
        "trace": [_event_json(event, scenario) for event in shown[:limit]],
        "exit_code": 1 if any(validity.valid is False for validity in row.validities.values()) else 0,
    }
    lines = [_event_line(event, scenario) for event in shown[:limit]]
    if len(shown) > limit:
        lines.append(f"… {len(shown) - limit} more events (--limit, --from, --node)")
    schedule = _schedule_lines(row) if is_drawn(chosen) else []
    return document, [*schedule, *lines, *_verdict_lines(row)]


def _schedule_lines(row: RunRow) -> list[str]:
    """Return the faults that the seed drew."""
    return [
        f"  fault {duration_text(fault.start_ns):>8} to {duration_text(fault.stop_ns):>8}  {fault.label}"
        for fault in row.faults
    ]


def _event_json(event: TraceRow, scenario: Scenario) -> dict[str, Any]:
    return {
        "time_ns": event.time_ns,
        "what": EVENT_NAMES[event.what],
        "node": scenario.names[event.node],
        "source": scenario.names[event.source],
        "kind": _kind(event, scenario),
        "words": list(event.words),
    }


def _kind(event: TraceRow, scenario: Scenario) -> str:
    if event.what == MESSAGE:
        return str(scenario.protocol.kinds[event.kind])
    return str(scenario.protocol.timers[event.kind]) if event.what == TIMER else ""


def _event_line(event: TraceRow, scenario: Scenario) -> str:
    names = scenario.names
    where = f"{names[event.source]}→{names[event.node]}" if event.what == MESSAGE else names[event.node]
    words = " ".join(str(word) for word in event.words)
    what = f"{EVENT_NAMES[event.what]:<9} {_kind(event, scenario):<14}"
    return f"{event.time_ns / 1e6:>12.3f} ms  {where:<20} {what} {words}"


def _verdict_lines(row: RunRow) -> list[str]:
    lines = [f"seed {row.seed}: {row.event_count} events, trace {row.trace_hash}, digest {row.digest[:16]}"]
    for index, fault in enumerate(row.faults):
        value = row.fault_convergence[index]
        if value.value is not None:
            beyond = "> " if value.censored else ""
            lines.append(
                f"  after {fault.label}: converged in {beyond}{format_value(value.value, METRICS['convergence'].unit)}"
            )
            lines[-1] += f" (healed at {duration_text(fault.stop_ns)})"
    for name, validity in row.validities.items():
        mark = {True: "✓", False: "✗", None: "?"}[validity.valid]
        lines.append(f"  {mark} {name}" + (f": {validity.reason}" if validity.valid is not True else ""))
    return lines
