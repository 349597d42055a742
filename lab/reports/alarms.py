"""The alarms of a suite as the page and the terminal tell them."""

from __future__ import annotations

from dataclasses import dataclass

from lab.metrics import format_value
from lab.reports.text import one_line
from lab.reports.values import Json, several


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """One rule of one variant: `kind` is `quiet`, `expected` (rang during faults alone) or `unexpected`."""

    kind: str
    rule: str
    variant: str
    rang: str
    lasting: str
    worst: str
    outside: str
    runbook: str


def _worst(record: Json) -> str:
    value, unit = record.get("worst"), str(record.get("unit") or "")
    if value is None:
        return "–"
    return f"{value:,.0f}/s" if unit == "rate" else format_value(float(value), unit)


def alarm_rows(summary: Json) -> list[AlarmRow]:
    """Return the rules, those that rang outside faults first."""
    rows = []
    for record in summary.get("alarms", ()):
        rang, outside = int(record.get("rang", 0)), int(record.get("outside_faults", 0))
        rows.append(
            AlarmRow(
                kind="quiet" if not rang else "unexpected" if outside else "expected",
                rule=str(record.get("rule", "")),
                variant=str(record.get("variant", "")),
                rang=f"{rang} of {record.get('runs', 0)}",
                lasting=format_value(float(record.get("ringing_ns_p50", 0)), "ns") if rang else "–",
                worst=_worst(record),
                outside=str(outside) if rang else "–",
                runbook=str(record.get("runbook", "")),
            )
        )
    return sorted(rows, key=lambda row: ("unexpected", "expected", "quiet").index(row.kind))


def alarm_sentence(summary: Json) -> str:
    """Return one line for the terminal; "" where the experiment has no alarms."""
    rows = alarm_rows(summary)
    if not rows:
        return ""
    rung = [row for row in rows if row.kind != "quiet"]
    if not rung:
        return f"alarms: none of {len(rows)} rang"
    first = rung[0]
    variant = f"{first.variant}: " if several(summary["variants"]) else ""
    more = f"; {len(rung) - 1} more" if len(rung) > 1 else ""
    return one_line(f"alarms: {variant}{first.rule} rang in {first.rang}{more}: {first.runbook}")
