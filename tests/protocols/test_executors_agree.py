"""Epidemics, broadcast, quorums and Raft are the same in both executors: every event, field and counter."""

from __future__ import annotations

import pytest

from lab.engines import compiled, reference
from tests.protocols.worlds import MAKERS, case, difference


@pytest.mark.parametrize("name", list(MAKERS))
def test_both_executors_agree(name: str) -> None:
    for number in range(40):
        scenario, seed = case(name, number)
        assert difference(scenario, seed) == "", (name, number)


@pytest.mark.parametrize("name", list(MAKERS))
def test_worlds_bite_and_seeds_matter(name: str) -> None:
    """Agreement would prove little if nothing was lost, doubled or down, or if every run was the same."""
    totals = dict.fromkeys(("lost", "duplicated", "down"), 0)
    for number in range(40):
        history = reference.run(*case(name, number))
        for link in history.links:
            for what in totals:
                totals[what] += getattr(link, what)
    assert all(totals.values()), totals
    scenario, seed = case(name, 1)
    hashes = compiled.run_many(scenario, range(seed, seed + 20), threads=1).trace_hash
    assert len(set(hashes.tolist())) > 10
