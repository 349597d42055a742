"""The limits of the oneshot wire: refused before, noticed while it runs."""

from __future__ import annotations

from pathlib import Path

from lab.containers import budget
from lab.containers.schedule import refusals
from tests.containers.conftest import make_experiment

SECOND = 1_000_000_000


def test_the_workload_alone_is_refused_over_a_limit() -> None:
    over = make_experiment(rate="400/s", network={"links": {}}, system={"wire": "oneshot"})
    (sentence,) = refusals(over, 7)
    assert "500 messages/s on a link and 1,000/s in all" in sentence and "% of it" in sentence
    assert refusals(make_experiment(rate="200/s", network={"links": {}}, system={"wire": "oneshot"}), 7) == []
    assert refusals(make_experiment(rate="400/s", network={"links": {}}), 7) == [], "framed has no such limit"


def test_the_expected_rate_counts_both_ways_and_digests() -> None:
    one = make_experiment(rate="100/s", duration="10s", workload={"arrivals": "constant(100/s)", "duration": "10s"})
    link, total = budget.expected_rate(one, 7)
    assert (link, total) == (104.0, 408.0), "100 acknowledgements and 4 digests a second, times two followers"


def test_a_run_over_a_limit_is_noticed_once_5_s_are_known() -> None:
    guard = budget.Guard()
    said = [guard.take(second * SECOND, {"a->b": second * 600.0}) for second in range(7)]
    assert said[:5] == [""] * 5 and "600 messages/s on one link" in said[5]
    quiet = budget.Guard()
    assert not any(quiet.take(second * SECOND, {"a->b": second * 400.0}) for second in range(20))


def test_all_links_together_have_a_limit_too() -> None:
    guard = budget.Guard()
    names = [f"{n}" for n in range(4)]
    said = [guard.take(second * SECOND, dict.fromkeys(names, second * 300.0)) for second in range(6)]
    assert "1200/s in all" in said[-1]


def test_a_replica_that_is_silent_for_a_while_is_no_burst() -> None:
    guard = budget.Guard()
    counts = [100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 700.0]
    assert not any(guard.take(second * SECOND, {"a->b": count}) for second, count in enumerate(counts))


def test_a_short_run_is_judged_as_a_whole() -> None:
    guard = budget.Guard()
    assert guard.take(0, {"a->b": 0.0}) == ""
    assert "600 messages/s" in guard.close(2 * SECOND, {"a->b": 1200.0})


def test_frames_that_found_no_connection_were_not_sent() -> None:
    counters = {"leader": {"transmissions": 100, "duplicated": 10, "unsent": 30}, "f1": {"acks_sent": 20}}
    assert budget.sent_by_link(("leader", "f1"), counters) == {"leader->f1": 80.0, "f1->leader": 20.0}


def test_a_full_table_of_connections_is_told(tmp_path: Path) -> None:
    one = make_experiment(rate="200/s", duration="60s", system={"wire": "oneshot"})
    (tmp_path / "nf_conntrack_max").write_text("400000\n")
    for count, told in ((1_000, False), (300_000, True)):
        (tmp_path / "nf_conntrack_count").write_text(f"{count}\n")
        assert bool(budget.conntrack_problem(one, 7, tmp_path)) == told
    assert budget.conntrack_problem(one, 7, tmp_path / "nothing") == ""


def test_closed_connections_leave_ports_enough() -> None:
    """A closed connection holds its port for 60 s; the containers have these ports for each destination."""
    from lab.containers.stack import FIRST_FREE_PORT

    assert budget.LINK_RATE_MAX * 60 < 0.7 * (65_536 - FIRST_FREE_PORT)
