"""What is said about networks and link faults that contradict themselves, and what stays out of fingerprints."""

from __future__ import annotations

from typing import Any

import pytest

from lab.spec.load import SpecErrors, load_text, resolved
from tests.spec.helpers import GOLDEN

FILE = """title: network
system: {{ replicas: [ {{ name: leader }}, {{ name: f1 }} ] }}
network: {network}
workload: {{ arrivals: poisson(10/s), duration: 2s }}
faults: {faults}
"""


def load(network: str = "{ }", faults: str = "[ ]") -> Any:
    return load_text(FILE.format(network=network, faults=faults), "spec.yaml", GOLDEN)


def fault(kind: str, rest: str) -> str:
    return f"{{ {kind}: {{ at: 1s, for: 1s, {rest} }} }}"


BAD = [
    ("{ stream: { rto: 1s } }", "[ ]", "the transport is message, and these are settings of stream"),
    ("{ transport: stream, stream: { rto: 1s, rto_cap: 1ms } }", "[ ]", "rto_cap 1ms is below rto 1s"),
    ("{ transport: stream, bursts: { good: 1s, bad: 1s } }", "[ ]", "cannot be told from retransmissions"),
    ("{ bursts: { good: 1s, bad: 1us } }", "[ ]", "1us is too short"),
    ("{ transport: stream, links: { default: { duplicate: 1% } } }", "[ ]", "a stream delivers nothing twice"),
    ("{ transport: stream }", f"[ {fault('duplicate', 'share: 5%')} ]", "a stream delivers nothing twice"),
    ("{ links: { default: { queue: 1KB } } }", "[ ]", "without bandwidth nothing waits for the link"),
    ("{ nodes: { f2: { service: 1ms } } }", "[ ]", "'f2' is neither default nor a replica; write default or leader"),
    ("{ }", f"[ {fault('drop', 'share: 5%, kinds: [ update_akc ]')} ]", "did you mean update_ack?"),
    ("{ }", f"[ {fault('cut', 'kind: hold, by: 1s')} ]", "a cut of the kind hold has no delay"),
    ("{ }", f"[ {fault('throttle', 'bandwidth: 0B/s')} ]", "0B/s carries nothing"),
    (
        "{ links: { default: { loss_bursts: { to_bad: 1%, to_good: 1% } } } }",
        f"[ {fault('loss_bursts', 'to_bad: 1%, to_good: 5%')} ]",
        "2 losses by a chain of states hold on leader->f1 at 1s; at most 1 can",
    ),
    ("{ }", f"[ {', '.join([fault('drop', 'share: 5%, first: 2')] * 4)} ]", "4 faults with kinds or first hold"),
]


@pytest.mark.parametrize(("network", "faults", "said"), BAD)
def test_contradictions_are_told(network: str, faults: str, said: str) -> None:
    with pytest.raises(SpecErrors) as caught:
        load(network, faults)
    assert said in caught.value.render()


def test_what_is_not_used_stays_out_of_the_resolved_experiment() -> None:
    plain = resolved(load("{ links: { default: { delay: 1ms } } }", f"[ {fault('drop', 'share: 5%')} ]"))
    assert list(plain["network"]) == ["transport", "links"]
    assert sorted(plain["network"]["links"]["default"]) == ["delay", "duplicate", "loss", "reorder"]
    assert sorted(plain["faults"][0]["drop"]) == ["at", "for", "links", "share"]
    used = resolved(load("{ transport: stream }", f"[ {fault('cut', 'kind: slow, by: 1s')} ]"))
    assert used["network"]["stream"]["rto"] == "200ms"
    assert used["faults"][0]["cut"] == {"at": "1s", "for": "1s", "links": "all", "kind": "slow", "by": "1s"}


def test_the_container_plane_refuses_what_rows_cannot_say() -> None:
    made = load(
        "{ transport: stream, nodes: { f1: { service: 1ms } }, links: { default: { bandwidth: 1MB/s } } }",
        f"[ {fault('drop', 'share: 5%, first: 2')}, {fault('corrupt', 'share: 5%')}, {fault('drop', 'share: 5%')} ]",
    )
    assert [sentence.split(":")[0] for sentence in made.network.beyond_containers()] == [
        "network.transport",
        "network.nodes",
    ]
    assert not any(one.refusal() for one in made.faults)
