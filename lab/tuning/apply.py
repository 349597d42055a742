"""Writing a recommendation into a replica's settings file, and only if a gain was shown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.store import write_atomically
from lab.tuning.confirm import GAIN
from lab.tuning.recommend import Recommendation
from lab.tuning.snippets import replica_settings


class ApplyError(Exception):
    """The file is not a settings file; `exit_code` is what the command ends with."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Applied:
    """What `--apply` did. `changed` are the keys whose value is another now, with dots."""

    path: Path
    written: bool
    changed: list[str]

    @property
    def sentence(self) -> str:
        """Say it in one line."""
        if not self.written:
            return f"Nothing was written to {self.path}: no gain is shown."
        return f"Wrote {self.path}: {', '.join(self.changed) or 'nothing differs'}."

    def as_json(self) -> dict[str, Any]:
        """Return the `applied` object of `lab tune --json`."""
        return {"path": str(self.path), "written": self.written, "changed": self.changed}


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a file, {} if there is none; raise ApplyError if it holds anything else."""
    if not path.exists():
        if not path.parent.is_dir():
            raise ApplyError(f"{path.parent} is not a folder; make it first")
        return {}
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ApplyError(f"{path} is not a replica's settings file (JSON): {error}") from error
    if not isinstance(found, dict):
        raise ApplyError(f"{path} is not a replica's settings file: it holds no object")
    return found


def apply_settings(found: Recommendation, path: Path) -> Applied:
    """Write the recommended settings into `path`; what it holds beyond them stays."""
    if found.confirmation.status != GAIN:
        return Applied(path, False, [])
    before = read_settings(path)
    after = _merged(before, replica_settings(found.recommended.experiment))
    write_atomically(path, (json.dumps(after, indent=2, ensure_ascii=False) + "\n").encode())
    old, new = _flat(before), _flat(after)
    return Applied(path, True, [key for key, value in new.items() if old.get(key, ...) != value])


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        known = old.get(key)
        merged[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def _flat(data: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[before + key] = value
    return found
