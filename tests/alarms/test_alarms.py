"""Alarms ring when a monitor would, and not otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lab.alarms import ALARMS
from lab.alarms.alarm import grid
from lab.alarms.ringing import ringings
from lab.history import History
from lab.spec.rules import ALARM_UNITS, parse_rule
from tests.judgement.judgement_histories import Builder, fault

ROOT = Path(__file__).parents[2]
MS, SECOND = 1_000_000, 1_000_000_000
RULES = {
    "latency": "latency > 150ms for 500ms",
    "commit_rate": "commit_rate < 50% for 500ms",
    "lag": "lag > 1s for 500ms",
    "drift": "drift > 20% for 500ms",
    "queue": "queue > 20 for 500ms",
    "out_of_order": "out_of_order > 5/s",
}


def run(*, silent_ns: tuple[int, int] | None = None, late: str = "f1") -> History:
    """Ten seconds of 20 writes a second, acknowledged after 10 ms and applied by followers after 20 ms.

    In `silent_ns` the follower `late` hears nothing and clients get no answer; it catches up at the end.
    """
    builder = Builder(horizon_ns=10 * SECOND, deadline_ns=SECOND)
    waiting = []
    for number in range(1, 181):
        at_ns = number * 50 * MS
        silent = silent_ns is not None and silent_ns[0] <= at_ns < silent_ns[1]
        token = builder.intend(at_ns, number % 8, acknowledged_ns=-1 if silent else at_ns + 10 * MS)
        builder.accepted.append((number, token, at_ns))
        builder.applies.append((0, number, token, at_ns, 0))
        for replica, name in enumerate(builder.replicas[1:], start=1):
            if silent and name == late:
                waiting.append((replica, number, token))
            else:
                builder.applies.append((replica, number, token, at_ns + 20 * MS, 0))
    if silent_ns is not None:
        builder.applies += [(replica, number, token, silent_ns[1], 0) for replica, number, token in waiting]
        builder.faults.append(fault(*silent_ns))
    return builder.build()


def test_every_alarm_has_its_unit_its_page_and_its_rule() -> None:
    assert {name: alarm.unit for name, alarm in ALARMS.items()} == ALARM_UNITS
    assert set(RULES) == set(ALARMS)
    for alarm in ALARMS.values():
        assert (ROOT / "docs" / "runbooks" / alarm.runbook).read_text().startswith(f"# {alarm.name}: ")


@pytest.mark.parametrize("name", sorted(RULES))
def test_an_alarm_rings_in_an_outage_and_not_in_a_quiet_run(name: str) -> None:
    rule = parse_rule(RULES[name])
    assert ringings(run(), [rule]) == ()
    rung = ringings(run(silent_ns=(3 * SECOND, 6 * SECOND)), [rule])
    assert rung
    assert 3 * SECOND < rung[0].start_ns <= 6_100 * MS
    assert rung[-1].stop_ns <= 7_600 * MS
    assert all(one.in_fault for one in rung)


def test_an_alarm_without_a_fault_is_told_apart() -> None:
    history = run(silent_ns=(3 * SECOND, 6 * SECOND))
    unexplained = Builder(horizon_ns=history.horizon_ns).build().faults
    assert unexplained == ()
    from dataclasses import replace

    (rung,) = ringings(replace(history, faults=()), [parse_rule(RULES["lag"])])
    assert not rung.in_fault


def test_lag_is_the_age_of_the_oldest_missing_update() -> None:
    """By hand: the first update that is missing was accepted at 3 s, so at 5 s it is 2 s old."""
    series = ALARMS["lag"].function(run(silent_ns=(3 * SECOND, 6 * SECOND)), grid(10 * SECOND))
    assert series[49] == 2 * SECOND
    assert series[59] == 0  # at 6 s it has caught up
    assert series[9] == 0  # the write accepted at this very instant arrives later; it is of age 0


def test_commit_rate_and_latency_by_hand() -> None:
    history = run(silent_ns=(3 * SECOND, 6 * SECOND))
    rate = ALARMS["commit_rate"].function(history, grid(10 * SECOND))
    assert np.isnan(rate[5])  # no full second has passed
    assert rate[28] == 1.0 and rate[44] == 0.0
    latency = ALARMS["latency"].function(history, grid(10 * SECOND))
    assert latency[20] == 10 * MS
    assert latency[44] == 950 * MS  # the oldest of the last second, still without an answer, was intended at 3.55 s


def test_for_asks_for_the_whole_time_beyond_the_limit() -> None:
    history = run(silent_ns=(3 * SECOND, 6 * SECOND))
    (short,) = ringings(history, [parse_rule("lag > 1s")])
    (long,) = ringings(history, [parse_rule("lag > 1s for 1s")])
    assert long.start_ns - short.start_ns == SECOND
    assert long.stop_ns == short.stop_ns
    assert ringings(history, [parse_rule("lag > 1s for 3s")]) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lagg > 1s", "did you mean lag?"),
        ("lag > 5", "lag is compared with a duration"),
        ("drift > 0.5", "drift is compared with a share"),
        ("queue > 5%", "queue is compared with a whole number"),
        ("lag = 5s", "is not an alarm; write ALARM > VALUE for DURATION"),
        ("lag > 1s for 250ms", "is not a multiple of 100ms"),
    ],
)
def test_a_wrong_rule_names_its_fix(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="(?s)" + words.replace("?", r"\?")):
        parse_rule(text)


def test_the_experiment_tells_in_how_many_runs_an_alarm_rang(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from lab.cli import cli

    file = tmp_path / "cut.yaml"
    text = (ROOT / "experiments" / "quickstart.yaml").read_text().split("tune:")[0].replace("seeds: 20", "seeds: 3")
    file.write_text(text.replace("measure:\n", "measure:\n  alarms: [lag > 1s for 1s, lag > 1h]\n"))
    done = CliRunner().invoke(
        cli, ["run", str(file), "--results", str(tmp_path / "results"), "--executor", "reference"]
    )
    assert done.exit_code == 0, done.output
    assert "lag > 1s for 1s rang in 3 of 3: docs/runbooks/lag.md" in done.output
    (summary,) = (tmp_path / "results").glob("cut/*/summary.json")
    alarms = json.loads(summary.read_text())["alarms"]
    assert [(alarm["rule"], alarm["rang"], alarm["outside_faults"]) for alarm in alarms] == [
        ("lag > 1s for 1s", 3, 0),
        ("lag > 1h", 0, 0),
    ]
    page = (summary.parent / "report.html").read_text()
    assert "docs/runbooks/lag.md" in page
