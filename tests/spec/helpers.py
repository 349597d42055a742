"""What the tests of experiment files share."""

from __future__ import annotations

from pathlib import Path

from lab.spec.load import SpecErrors, load_text
from lab.spec.schema import Experiment

GOLDEN = Path(__file__).parent / "golden"
MEASURES = {
    "lost_acknowledged": "count",
    "convergence.p50": "ns",
    "convergence.p99": "ns",
    "availability": "share",
    "amplification": "ratio",
}
SMALL = """\
title: small
system: { replicas: [ {name: leader}, {name: f1}, {name: f2} ] }
workload: { arrivals: poisson(200/s), duration: 20s }
"""


def load(text: bytes | str, folder: Path = GOLDEN) -> Experiment:
    """Return the experiment of a text."""
    return load_text(text, "spec.yaml", folder, MEASURES)


def errors_of(text: bytes | str, folder: Path = GOLDEN) -> SpecErrors:
    """Return the errors of a text that must have some."""
    try:
        load(text, folder)
    except SpecErrors as errors:
        return errors
    raise AssertionError("the text loads")


def message_of(text: bytes | str, folder: Path = GOLDEN) -> str:
    """Return the message of a text that must have exactly one error."""
    errors = errors_of(text, folder)
    assert len(errors.errors) == 1, errors.render()
    return errors.errors[0].message
