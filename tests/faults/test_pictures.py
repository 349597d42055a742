"""What each link fault does to a stream of messages, as text that is kept in docs/link-faults.md."""

from __future__ import annotations

from pathlib import Path

from lab.engines import picture
from lab.faults import FAULTS, Fault

PAGE = Path(__file__).parents[2] / "docs" / "link-faults.md"


def test_the_page_is_what_runs_give() -> None:
    assert PAGE.read_text(encoding="utf-8") == picture.gallery()


def test_every_link_fault_has_its_picture() -> None:
    shown = {next(iter(written)) for _, written in picture.EXAMPLES}
    acting = {kind for kind, fault in FAULTS.items() if fault.link_effect is not Fault.link_effect}
    assert shown == acting - {"partition"}  # which does what cut does


def test_a_fault_changes_the_picture_and_another_seed_too() -> None:
    nothing = picture.strip(None, "message")
    assert nothing == "." * picture.MESSAGES + "  latest after 10 ms"
    assert picture.strip(picture.fault_of({"drop": {"share": "30%"}}), "message") != nothing
