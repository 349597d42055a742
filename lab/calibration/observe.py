"""What a run on containers left, as the moments that a calibration needs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lab.calibration.legs import Times
from lab.containers.collect import Events, Seen
from lab.history import NEVER

_EFFECTS = ("applied", "superseded")


def times_of(seen: Seen) -> Times:
    """Return when what happened to each operation of a run."""
    leader, *followers = seen.experiment.system.names
    driver = seen.driver
    return Times(
        intended={token: seen.t0_ns + operation.at_ns for token, operation in enumerate(driver.planned)},
        accepted=_first(seen.events[leader], ("accepted",)),
        released=_first(seen.events[leader], ("released",)),
        acknowledged={token: at_ns for token, at_ns in enumerate(driver.acknowledged_ns) if at_ns != NEVER},
        applied={name: _first(seen.events[name], _EFFECTS) for name in followers},
    )


def _first(events: Events, names: tuple[str, ...]) -> dict[int, int]:
    found: dict[int, int] = {}
    for time_ns, name, _, token in events.rows:
        if name in names and token >= 0:
            found.setdefault(token, time_ns)
    return found


def service_ns(metrics: Mapping[str, str]) -> dict[str, float]:
    """Return, by follower, the mean time from a message read to durable and answered, from the texts of /metrics."""
    found = {}
    for name, text in metrics.items():
        parts = {
            part: re.search(rf"^driftlab_processing_seconds_{part}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
            for part in ("sum", "count")
        }
        total, count = parts["sum"], parts["count"]
        if total and count and float(count.group(1)) > 0:
            found[name] = float(total.group(1)) / float(count.group(1)) * 1e9
    return found
