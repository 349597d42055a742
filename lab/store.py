"""Stored results: one folder a suite run, written atomically, manifest last, read back by checksum.

`results/SUITE/UTCSTAMP-ID/` holds `spec.yaml` as given, `spec.resolved.json`, `runs.parquet` (one row a run),
`faults.parquet`, `curves.parquet` (divergence over time), `summary.json`, `report.html`, and `manifest.json`, which
lists size and SHA-256 of everything else.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import __version__
from lab.spec.schema import NAME

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "driftlab.results/1"
MANIFEST = "manifest.json"
LATEST = "latest"
PACKAGES = ("numpy", "pandas", "simpy", "scipy", "numba", "matplotlib", "docker", "toxiproxy-python")


class StoreError(Exception):
    """Results cannot be written or read; `exit_code` is what the command ends with."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def canonical_json(data: Any) -> str:
    """Return JSON that is the same text for the same data; NaN and infinity are refused."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def again(*more: str) -> str:
    """Return this command with options that it does not have yet, to be pasted."""
    return shlex.join(["lab", *sys.argv[1:], *(option for option in more if option not in sys.argv)])


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old one or the new one, never a part; raise StoreError(6) if the disk
    refuses.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path} ({len(data)} bytes): {error.strerror}", 6) from error


@dataclass(slots=True)
class Results:
    """One folder of results that is being written."""

    folder: Path
    started_at: str

    def write(self, name: str, data: bytes) -> None:
        """Write one file below the folder; `name` may hold one level of sub-folders."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, data)

    def write_json(self, name: str, data: Any) -> None:
        """Write readable JSON."""
        self.write(name, (json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a table as Parquet."""
        import io

        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        self.write(name, buffer.getvalue())

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write the manifest, which makes the results complete, and point `latest` at them."""
        files = {
            str(path.relative_to(self.folder)): _file_facts(path)
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.name != MANIFEST and not path.name.startswith(".")
        }
        manifest = {
            "schema": SCHEMA,
            "started_at": self.started_at,
            "finished_at": _now(),
            **provenance(),
            **facts,
            "files": files,
        }
        self.write_json(MANIFEST, manifest)
        _point_latest(self.folder)


def provenance() -> dict[str, Any]:
    """Return what made the results: versions, commit, host and arguments. The environment is not captured."""
    return {
        "version": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": _packages(),
        "host": {"system": platform.system(), "machine": platform.machine(), "cores": os.cpu_count()},
        "argv": sys.argv[1:],
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _file_facts(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    """Return the commit of the checkout the code runs from, or "" outside one."""
    head = Path(__file__).parents[1] / ".git" / "HEAD"
    try:
        text = head.read_text().strip()
        if text.startswith("ref: "):
            text = (head.parent / text[5:]).read_text().strip()
    except OSError:
        return ""
    return text


def _point_latest(folder: Path) -> None:
    root = folder.parents[1]
    temporary = root / f".{LATEST}.{secrets.token_hex(4)}"
    temporary.symlink_to(folder.relative_to(root))
    os.replace(temporary, root / LATEST)


def create(root: Path, suite: str) -> Results:
    """Create a folder for a new run of `suite` below `root`.

    Raise StoreError(2) when the name is no name or the folder is not ours to write (a file, or a link to elsewhere).
    """
    if not NAME.fullmatch(suite):
        raise StoreError(f"{suite!r} cannot name results: lower-case letters, digits, '.', '_' and '-', at most 63", 2)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = root / suite / f"{stamp}-{secrets.token_hex(3)}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        if (root / suite).is_symlink():
            raise StoreError(f"{root / suite} is a link; results are not written through links", 2)
        folder.mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"cannot create results in {root}: {error.strerror}", 2) from error
    return Results(folder, _now())


@dataclass(frozen=True, slots=True)
class Stored:
    """Complete results that were read back and whose checksums agree."""

    folder: Path
    manifest: dict[str, Any]

    def json(self, name: str) -> Any:
        """Return a stored JSON file."""
        return json.loads((self.folder / name).read_text())

    def table(self, name: str) -> pd.DataFrame:
        """Return a stored table."""
        import pandas as pd

        return pd.read_parquet(self.folder / name)

    def has(self, name: str) -> bool:
        """Return whether the manifest lists a file."""
        return name in self.manifest["files"]


def find(root: Path, where: str) -> Path:
    """Return the results folder for `latest`, a path, or a suite's name (its newest run). Raise StoreError(2)."""
    candidates = [Path(where), root / where]
    for candidate in candidates:
        if (candidate / MANIFEST).is_file():
            return candidate.resolve()
    suite = root / where
    if suite.is_dir():
        runs = sorted(path for path in suite.iterdir() if (path / MANIFEST).is_file())
        if runs:
            return runs[-1].resolve()
    raise StoreError(f"no results at {where!r}: give a results folder, a suite's name, or latest", 2)


def read(folder: Path) -> Stored:
    """Return the results in `folder`; raise StoreError(5) if they are damaged or made by a newer lab."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder / MANIFEST} cannot be read: {error}", 5) from error
    schema = manifest.get("schema", "") if isinstance(manifest, dict) else ""
    if schema != SCHEMA:
        raise StoreError(f"{folder} was written as {schema or 'nothing known'}, this lab reads {SCHEMA}", 5)
    for name, facts in manifest["files"].items():
        path = folder / name
        if not path.is_file() or _file_facts(path) != facts:
            raise StoreError(f"{path} is missing or does not match its checksum; run the suite again", 5)
    return Stored(folder, manifest)


def rewrite(stored: Stored, name: str, data: bytes) -> None:
    """Replace one file of complete results and its entry in the manifest."""
    results = Results(stored.folder, stored.manifest["started_at"])
    results.write(name, data)
    stored.manifest["files"][name] = _file_facts(stored.folder / name)
    results.write_json(MANIFEST, stored.manifest)
