"""Links: composition of faults, half-open intervals, and the rates that a row asks for."""

from __future__ import annotations

import pytest

from lab.core import draws, fate
from lab.core.laws import Law, parse_law
from lab.faults import FAULTS
from lab.faults.partition import Partition
from lab.model.effects import LinkEffect
from lab.model.link import LinkFault, Network, TooManyLaws, compose, plan_links

NAMES = ("leader", "f1", "f2")


def network(**default: str) -> Network:
    return Network.model_validate({"links": {"default": default}})


def test_a_fault_holds_in_its_half_open_interval_and_nowhere_else() -> None:
    plan = plan_links(NAMES, network(delay="5ms"), [LinkFault(0, 2, 100, 200, LinkEffect(cut=True))])
    assert [plan.row(0, 2, now)[fate.CUT] for now in (0, 99, 100, 199, 200, 10**12)] == [0, 0, 1, 1, 0, 0]
    assert plan.row(2, 0, 150)[fate.CUT] == 0
    assert plan.row(0, 1, 150)[fate.CUT] == 0


def test_overlapping_faults_compose_and_neither_restores_the_other_away() -> None:
    faults = [
        LinkFault(0, 1, 0, 1000, LinkEffect(loss_ppm=100_000)),
        LinkFault(0, 1, 500, 1500, LinkEffect(loss_ppm=200_000, reorder_ppm=1, reorder_by_ns=7)),
    ]
    plan = plan_links(NAMES, network(loss="50%"), faults)
    loss = [plan.row(0, 1, now)[fate.LOSS_PPM] for now in (0, 499, 500, 999, 1000, 1499, 1500)]
    assert loss == [550_000, 550_000, 640_000, 640_000, 600_000, 600_000, 500_000]


def test_delays_add_up_to_four_laws() -> None:
    laws = [LinkEffect(delay=Law("constant", (value,))) for value in (1, 2, 3, 4, 5)]
    tables: dict[Law, int] = {}
    row = compose(laws[:4], tables)
    built = tuple(law.table() for law in tables)
    assert fate.fate(row, built, draws.chain(9)) == (10, fate.NO_COPY)
    with pytest.raises(TooManyLaws):
        compose(laws, {})


def test_links_inherit_the_default_key_by_key() -> None:
    described = Network.model_validate(
        {"links": {"default": {"delay": "5ms", "loss": "2%"}, "leader->f1": {"delay": "9ms"}}}
    )
    assert described.link("leader", "f1").delay == parse_law("9ms")
    assert described.link("leader", "f1").loss == 20_000
    assert described.link("f1", "leader").delay == parse_law("5ms")


def test_a_row_delivers_loses_duplicates_and_holds_back_at_its_rates() -> None:
    row = compose([LinkEffect(loss_ppm=100_000, duplicate_ppm=50_000, reorder_ppm=200_000, reorder_by_ns=1000)], {})
    count = 20_000
    fates = [fate.fate(row, (), draws.chain(5, index)) for index in range(count)]

    def near(observed: int, n: int, p: float) -> bool:
        return abs(observed - n * p) < 4 * (n * p * (1 - p)) ** 0.5

    assert near(sum(first == fate.LOST for first, _ in fates), count, 0.1)
    assert near(sum(second != fate.NO_COPY for _, second in fates), count, 0.05)
    delivered = [first for first, _ in fates if first >= 0]
    assert near(sum(first == 1000 for first in delivered), len(delivered), 0.2)


def test_partitions_cut_between_groups_in_the_stated_direction() -> None:
    both = Partition.model_validate({"at": "1s", "for": "1s", "groups": [["leader"], ["f1"]]})
    one_way = Partition.model_validate(
        {"at": "1s", "for": "1s", "groups": [["leader"], ["f1"]], "direction": "one_way"}
    )
    pairs = [("leader", "f1"), ("f1", "leader"), ("leader", "f2"), ("f2", "f1")]
    assert [both.link_effect(*pair) is not None for pair in pairs] == [True, True, False, False]
    assert [one_way.link_effect(*pair) is not None for pair in pairs] == [True, False, False, False]


def test_every_fault_states_its_effect_cure_and_colour() -> None:
    colours = set()
    for kind, fault in FAULTS.items():
        assert kind == fault.kind
        assert fault.summary and fault.colour.startswith("#")
        colours.add((fault.colour, fault.hatch))
        effects = ("link_effect", "outages", "settings", "toxic", "inside", "spikes")
        overridden = [name for name in effects if name in vars(fault)]
        # What is drawn from the seed is other faults, or itself with what the seed says.
        wanted = 0 if "drawn" in vars(fault) and "link_effect" not in vars(fault) else 1
        assert len(overridden) == wanted, f"{kind} must have exactly one kind of effect"
    assert len(colours) == len(FAULTS), "no two faults look alike in figures"
