"""Bad files, what is said about them, and the corrected file that loads: read `golden/*.txt`.

With the environment variable LAB_WRITE_GOLDEN=1 the errors are written anew, to be read before they are kept.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .helpers import GOLDEN, errors_of, load

CASES = sorted(GOLDEN.glob("*.txt"))


def _parts(case: Path) -> tuple[str, str, str, str]:
    prose, _, rest = case.read_text(encoding="utf-8").partition("==== file\n")
    bad, _, rest = rest.partition("==== errors\n")
    errors, _, fixed = rest.partition("==== fixed\n")
    return prose, bad, errors, fixed


@pytest.mark.parametrize("case", CASES, ids=[case.stem for case in CASES])
def test_errors_read_as_agreed_and_the_corrected_file_loads(case: Path) -> None:
    prose, bad, expected, fixed = _parts(case)
    rendered = errors_of(bad).render() + "\n"
    if os.environ.get("LAB_WRITE_GOLDEN") == "1":
        case.write_text(f"{prose}==== file\n{bad}==== errors\n{rendered}==== fixed\n{fixed}", encoding="utf-8")
        expected = rendered
    assert rendered == expected
    assert load(fixed).title


def test_there_are_enough_cases_and_none_ran_anything() -> None:
    assert len(CASES) >= 35
    assert not Path("pwned").exists() and not (GOLDEN / "pwned").exists()
