"""Documents that list what the code has are held against the code."""

from __future__ import annotations

import re
from pathlib import Path

from lab.faults import FAULTS
from lab.spec.document import json_schema

ROOT = Path(__file__).parents[2]


def test_the_experiment_file_page_names_every_key_and_fault() -> None:
    page = (ROOT / "docs" / "experiment-file.md").read_text()
    schema = json_schema()
    for key in schema["properties"]:
        assert re.search(rf"`{key}[`.]", page), key
    for kind, fault in FAULTS.items():
        assert f"| `{kind}` |" in page
        row = next(line for line in page.splitlines() if line.startswith(f"| `{kind}` |"))
        for name, field in fault.model_fields.items():
            written = field.alias or name
            assert written in ("at", "for") or f"`{written}" in row, f"{kind}.{written}"


def test_the_readme_names_only_verbs_and_files_that_exist() -> None:
    from lab.cli import cli

    readme = (ROOT / "README.md").read_text()
    verbs = set(re.findall(r"`lab ([a-z]+)", readme))
    assert verbs <= set(cli.commands)
    assert len(verbs) >= 8
    for target in re.findall(r"\]\(([\w./-]+)\)", readme):
        assert (ROOT / target).exists(), target
