"""Every protocol can be named in an experiment file; what does not belong to it is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.checkers import CHECKERS
from lab.engines import compiled, reference
from lab.engines.scenario import prepare
from lab.metrics import METRICS
from lab.protocols import PROTOCOLS, settings_of
from lab.run import units_of
from lab.spec.load import fingerprint, override, resolved
from lab.spec.schema import SECTIONS, Experiment

from .worlds import history, read, refusal, text

COMPILED_HERE = ("changelog", "raft", "quorum", "epidemic")  # the others are in tests/protocols and tests/engines


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_runs_with_its_defaults(name: str) -> None:
    experiment = read(text(name))
    scenario = prepare(experiment)
    assert scenario.params._fields == PROTOCOLS[name][0].parameters
    found = reference.run(scenario, 3)
    assert found.protocol == name and found.event_count > 100
    if name in COMPILED_HERE:
        assert compiled.run(scenario, 3).digest() == found.digest()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_resolved_experiment_reads_back_as_itself(name: str) -> None:
    experiment = read(text(name))
    whole = resolved(experiment)
    assert fingerprint(Experiment.model_validate(whole)) == fingerprint(experiment)
    assert set(whole["system"]) & set(SECTIONS) == ({name} if name in SECTIONS else set())
    if name != "changelog":
        assert "policy" not in whole and "mode" not in whole["system"]


def test_every_setting_reaches_the_run() -> None:
    """A setting that changes no parameter of the protocol would be ignored in silence."""
    other = {
        "raft": {"election_timeout": "200ms", "election_spread": "20ms", "heartbeat": "33ms", "pre_vote": "on"},
        "quorum": {
            "write_quorum": "3",
            "read_quorum": "3",
            "read_after": "7ms",
            "timeout": "2s",
            "read_repair": "on",
            "n": "4",
            "reads": "20%",
            "sloppy": "off",
            "patience": "50ms",
            "handoff": "off",
            "handoff_every": "2s",
            "hints": "7",
        },
        "gossip": {"style": "push", "period": "99ms", "updates": "3", "every": "77ms"},
        "epidemic": {"style": "pull", "period": "99ms", "stop": "coin", "k": "7", "feedback": "off"},
        "flood": {"topology": "grid", "width": "2", "echo": "on"},
        "mesh": {"period": "3ms"},
        "heartbeat": {"period": "77ms", "timeout": "333ms"},
        "swim": {
            "period": "2s",
            "ack_timeout": "222ms",
            "helpers": "1",
            "suspicion": "0s",
            "rumours": "1",
            "spread": "2",
            "order": "random",
        },
        "crdt_counter": {"period": "77ms", "full_every": "4", "decrease": "10%"},
    }
    assert set(other) <= set(SECTIONS)
    own = {"quorum": "n: 3, sloppy: 'on', handoff: 'on'"}
    for name, values in other.items():
        experiment = read(text(name, own.get(name, "")))
        for key, value in values.items():
            more = {"system.quorum.handoff": "off"} if key == "sloppy" else {}
            changed = override(experiment, {f"system.{name}.{key}": value, **more})
            assert prepare(changed).params != prepare(experiment).params, f"{name}.{key}"


def test_many_replicas_in_short() -> None:
    experiment = read(text("epidemic", replicas="1000"))
    assert experiment.system.names[0] == "r1" and len(experiment.system.names) == 1000
    assert resolved(experiment)["system"]["replicas"] == 1000
    scenario = prepare(experiment)
    assert scenario.shares_links and len(scenario.plan.rows[0]) == 1
    drop = "faults: [ drop: { at: 1s, for: 1s, share: 50% } ]"
    plan = prepare(read(text("gossip", "", drop, replicas="100"))).plan
    assert plan.boundaries_ns == (0, 10**9, 2 * 10**9) and [row[0][1] for row in plan.rows] == [0, 500_000, 0]
    assert "over the 62 that raft can have" in refusal(text("raft", replicas="63"))
    assert "over the 32 that changelog can have" in refusal(text("changelog", replicas="33"))
    cut = "faults: [ partition: { at: 1s, for: 1s, groups: [[r1], [r2]] } ]"
    assert "all links are alike; name no links" in refusal(text("mesh", "", cut, replicas="100"))
    links = "network: { links: { r1->r2: { delay: 5ms } } }"
    assert "all links are alike; write default alone" in refusal(text("mesh", "", links, replicas="100"))


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        (text("raft", "heartbeat: 20"), "spec.yaml:2:59: system.raft.heartbeat", "20 has no unit; write 20ms"),
        (text("raft", "hartbeat: 20ms"), "spec.yaml:2:48: system.raft.hartbeat", "did you mean heartbeat?"),
        (text("rafft"), "spec.yaml:2:21: system.protocol", "did you mean raft?"),
        (text("raft", "pre_vote: true"), "system.raft.pre_vote", "write on or off"),
        (text("raft", "heartbeat: 1s"), "system.raft.heartbeat", "do not come before the election timeout of 150ms"),
        (text("quorum", "read_quorum: 6"), "system.quorum.read_quorum", "a quorum of 6 is over the 5 replicas"),
        (text("epidemic", "period: 9ms"), "system.epidemic.period", "does not fit into a round of 9ms"),
        (text("raft", "", "policy: { timeout: 1s }"), "spec.yaml:5:20: policy.timeout", "settings are in system.raft"),
        (
            text("mesh", "", workload="workload: { duration: 1s, arrivals: poisson(1/s) }"),
            "workload.arrivals",
            "remove",
        ),
        (text("raft", workload="workload: { duration: 1s }"), "workload.arrivals", "is missing; add for example"),
        (text("flood", "", "faults: [ set: { at: 1s, mode: async } ]"), "faults[0].set", "flood has no mode to switch"),
        (
            text("raft", "", "measure: { claims: [ residue < 2% ] }"),
            "measure.claims[0]",
            "gossip and epidemic and flood",
        ),
        (text("raft", "", "measure: { claims: [ count.leader < 2 ] }"), "measure.claims[0]", "did you mean count.lead"),
        (text("raft", "", "measure: { allow: [ digests ] }"), "measure.allow[0]", "not a checker; checkers: invalid"),
        (text("raft", "", "variants: { a: { policy.timeout: 1s } }"), "policy.timeout", "raft does not use"),
        (text("raft", "", "variants: { a: { system.raft.heart: 1s } }"), "system.raft.heart", "heartbeat?"),
        (text("raft", "", "variants: { a: { system.quorum.timeout: 1s } }"), "system.quorum.timeout", "does not use"),
        (
            text("rpc", "", "network: { links: { r1->r2: { delay: 1ms } } }"),
            "network.links.r1->r2",
            "send each other nothing, so 'r1->r2' does nothing; write client->",
        ),
        (
            text("rpc", "", "network: { links: { client->r9: { delay: 1ms } } }"),
            "network.links.client->r9",
            "'r9' is not a replica",
        ),
        (
            text("rpc", "", "faults: [ drop: { at: 1s, for: 1s, share: 1%, links: [r1->r2] } ]"),
            "faults[0].drop",
            "it meets no message; name links such as client->r1",
        ),
        (
            text("rpc", "", "faults: [ partition: { at: 1s, for: 1s, shape: halves } ]"),
            "faults[0].partition",
            "it meets no message",
        ),
        (text("rpc", "", "faults: [ crash: { at: 1s, for: 1s, node: client } ]"), "crash.node", "is not a replica"),
        (
            text("raft", "", "network: { links: { client->r1: { delay: 1ms } } }"),
            "network.links.client->r1",
            "'client' is not a replica",
        ),
        (
            text("raft", "", "faults: [ drop: { at: 1s, for: 1s, share: 1%, links: [client->r1] } ]"),
            "faults[0].drop.links[0]",
            "'client' is not a replica",
        ),
        (text("quorum", "n: 6"), "system.quorum.n", "6 copies are over the 5 replicas"),
        (text("quorum", "n: 1"), "system.quorum.write_quorum", "a quorum of 2 is over the 1 copies; lower it"),
        (text("quorum", "sloppy: 'on'"), "system.quorum.sloppy", "nobody can stand in; set n below the replicas"),
        (text("quorum", "handoff: 'on'"), "system.quorum.handoff", "there are no hints to hand over"),
        (
            text("quorum", "n: 3, sloppy: 'on', patience: 2s"),
            "system.quorum.patience",
            "writes fail after 1s, before anybody stands in",
        ),
        (text("raft", replicas="1"), "system.replicas", "1 replicas are not possible; write 2 to 1000"),
    ],
)
def test_what_does_not_belong_is_refused_at_its_place(content: str, place: str, words: str) -> None:
    said = refusal(content)
    assert place in said and words in said, said


def test_a_section_of_another_protocol_is_refused() -> None:
    both = "title: a\nsystem: { protocol: raft, replicas: 3, quorum: { } }\n"
    both += "workload: { arrivals: poisson(1/s), duration: 1s }"
    said = refusal(both)
    assert "spec.yaml:2:48: system.quorum: the protocol is raft" in said and "write protocol: quorum" in said
    assert "the protocol is changelog" in refusal(both.replace("protocol: raft, ", ""))


def test_counters_are_measures_and_settings_can_be_tuned() -> None:
    tune = "tune: { parameters: { system.raft.heartbeat: 10ms..90ms log, system.raft.pre_vote: ['on', 'off'] }, "
    tune += "minimise: [ leaderless.p90, count.elections ] }"
    experiment = read(text("raft", "", tune, "measure: { claims: [ count.elections.max < 99 ] }"))
    assert experiment.tune is not None
    assert units_of("raft")["count.elections.p99"] == "count" and "convergence" not in units_of("raft")
    assert "availability" not in units_of("mesh") and "stale_reads" in units_of("quorum")
    with pytest.raises(ValueError, match="does not use"):
        override(experiment, {"policy.timeout": "1s"})
    assert history(text("raft")).counters["elections"] >= 1


def test_the_page_names_every_setting_measure_and_checker() -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text(encoding="utf-8")
    for name in PROTOCOLS:
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        for key in settings_of(name).model_fields:
            assert f"`{key}: " in row, f"{name}.{key}"
    own = [metric for metric in METRICS.values() if metric.protocols != ("changelog",)]
    for entry in [*own, *CHECKERS.values()]:
        assert f"`{entry.name}`" in page, entry.name
