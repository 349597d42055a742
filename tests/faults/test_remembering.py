"""Every feature of links that remember: both executors agree, and the feature makes a difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from lab.core import stateful
from lab.core.laws import parse_law
from lab.engines import compiled, identity, reference
from lab.engines.compiled import generate
from lab.engines.compiled.lift import lift
from lab.engines.scenario import Scenario, Service, bare, prepare
from lab.model.effects import CorrelatedLoss, LinkEffect, LossChain
from lab.model.extras import Span
from lab.model.transport import Stream
from lab.protocols.mesh import Mesh
from tests.engines.worlds import experiment

MS = 1_000_000
LAW = LinkEffect(delay=parse_law("uniform(1ms, 9ms)"))
STREAM = Stream.model_validate({"rto": "10ms", "rto_cap": "40ms", "retransmissions": 2})


def mesh(*effects: LinkEffect, spans: tuple[Span, ...] = (), **more: Any) -> Scenario:
    """Return four nodes that message each other for 200 ms; `services` chooses the module that identity cases use."""
    services = more.pop("services", (None,) * 4)
    return bare(
        Mesh, {"period_ns": 2 * MS}, nodes=4, horizon_ns=200 * MS, effects=[LAW, *effects], spans=spans,
        services=services, **more,
    )  # fmt: skip


def total(world: Scenario, counter: str) -> int:
    """Run both executors, check that they agree in everything, and return the sum of a counter of links."""
    expected, found = reference.run(world, 3, strict=True), compiled.run(world, 3)
    assert found.trace_hash == expected.trace_hash
    assert found.digest() == expected.digest()
    return sum(getattr(link, counter) for link in found.links)


def during(effect: LinkEffect) -> tuple[Span, ...]:
    return (Span(50 * MS, 120 * MS, effect),)


WORLDS: Mapping[str, tuple[dict[str, Any], str]] = {
    "chain": ({"spans": during(LinkEffect(chain=LossChain(100_000, 300_000)))}, "lost"),
    "correlated": ({"spans": during(LinkEffect(correlated=CorrelatedLoss(300_000, 250_000)))}, "lost"),
    "corrupt": ({"spans": during(LinkEffect(corrupt_ppm=200_000, duplicate_ppm=300_000))}, "corrupted"),
    "bandwidth": ({"spans": during(LinkEffect(bytes_per_s=20_000, queue_bytes=500))}, "overflow"),
    "kill": ({"spans": during(LinkEffect(kill=True))}, "cut"),
    "kinds": ({"spans": during(LinkEffect(cut=True, kinds=("note",)))}, "cut"),
    "first": ({"spans": during(LinkEffect(loss_ppm=1_000_000, first=5))}, "lost"),
    "stream": ({"stream": STREAM, "spans": during(LinkEffect(loss_ppm=900_000))}, "lost"),
    "services": ({"services": (Service(parse_law("exponential(mean=3ms)").table(), 2), None, None, None)}, "overflow"),
}


@pytest.mark.parametrize("name", WORLDS)
def test_executors_agree_and_the_feature_bites(name: str) -> None:
    changes, counter = WORLDS[name]
    assert total(mesh(**changes), counter) > 0
    assert total(mesh(), counter) == 0


def test_the_first_messages_are_the_first() -> None:
    assert total(mesh(LinkEffect(loss_ppm=1_000_000, first=5)), "lost") == 5 * 4 * 3  # on each of the links


@pytest.mark.parametrize("transport", ["message", "stream"])
def test_holds_lose_nothing_and_kills_take_what_is_under_way(transport: str) -> None:
    stream = STREAM if transport == "stream" else None
    held, killed = (mesh(stream=stream, spans=during(LinkEffect(**{kind: True}))) for kind in ("hold", "kill"))
    assert total(held, "cut") == total(held, "lost") == 0
    assert total(held, "delivered") > 350
    cut = total(killed, "cut")
    assert cut > 100 if transport == "message" else 0 < cut < 30
    rows: list[reference.TraceRow] = []
    reference.run(killed, 3, trace=rows)
    arrivals = [row.time_ns for row in rows if row.what == reference.MESSAGE]
    assert not [time for time in arrivals if 50 * MS <= time < 120 * MS]


def test_a_stream_keeps_the_order_and_loses_nothing_that_it_can_repeat() -> None:
    world = mesh(LinkEffect(loss_ppm=200_000), stream=Stream.model_validate({"rto": "10ms"}))
    assert total(world, "lost") == 0
    rows: list[reference.TraceRow] = []
    reference.run(world, 3, trace=rows)
    latest: dict[tuple[int, int], int] = {}
    for row in rows:
        if row.what == reference.MESSAGE:
            assert row.words[0] >= latest.get((row.source, row.node), -1)
            latest[row.source, row.node] = row.words[0]


def test_another_parameter_is_another_world() -> None:
    """The control: worlds that differ in nothing but a parameter of what is remembered are told apart."""
    pairs = [
        (LinkEffect(chain=LossChain(100_000, 300_000)), LinkEffect(chain=LossChain(100_000, 500_000))),
        (LinkEffect(bytes_per_s=20_000, queue_bytes=500), LinkEffect(bytes_per_s=20_000, queue_bytes=900)),
        (LinkEffect(corrupt_ppm=100_000), LinkEffect(corrupt_ppm=200_000)),
        (LinkEffect(cut=True, first=3), LinkEffect(cut=True, first=4)),
        (LinkEffect(hold=True), LinkEffect(kill=True)),
    ]
    for one, other in pairs:
        assert (
            compiled.run(mesh(spans=during(one)), 3).trace_hash
            != reference.run(mesh(spans=during(other)), 3).trace_hash
        )


def test_random_cases_reach_what_links_remember() -> None:
    scenarios = [identity.case(number).scenario for number in range(120)]
    extras = [extra for made in scenarios for epoch in made.plan.extras for extra in epoch]
    effects = [made.plan.leaves for made in scenarios if made.plan.leaves]
    assert effects and any(made.services for made in scenarios)
    for column in ("HOLD_UNTIL_NS", "NEXT_KILL_NS", "BYTES_PER_S", "CORRUPT_PPM", "RULES", "RTO_NS", "CORRELATED_PPM"):
        assert any(extra[getattr(stateful, column)] for extra in extras), column
    links = [link for made in scenarios[:60] if made.remembers for link in reference.run(made, 1).links]
    assert sum(link.corrupted for link in links) > 0


def test_plain_scenarios_have_the_plain_module() -> None:
    plain, full = (
        generate.module_text(lift(Mesh), options)
        for options in (generate.PLAIN, generate.Options(remembers=True, services=True))
    )
    for name in ("chain_takes", "over_stream", "leaf_of", "SERVICES_AT + 2"):
        assert f"def {name}(" not in plain
    assert "def chain_takes(" in full and "def over_stream(" in full
    assert generate.text_hash(plain) != generate.text_hash(full)
    assert prepare(experiment()).plan.extras == ()


def test_the_experiment_file_reaches_it_all() -> None:
    world = prepare(
        experiment(
            network={
                "transport": "stream",
                "stream": {"rto": "50ms"},
                "links": {"default": {"delay": "10ms", "bandwidth": "50KB/s", "queue": "2KB", "corrupt": "1%"}},
                "nodes": {"default": {"service": "1ms"}, "f1": {"service": "exponential(mean=2ms)", "inbox": 4}},
            },
            faults=[
                {"cut": {"at": "100ms", "for": "200ms", "kind": "kill", "links": ["leader->f1"]}},
                {"drop": {"at": "0s", "for": "650ms", "share": "100%", "kinds": ["update_ack"], "first": 1}},
                {"loss_bursts": {"at": "700ms", "for": "300ms", "to_bad": "20%", "to_good": "50%"}},
            ],
        )
    )
    assert world.remembers and len(world.services) == 3
    expected, found = reference.run(world, 5), compiled.run(world, 5)
    assert found.digest() == expected.digest()
    assert [record.bit for record in found.faults][1] == 2  # the first acknowledgement on each of the two links back
    assert all(record.bit for record in found.faults)


def test_timed_bursts_and_one_service_for_all_stay_in_the_plain_module() -> None:
    world = prepare(
        experiment(
            network={
                "links": {"default": {"delay": "10ms"}},
                "bursts": {"good": "200ms", "bad": "100ms"},
                "nodes": {"default": {"service": "1ms", "inbox": 9}},
            }
        )
    )
    assert not world.remembers and not world.services
    assert (world.service_ns, world.inbox_limit) == (1 * MS, 9)
    assert world.bursts is not None and world.bursts.bad_loss_ppm == 1_000_000
    assert sum(link.lost for link in reference.run(world, 1).links) > 0
