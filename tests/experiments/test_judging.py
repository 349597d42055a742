"""Every checker of every protocol accepts a sound run and catches a protocol that was broken on purpose."""

from __future__ import annotations

from typing import Any

import pytest

from lab.checkers import CHECKERS, check, check_all, checker_names
from lab.protocols import PROTOCOLS
from lab.protocols.crdt_counter import ENTRY, CrdtCounter
from lab.protocols.epidemic import INFECTIVE, Epidemic
from lab.protocols.flood import Flood
from lab.protocols.form import ACKNOWLEDGED, APPLIED, ATTEMPTED
from lab.protocols.gossip import Gossip
from lab.protocols.heartbeat import EXPIRE, SUSPECTED, Heartbeat
from lab.protocols.mesh import Mesh
from lab.protocols.quorum import FETCHED, GOT, Quorum
from lab.protocols.raft import LEADER, VOTED, WRITE_OK, Raft
from lab.protocols.rpc import Rpc

from .worlds import ALONE, history, text

LOSSY = "network: { links: { default: { delay: 'uniform(2ms, 12ms)', loss: 10% } } }"
CRASHES = "faults: [ " + ", ".join(
    f"{{ crash: {{ at: {500 * number}ms, for: 400ms, node: r{number} }} }}" for number in range(1, 6)
) + " ]"  # fmt: skip
CRASH = "faults: [ crash: { at: 500ms, for: 1500ms, node: r2 } ]"
CUT_OFF = "faults: [ partition: { at: 0s, for: 3s, groups: [[r1], [r2], [r3], [r4], [r5]] } ]"


class Generous(Raft):
    """Votes for everyone who asks."""

    def on_vote(self, ctx: Any, source: int, term: int, last: int, last_term: int, is_pre: int) -> None:
        self.adopt(ctx, term)
        ctx.send(source, VOTED, term, 1, is_pre, self.term)


class Hasty(Raft):
    """As a leader applies what it appends, committed or not."""

    def on_write(self, ctx: Any, token: int) -> None:
        super().on_write(ctx, token)
        if self.role == LEADER:
            self.commit = self.last
            self.apply(ctx)


class Flatterer(Raft):
    """Acknowledges what it has only just appended."""

    def on_write(self, ctx: Any, token: int) -> None:
        super().on_write(ctx, token)
        if self.token_index[token]:
            ctx.send(ctx.client, WRITE_OK, token)


class OffByOne(Quorum):
    """Acknowledges a write that one replica fewer than its quorum stored: R + W is N (seeded mistake B7)."""

    def on_stored(self, ctx: Any, source: int, token: int, key: int) -> None:
        self.stored[token] += 1
        super().on_stored(ctx, source, token, key)
        self.stored[token] -= 1


class Forgetful(Quorum):
    """Says that it stored what it did not."""

    def take(self, ctx: Any, key: int, version: int) -> None:
        if version % 3:
            super().take(ctx, key, version)


class Solitary(Quorum):
    """A read is content with the first answer."""

    def on_fetched(self, ctx: Any, source: int, token: int, key: int, version: int) -> None:
        if not self.fetched[token]:
            self.fetched[token] = 1
            ctx.send(ctx.client, GOT, token, key, version)


class Inventive(Quorum):
    """Answers with a version that nobody wrote."""

    def on_message(self, ctx: Any, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        super().on_message(ctx, source, kind, a, b, c + 3 if kind == FETCHED else c, d)


class Repeating(Gossip):
    """Learns every version twice."""

    def learn(self, ctx: Any, version: int) -> None:
        super().learn(ctx, version)
        ctx.observe(APPLIED, version)


class Miraculous(Epidemic):
    """The last replica has the update from the start."""

    def on_start(self, ctx: Any) -> None:
        if ctx.me == ctx.n - 1 and not self.state:
            self.state = INFECTIVE
            ctx.observe(APPLIED, 2)
        super().on_start(ctx)


class Silent(Flood):
    """Forwards nothing."""

    def forward(self, ctx: Any, source: int, token: int) -> None:
        pass


class Deaf(Gossip):
    """Every other replica forgets what it is told."""

    def learn(self, ctx: Any, version: int) -> None:
        if ctx.me % 2 == 0:
            super().learn(ctx, version)


class Double(Mesh):
    """Counts a note twice."""

    def on_message(self, ctx: Any, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        ctx.count(0, 2)


class Prompt(Flood):
    """Acknowledges what it never took."""

    def on_message(self, ctx: Any, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if ctx.me == ctx.client:
            super().on_message(ctx, source, kind, a, b, c, d)

    def on_operation(self, ctx: Any, token: int, key: int) -> None:
        super().on_operation(ctx, token, key)
        ctx.observe(ACKNOWLEDGED, token)


class Nervous(Heartbeat):
    """Suspects everyone twice."""

    def on_timer(self, ctx: Any, kind: int, a: int, b: int, c: int, d: int) -> None:
        super().on_timer(ctx, kind, a, b, c, d)
        if kind == EXPIRE and self.suspected[a]:
            ctx.observe(SUSPECTED, a)


class Grudging(Heartbeat):
    """Never trusts again."""

    def on_message(self, ctx: Any, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if not self.suspected[source]:
            super().on_message(ctx, source, kind, a, b, c, d)


class Stubborn(CrdtCounter):
    """The last replica believes nobody."""

    def on_message(self, ctx: Any, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind != ENTRY or ctx.me < ctx.n - 1:
            super().on_message(ctx, source, kind, a, b, c, d)


class Greedy(Rpc):
    """Tries once more than it may."""

    def on_operation(self, ctx: Any, token: int, key: int) -> None:
        super().on_operation(ctx, token, key)
        for _ in range(ctx.p.attempts):
            ctx.observe(ATTEMPTED, token)


BROKEN = [
    ("suspicions_alternate", Nervous, text("heartbeat", "", CRASH)),
    ("trusted_again", Grudging, text("heartbeat", "", CRASH)),
    ("same_state", Stubborn, text("crdt_counter")),
    ("answers_served", Greedy, text("rpc")),
    ("one_leader", Generous, text("raft", "election_spread: 5ms", LOSSY)),
    ("same_log", Hasty, text("raft", "", LOSSY, CRASHES)),
    ("committed_kept", Flatterer, text("raft", "", LOSSY, CRASHES, "drain: 2s")),
    ("fresh_reads", Solitary, text("quorum", "write_quorum: 3, read_quorum: 3", LOSSY)),
    ("fresh_reads", OffByOne, text("quorum", "read_after: null, reads: 70%, n: 3", LOSSY)),
    ("acknowledged_kept", Forgetful, text("quorum", "", LOSSY)),
    ("written_reads", Inventive, text("quorum", "", LOSSY)),
    ("spread_once", Repeating, text("gossip")),
    ("spread_once", Miraculous, text("epidemic")),
    ("spread_complete", Silent, text("flood")),
    ("spread_complete", Deaf, text("gossip")),
    ("spread_complete", Prompt, text("flood")),
    ("heard", Double, text("mesh")),
]
SOUND = [
    text("raft", "", LOSSY, CRASHES, "drain: 2s"),
    text("raft", "pre_vote: 'on', election_spread: 5ms", LOSSY),
    text("quorum", "write_quorum: 3, read_quorum: 3", LOSSY),
    text("quorum", "read_after: null, reads: 50%, n: 3", LOSSY),
    text("quorum", "n: 3, sloppy: 'on', handoff: 'on'", LOSSY, CRASH),
    text("rpc", "", LOSSY),
    text("gossip", "", LOSSY),
    text("epidemic", "stop: never, period: 50ms", LOSSY),
    text("flood", "topology: tree, width: 2"),
    text("mesh", "", LOSSY),
    *(text(name, "", CRASH) for name in ("heartbeat", "phi_accrual", "swim", "rpc")),
    *(text(name, "", LOSSY) for name in ("crdt_counter", "crdt_register", "crdt_set")),
    text("crdt_merkle", "period: 200ms", LOSSY),
]
IDLE = [
    text("raft", "", CUT_OFF, "drain: 1ms"),
    text("quorum", "", CUT_OFF, "drain: 1ms"),
    text("flood", "", CUT_OFF, "drain: 1ms"),
    text("gossip", "", CUT_OFF, "drain: 1ms"),
    text("epidemic", "period: 50ms", CUT_OFF, "drain: 1ms"),
    text("mesh", "", CUT_OFF, "drain: 1ms", workload=ALONE),
    text("heartbeat", "", CUT_OFF, "drain: 1ms"),
]


ENDS = ("spread_complete", "trusted_again")  # what does not heal before the end violates them


@pytest.mark.parametrize("content", SOUND, ids=[content.split("protocol: ")[1].split(",")[0] for content in SOUND])
def test_sound_protocols_pass(content: str) -> None:
    for seed in range(4):
        found = check_all(history(content, seed))
        assert {name: answer.reason for name, answer in found.items() if answer.valid is not True} == {}


@pytest.mark.parametrize(("name", "protocol", "content"), BROKEN, ids=[row[1].__name__ for row in BROKEN])
def test_a_protocol_broken_on_purpose_is_caught(name: str, protocol: Any, content: str) -> None:
    answers = [check(CHECKERS[name], history(content, seed, protocol)) for seed in range(6)]
    caught = [answer for answer in answers if answer.valid is False]
    assert caught, [answer.reason for answer in answers]
    assert all(answer.witness for answer in caught)


@pytest.mark.parametrize("content", IDLE, ids=[content.split("protocol: ")[1].split(",")[0] for content in IDLE])
def test_a_run_in_which_nothing_happened_is_not_passed(content: str) -> None:
    found = check_all(history(content))
    assert found["exercised"].valid is None
    assert False not in {answer.valid for name, answer in found.items() if name not in ENDS}


def test_every_protocol_can_be_inconclusive_and_wrong() -> None:
    shared = {"invalid", "faults_bit", "exercised"}
    for name in PROTOCOLS:
        own = set(checker_names(name))
        assert name == "changelog" or "exercised" in own
        assert own - shared, f"no checker can fail for {name}"
    caught = {name for name, _, _ in BROKEN}
    others = {name for name, checker in CHECKERS.items() if not checker.applies("changelog")} - {"exercised"}
    assert caught == others
