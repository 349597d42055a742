"""Links that remember, on real replicas: the toxic does to the frames what the simulator's functions say it must."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import docker
import pytest
from scipy import stats

from lab.containers import reaper
from lab.containers.collect import Seen
from lab.containers.execute import run_once
from lab.containers.images import Images
from lab.containers.links import Link
from lab.containers.session import Session
from lab.core import draws, stateful
from lab.history import History
from tests.containers.conftest import make_experiment

pytestmark = [pytest.mark.containers, pytest.mark.timeout(180)]
BUSY_TRIES = 3  # a run whose load could not be kept up is no run; others may be using this machine
TO, FIRST, DIGEST = {"links": ["leader->f1", "leader->f2"]}, {"links": ["f1->leader"]}, {"links": ["f2->leader"]}
CORRUPT, BURSTS, DELIVERED, WRITTEN, ACKS, DIGESTS, SOME, THROTTLE = range(8)
FIRST_ACKS = 40


def at(start_s: int, **parameters: Any) -> dict[str, Any]:
    return {"at": f"{start_s}s", "for": "2s", **parameters}


FAULTS: list[dict[str, Any]] = [
    {"corrupt": at(0, links="all", share="20%")},
    {"loss_bursts": at(2, **TO, to_bad="10%", to_good="30%", bad_loss="80%", good_loss="1%")},
    {"loss_correlated": {**at(4, **TO, share="25%", correlation="40%"), "as": "delivered"}},
    {"loss_correlated": {**at(6, **TO, share="40%", correlation="50%"), "as": "written"}},
    {"drop": at(2, **FIRST, share="100%", kinds=["update_ack"], first=FIRST_ACKS)},
    {"drop": at(2, **DIGEST, share="100%", kinds=["digest"])},
    {"drop": at(4, **DIGEST, share="30%", kinds=["update_ack"])},
    {"throttle": at(8, links=["leader->f2"], bandwidth="15KB/s", queue="1KiB")},
]


@pytest.fixture
def run(client: docker.DockerClient, session: Session, images: Images) -> Any:
    def once(**others: Any) -> tuple[History, Seen]:
        seen: list[Seen] = []
        for _ in range(BUSY_TRIES):
            made = make_experiment(*FAULTS, rate="250/s", duration="10s", **others)
            history = run_once(made, 7, session=session, images=images, observe=lambda raw, _: seen.append(raw))
            if "too busy" not in history.invalid:
                break
        assert reaper.find(client, session.id) == [], "something of the run is left"
        return history, seen[-1]

    return once


def keys(link: Link, first: int, count: int) -> Iterator[int]:
    return (draws.chain(link.key, number, 0) for number in range(first, first + count))


def predicted(link: Link, row: int, first: int, count: int) -> int:
    """Return how many of the frames with these numbers the simulator's functions corrupt, or lose by a chain."""
    extra, memory = link.extras[row], [0] * link.memory_words
    if extra[stateful.CORRUPT_PPM]:
        return sum(stateful.is_corrupt(extra, key) for key in keys(link, first, count))
    return sum(stateful.chain_takes(extra, memory, key) for key in keys(link, first, count))


def within(found: int, count: int, share: float, likeness: float = 0.0) -> bool:
    """Return whether a count lies in the 99.9 % interval of a share; `likeness` is the correlation of neighbours."""
    if not likeness:
        low, high = stats.binom.interval(0.999, count, share)
        return bool(low <= found <= high)
    deviation = (count * share * (1 - share) * (1 + likeness) / (1 - likeness)) ** 0.5
    return abs(found - count * share) <= NormalDist().inv_cdf(0.9995) * deviation


@pytest.mark.parametrize("leader", ["go", "rust"])
def test_each_remembering_fault_does_what_the_simulator_does(leader: str, run: Any) -> None:
    history, seen = run(leader=leader)
    assert history.invalid == ""
    assert {final.digest for final in history.finals} == {history.truth_digest}, history.notes
    for record, fault in zip(history.faults, FAULTS, strict=True):
        assert record.healed and (record.bit or 0) > 0, (fault, record.bit)
    links = {link.name: link for link in seen.timetable.links.links}
    rows = {
        name: {next(iter(active), -1): row for row, active in enumerate(link.faults)} for name, link in links.items()
    }
    corrupted = 0
    for count in history.links:
        name = f"{count.source}->{count.target}"
        under_way = seen.toxics[name].queued - seen.toxics_before[name].queued
        counted = count.delivered + count.lost + count.cut + count.down + count.overflow + count.corrupted
        assert count.sent + count.duplicated == counted + under_way
        # Numbers go on from row to row, and the first row is that of the corruption, from the first frame on.
        counts, row = seen.toxics[name].rows, rows[name][CORRUPT]
        assert row == 0 and counts[0].corrupted == predicted(links[name], 0, 0, counts[0].frames) > 0
        assert within(counts[0].corrupted, counts[0].frames, 0.2)
        others = [predicted(links[name], 0, 10_000 * start, counts[0].frames) for start in range(1, 21)]
        assert others.count(counts[0].corrupted) < 10, "other numbers have other luck"
        corrupted += sum(one.corrupted for one in counts)
    malformed = {name: int(state["counters"]["malformed"]) for name, state in seen.states.items()}
    assert sum(malformed.values()) == corrupted and all(malformed.values()), "all carry on behind garbage and count it"
    shares = {BURSTS: (0.25 * 0.8 + 0.75 * 0.01, 0.6), DELIVERED: (0.25, 0.4), WRITTEN: (None, 0.5)}
    for name in ("leader->f1", "leader->f2"):
        counts, first = seen.toxics[name].rows, seen.toxics[name].rows[0].frames
        for fault, (share, likeness) in shares.items():
            row = rows[name][fault]
            one = counts[row]
            assert one.lost == predicted(links[name], row, first, one.frames) > 0, (name, fault)
            assert share is None or within(one.lost, one.frames, share, likeness), (name, fault, one)
            first += one.frames
    of_kinds = seen.toxics["f1->leader"].rows[rows["f1->leader"][ACKS]]
    assert of_kinds.lost == FIRST_ACKS < of_kinds.frames
    digests, some = (seen.toxics["f2->leader"].rows[rows["f2->leader"][fault]] for fault in (DIGESTS, SOME))
    assert 0 < digests.lost <= 10 and digests.frames > 200, "8 digests in 2 s; every acknowledgement passes"
    assert within(some.lost, some.frames - digests.lost, 0.3)
    throttled = seen.toxics["leader->f2"].rows[rows["leader->f2"][THROTTLE]]
    assert throttled.overflow > 0 and throttled.bytes > 30_000
    assert throttled.delivered * throttled.bytes / throttled.frames < 15_000 * 2 + 2 * 1024 + 2_000, "rate, and queue"
