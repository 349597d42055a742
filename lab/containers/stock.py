"""What an unmodified Toxiproxy server is told and answers: its toxics as JSON, and its byte counts. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.containers.chain import HOLD, WHOLE_PPM, Toxic
from lab.containers.links import Link

Reading = tuple[str, str, int, tuple[tuple[str, int], ...]]
_METRIC = re.compile(
    r"^toxiproxy_proxy_(received|sent)_bytes_total\{[^}]*?direction=\"upstream\"[^}]*?proxy=\"([^\"]*)\"[^}]*\} (\S+)$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of a link's connections that have ended: taken from the sender, handed to the receiver."""

    received: int = 0
    sent: int = 0

    @property
    def lost(self) -> int:
        """Bytes that were taken and not handed on."""
        return max(0, self.received - self.sent)

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(self.received - other.received, self.sent - other.sent)


def parse_metrics(text: str) -> dict[str, Traffic]:
    """Return each link's traffic from the server's Prometheus text; links without any are not in it."""
    counts: dict[str, dict[str, int]] = {}
    for kind, name, value in _METRIC.findall(text):
        counts.setdefault(name, {})[kind] = int(float(value))
    return {name: Traffic(**both) for name, both in counts.items()}


def as_read(share_ppm: int) -> float:
    """Return a share as the server gives it back: it keeps 32-bit floats, written in their shortest form."""
    return round(share_ppm / WHOLE_PPM, 6)


def creation(toxic: Toxic, share_ppm: int) -> dict[str, Any]:
    """Return the body that creates a toxic. The stream is always said: the server's default is the other one."""
    return {
        "name": toxic.name,
        "type": toxic.type,
        "stream": "upstream",
        "toxicity": share_ppm / WHOLE_PPM,
        "attributes": dict(toxic.attributes),
    }


def reading(toxic: Mapping[str, Any]) -> Reading:
    """Return a toxic as the server reported it, in a form to compare; unknown forms compare with nothing."""
    try:
        shown = {} if toxic["type"] == HOLD else toxic["attributes"]  # it shows what it did, and has nothing to set
        attributes = tuple(sorted((str(name), int(value)) for name, value in shown.items()))
        share_ppm = round(float(toxic["toxicity"]) * WHOLE_PPM)
        return str(toxic["type"]), str(toxic["stream"]), share_ppm, attributes
    except (KeyError, TypeError, ValueError, AttributeError):
        return "", "", -1, ()


def readings(link: Link, row: int) -> dict[str, Reading]:
    """Return how a link's stock toxics must read back while that row is in force."""
    found = {}
    for toxic in link.toxics:
        share_ppm = toxic.share(link.faults[row])
        if share_ppm or not toxic.added:
            found[toxic.name] = (toxic.type, "upstream", share_ppm, tuple(sorted(toxic.attributes)))
    return found
