"""The report: one HTML page that opens anywhere, without scripts and without asking any other machine for anything."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import store
from lab.reports import views
from lab.reports.text import clean, ranges
from lab.reports.values import Json, with_limits
from lab.store import MANIFEST, Stored, write_atomically

if TYPE_CHECKING:
    import pandas as pd

FIGURES = "figures"
REPORT = "report.html"
SPEC_CHARACTERS_MAX = 200_000
SPEC = "spec.yaml"
TUNE = "tune.json"
TABLES = ("runs", "faults", "curves")
COLUMNS: dict[str, tuple[str, ...]] = {
    "runs": ("variant", "seed", "digest", "trace_hash", "event_count"),
    "faults": (
        *("variant", "seed", "index", "kind", "label", "start_ns", "stop_ns", "bit", "healed"),
        *("convergence", "convergence.censored"),
    ),
    "curves": ("variant", "seed", "time_ns", "share"),
}


def render_from(
    summary: Json,
    runs: pd.DataFrame,
    faults: pd.DataFrame,
    curves: pd.DataFrame,
    tune: Json | None,
    spec_text: str,
    provenance: Json,
) -> tuple[str, dict[str, str]]:
    """Return (the page, {figure name: SVG text}) of results that may not be stored yet.

    `provenance` may hold `version`, `commit`, `python`, `packages`, `host`, `environment`, `started_at`, `finished_at`
    and `argv`, as a manifest does; what it lacks is left out.
    """
    from markupsafe import Markup

    from lab.reports.advice import warnings
    from lab.reports.alarms import alarm_rows
    from lab.reports.bands import bands, greatest_values
    from lab.reports.figures import by_name, draw_all

    summary = with_limits(summary, greatest_values(runs))
    all_bands = bands(faults, list(summary["variants"]))
    drawn = draw_all(summary, runs, faults, curves, tune)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            summary=summary,
            headline=views.headline(summary),
            claims=views.claims(summary),
            alarms=alarm_rows(summary),
            warnings=warnings(summary, all_bands),
            recommendation=views.recommendation(tune, summary),
            key=views.key_table(summary),
            figures=[(figure, Markup(figure.embedded())) for figure in drawn],
            faults=views.fault_rows(all_bands, summary),
            all_measures=views.all_measures(summary),
            notes=[str(note) for note in summary.get("notes", ())],
            provenance=_provenance_rows(summary, provenance),
            spec=_cut(spec_text),
        )
    )
    return page, dict(by_name(drawn))


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        return value if isinstance(value, Markup) or not isinstance(value, str) else clean(value)

    return Environment(
        loader=PackageLoader("lab.reports"),
        autoescape=True,  # for every name: `select_autoescape` would leave `.html.j2` unescaped
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _cut(text: str) -> str:
    if len(text) <= SPEC_CHARACTERS_MAX:
        return text
    return (
        text[:SPEC_CHARACTERS_MAX] + f"\n… cut here: {len(text) - SPEC_CHARACTERS_MAX:,} more characters are in {SPEC}"
    )


def _provenance_rows(summary: Json, provenance: Json) -> list[tuple[str, str]]:
    """Return (what, text) of everything needed to make these results again."""
    packages = provenance.get("packages") or {}
    host = provenance.get("host") or {}
    rows = [
        ("Suite", summary.get("suite", "")),
        ("Seeds", ranges([int(seed) for seed in summary.get("seeds", ())])),
        ("Digest of all runs", summary.get("digest", "")),
        ("Plane and executor", f"{summary.get('plane', '')}, {summary.get('executor', '')}"),
        ("driftlab", provenance.get("version", "")),
        ("Commit", provenance.get("commit", "")),
        ("Python", provenance.get("python", "")),
        ("Packages", ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))),
        ("Machine", ", ".join(f"{name} {value}" for name, value in host.items())),
        ("Environment", ", ".join(f"{name} {value}" for name, value in (provenance.get("environment") or {}).items())),
        ("Started", provenance.get("started_at", "")),
        ("Finished", provenance.get("finished_at", "")),
        ("Command", " ".join(["lab", *map(str, provenance["argv"])]) if provenance.get("argv") else ""),
    ]
    return [(what, str(text)) for what, text in rows if str(text).strip()]


def render(stored: Stored) -> str:
    """Return the page of stored results."""
    tables = {name: _table(stored.folder, name) for name in TABLES}
    tune = stored.json(TUNE) if stored.has(TUNE) else None
    spec = (stored.folder / SPEC).read_text() if stored.has(SPEC) else ""
    page, _ = render_from(
        stored.json("summary.json"), tables["runs"], tables["faults"], tables["curves"], tune, spec, stored.manifest
    )
    return page


def write_report(folder: Path, known: Mapping[str, Any] | None = None) -> Path:
    """Write `report.html` and `figures/*.svg` from what lies in `folder`, and return the path of the page.

    Meant to run before the manifest exists, so that the manifest lists the report too. Without `known` the page
    names what the manifest says, if there is one, else what runs now.
    """
    tune, spec = folder / TUNE, folder / SPEC
    known = _known_provenance(folder) if known is None else known
    runs, faults, curves = (_table(folder, name) for name in TABLES)
    page, drawn = render_from(
        json.loads((folder / "summary.json").read_text()),
        runs,
        faults,
        curves,
        json.loads(tune.read_text()) if tune.is_file() else None,
        spec.read_text() if spec.is_file() else "",
        known,
    )
    figures = folder / FIGURES
    figures.mkdir(exist_ok=True)
    for name, svg in drawn.items():
        write_atomically(figures / f"{name}.svg", svg.encode())
    path = folder / REPORT
    write_atomically(path, page.encode())
    return path


def _table(folder: Path, name: str) -> pd.DataFrame:
    """Return a stored table; an empty one with the right columns where the results have none."""
    import pandas as pd

    path = folder / f"{name}.parquet"
    # Read from memory: a mapped file could be exchanged while it is read.
    table = pd.read_parquet(io.BytesIO(path.read_bytes())) if path.is_file() else pd.DataFrame()
    missing = [column for column in COLUMNS[name] if column not in table]
    return table.reindex(columns=[*table.columns, *missing]) if missing and not len(table) else table


def _known_provenance(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if path.is_file():
        known: dict[str, Any] = json.loads(path.read_text())
        return known
    return store.provenance()
