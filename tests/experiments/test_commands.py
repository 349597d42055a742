"""What the commands make of other protocols than the changelog: run, report, tune, sweep, replay, containers."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lab.cli import cli
from lab.run import run_simulated

from .worlds import read, text

RAFT = text(
    "raft",
    "heartbeat: 40ms",
    "network: { links: { default: { delay: 'uniform(2ms, 12ms)', loss: 2% } } }",
    "faults: [ { crash: { at: 500ms, for: 900ms, node: r1 } }, { crash: { at: 1500ms, for: 900ms, node: r2 } } ]",
    "drain: 2s",
    "measure: { claims: [ leader_first < 2s, count.elections >= 1, 'slow: leaderless.p50 > 1ms' ] }",
    "variants: { usual: { }, slow: { system.raft.election_timeout: 700ms } }",
    "tune:",
    "  parameters: { system.raft.election_timeout: 60ms..800ms log }",
    "  minimise: [ leaderless.mean, messages_per_replica ]",
    "  subject_to: [ count.elections < 40 ]",
    "  candidates: 3",
    "  seeds: 4",
    "  confirm_seeds: 10",
    "seeds: 4",
)
EPIDEMIC = text(
    "epidemic", "k: 1", "measure: { claims: [ residue < 99% ] }", "seeds: 3", replicas="80"
)  # fmt: skip


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs a verb on a file of a text, in an empty folder."""
    cache = Path.cwd() / ".lab" / "cache"
    monkeypatch.setenv("DRIFTLAB_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)

    def run(verb: str, content: str, *options: str) -> Any:
        Path("small.yaml").write_text(content + "\n", encoding="utf-8")
        return CliRunner().invoke(cli, [verb, "small.yaml", *options], catch_exceptions=False, standalone_mode=False)

    return run


def page() -> str:
    """Return the words of the newest report, without its figures."""
    newest = max(Path("results").glob("*/*/report.html"), key=lambda path: path.stat().st_mtime_ns)
    body = re.sub(r"<(svg|style).*?</\1>", " ", newest.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


def test_run_and_report_of_raft(lab: Any) -> None:
    said = lab("run", RAFT, "--workers", "1", "--quiet").output
    assert "without a leader" in said and "elections" in said and "conv." not in said
    words = page()
    for part in ("Time without a leader", "What the protocol did", "What clients saw", "crash r1", "count.elections"):
        assert part in words, part
    assert "How far apart the replicas were" not in words and "convergence_final" not in words
    summary = json.loads(next(Path("results").glob("*/*/summary.json")).read_text())
    measures = summary["variants"]["usual"]["measures"]
    assert "leaderless.p90" in measures and "convergence" not in measures and "count.elections" in measures


def test_run_and_report_of_many_replicas_without_clients(lab: Any) -> None:
    said = lab("run", EPIDEMIC, "--workers", "1", "--quiet").output
    assert "residue" in said and "availability" not in said
    words = page()
    assert "Replicas left out" in words and "What the protocol did" in words and "What clients saw" not in words


def test_tuning_proposes_in_words_of_the_protocol(lab: Any) -> None:
    document = json.loads(lab("tune", RAFT, "--workers", "1", "--quiet", "--json").output)
    found = document["recommendation"]
    assert list(found["current"]) == ["system.raft.election_timeout"]
    assert set(found["snippets"]) == {"experiment"} and "raft:" in found["snippets"]["experiment"]
    assert "policy" not in found["snippets"]["experiment"] and not found["presets"]
    assert "Recommendation" in page()


def test_a_sweep_measures_as_a_run_does(lab: Any) -> None:
    import pandas as pd

    said = json.loads(
        lab("sweep", RAFT, "--vary", "system.raft.heartbeat=20ms,60ms", "--seeds", "3", "--json", "--quiet").output
    )
    assert [point["values"]["system.raft.heartbeat"] for point in said["points"]] == ["20ms", "60ms"]
    table = pd.read_parquet(next(Path("results").glob("*/*/sweep.parquet")))
    experiment = read(RAFT.replace("heartbeat: 40ms", "heartbeat: 60ms"))
    rows = run_simulated(experiment, [1, 2, 3], executor="reference", workers=1).rows
    swept = table[table["system.raft.heartbeat"] == "60ms"].sort_values("seed")
    for name in ("leaderless", "elections", "availability", "count.conflicts"):
        assert swept[name].tolist() == [row.values[name].value for row in rows], name


def test_replay_shows_what_a_run_judged(lab: Any) -> None:
    document = json.loads(lab("replay", RAFT, "--seed", "2", "--variant", "slow", "--json").output)
    row = run_simulated(read(RAFT.replace("heartbeat: 40ms", "heartbeat: 40ms, election_timeout: 700ms")), [2]).rows[0]
    assert (
        document["digest"] == row.digest and document["values"]["elections"]["value"] == row.values["elections"].value
    )
    assert set(document["checkers"]) == set(row.validities) and "one_leader" in row.validities
    assert {event["kind"] for event in document["trace"]} & {"vote", "append", "election", ""}


def test_containers_refuse_it(lab: Any) -> None:
    done = lab("run", RAFT, "--plane", "containers", "--seeds", "1")
    assert done.exit_code == 2 and "speak the protocol changelog, not raft" in done.output


def test_both_executors_give_one_digest() -> None:
    for content in (RAFT, EPIDEMIC):
        sets = [
            run_simulated(read(content), [1, 2], executor=executor, workers=1) for executor in ("reference", "compiled")
        ]
        assert sets[0].digest() == sets[1].digest()


def test_columns_of_measures_are_refused_for_other_protocols() -> None:
    from lab.engines import compiled
    from lab.engines.scenario import prepare

    with pytest.raises(ValueError, match="of the changelog alone"):
        compiled.run_many(prepare(read(RAFT)), [1], measures=True)
