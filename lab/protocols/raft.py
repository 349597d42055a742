"""Raft (Ongaro & Ousterhout 2014): elections with randomised timeouts, optional pre-vote, log replication.

Membership is fixed; term, vote and log are durable. A leader appends no empty entry when it takes office: entries of
earlier terms are committed together with the next write. An append carries at most one entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lab.core.draws import scale
from lab.core.units import PositiveDurationNs, duration_text
from lab.protocols.form import (
    ACCEPTED,
    ACKNOWLEDGED,
    APPLIED,
    ATTEMPTED,
    Context,
    Vector,
    durable,
    protocol,
    volatile,
)
from lab.protocols.settings import CLIENT_REPEATS, ProtocolSettings, Switch

# Message kinds.
VOTE = 1  # term, last index, last term, whether it is a pre-vote
VOTED = 2  # term asked for, granted, whether it is a pre-vote, the voter's term
APPEND = 3  # term, previous index, previous term << 32 | entry's term, commit << 32 | entry's token + 1 (0: none)
APPENDED = 4  # term, index up to which the log agrees (or where to go on), success
WRITE = 5  # token
WRITE_OK = 6  # token
TRY_OTHER = 7  # token, leader + 1 (0: unknown)

# Timer kinds.
ELECTION = 1  # number of the timer
HEARTBEAT = 2  # term, number of the heartbeat, when office was taken
CLIENT_TIMEOUT = 3  # token, attempt

FOLLOWER = 0
CANDIDATE = 1
LEADER = 2
PRE_CANDIDATE = 3

TIMEOUT_DRAW = 1
CLIENT_DRAW = 2

# Marks.
LEADS = 16  # term, last index: it took office
STEPPED_DOWN = 17  # term: it gave the office up

LOW = 0xFFFFFFFF

ELECTIONS = 0
LEADERS = 1
STABLE = 2
STABLE_NS = 3
STABLE_TERMS = 4
CONFLICTS = 5
PRE_VOTES = 6


@protocol
class Raft:
    """Replicas 0..n-1 and the client. Sets of replicas are bit masks, so there are at most 62 of them.

    A leader counts as stable when it has sent `stable_after` heartbeats (0: never); `stable_ns` then adds the time at
    which it took office, `stable_terms` its term. Timeouts are uniform in [election_ns, 2 x election_ns) if
    `election_range_ns` is 0, else in [election_ns, election_ns + election_range_ns).
    """

    parameters: ClassVar[tuple[str, ...]] = (
        "election_ns", "election_range_ns", "heartbeat_ns", "prevote", "stable_after", "client_timeout_ns",
        "client_attempts",
    )  # fmt: skip
    counters: ClassVar[tuple[str, ...]] = (
        "elections", "leaders", "stable", "stable_ns", "stable_terms", "conflicts", "pre_votes",
    )  # fmt: skip
    kinds: ClassVar[Mapping[int, str]] = {
        VOTE: "vote", VOTED: "voted", APPEND: "append", APPENDED: "appended", WRITE: "write", WRITE_OK: "write_ok",
        TRY_OTHER: "try_other",
    }  # fmt: skip
    timers: ClassVar[Mapping[int, str]] = {
        ELECTION: "election", HEARTBEAT: "heartbeat", CLIENT_TIMEOUT: "client_timeout",
    }  # fmt: skip
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    marks: ClassVar[Mapping[str, int]] = {"leads": LEADS, "stepped_down": STEPPED_DOWN}

    term: int = durable()
    voted: int = durable()  # candidate + 1
    last: int = durable()
    log_term: Vector[int] = durable("updates", on="replica")
    log_token: Vector[int] = durable("updates", on="replica")
    token_index: Vector[int] = durable("updates", on="replica")  # where a token is in the log; 0 is nowhere

    applied: int = durable()  # the state machine is durable too

    role: int = volatile()
    leader: int = volatile()  # + 1; on the client: the replica that it believes in
    heard_ns: int = volatile()  # when a leader was last heard, + 1
    votes: int = volatile()
    timer_number: int = volatile()
    commit: int = volatile()
    hint: int = volatile()  # of the client: a leader it was told of, + 1
    next_index: Vector[int] = volatile("nodes", on="replica")
    match_index: Vector[int] = volatile("nodes", on="replica")
    done: Vector[int] = volatile("updates", on="client")

    def on_start(self, ctx: Context) -> None:
        if ctx.me < ctx.n:
            self.wait_for_leader(ctx)

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        self.attempt(ctx, token, 1)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == ELECTION:
            if a == self.timer_number and self.role != LEADER:
                self.on_election_timeout(ctx)
        elif kind == HEARTBEAT:
            if self.role == LEADER and self.term == a:
                self.beat(ctx, b, c)
        elif not self.done[a] and b < ctx.p.client_attempts:
            self.leader = self.hint if self.hint else 1 + scale(ctx.rand(CLIENT_DRAW), ctx.n)
            self.hint = 0
            self.attempt(ctx, a, b + 1)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == VOTE:
            self.on_vote(ctx, source, a, b, c, d)
        elif kind == VOTED:
            self.on_voted(ctx, source, a, b, c, d)
        elif kind == APPEND:
            self.on_append(ctx, source, a, b, c, d)
        elif kind == APPENDED:
            self.on_appended(ctx, source, a, b, c)
        elif kind == WRITE:
            self.on_write(ctx, a)
        elif kind == WRITE_OK:
            if not self.done[a]:
                self.done[a] = 1
                self.leader = source + 1
                ctx.observe(ACKNOWLEDGED, a)
        else:
            self.hint = b

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    # Client

    def attempt(self, ctx: Context, token: int, number: int) -> None:
        ctx.observe(ATTEMPTED, token)
        ctx.send(self.leader - 1 if self.leader else scale(ctx.rand(CLIENT_DRAW), ctx.n), WRITE, token)
        ctx.timer(ctx.p.client_timeout_ns, CLIENT_TIMEOUT, token, number)

    # Elections

    def wait_for_leader(self, ctx: Context) -> None:
        """Start the election timer anew; one that runs is void."""
        self.timer_number += 1
        range_ns = ctx.p.election_range_ns if ctx.p.election_range_ns else ctx.p.election_ns
        ctx.timer(ctx.p.election_ns + scale(ctx.rand(TIMEOUT_DRAW), range_ns), ELECTION, self.timer_number)

    def on_election_timeout(self, ctx: Context) -> None:
        self.wait_for_leader(ctx)
        self.leader = 0
        if not ctx.p.prevote:
            self.stand(ctx)
            return
        ctx.count(PRE_VOTES)
        self.role = PRE_CANDIDATE
        self.votes = 1 << ctx.me
        self.ask(ctx, self.term + 1, 1)
        if self.has_majority(ctx):
            self.stand(ctx)

    def stand(self, ctx: Context) -> None:
        """Stand for election in a new term."""
        ctx.count(ELECTIONS)
        self.term += 1
        self.voted = ctx.me + 1
        self.role = CANDIDATE
        self.votes = 1 << ctx.me
        self.ask(ctx, self.term, 0)
        if self.has_majority(ctx):
            self.take_office(ctx)

    def ask(self, ctx: Context, term: int, is_pre: int) -> None:
        for peer in range(ctx.n):
            if peer != ctx.me:
                ctx.send(peer, VOTE, term, self.last, self.log_term[self.last], is_pre)

    def has_majority(self, ctx: Context) -> int:
        count = 0
        for peer in range(ctx.n):
            count += self.votes >> peer & 1
        return 1 if 2 * count > ctx.n else 0

    def on_vote(self, ctx: Context, source: int, term: int, last: int, last_term: int, is_pre: int) -> None:
        is_current = last_term > self.log_term[self.last] or (
            last_term == self.log_term[self.last] and last >= self.last
        )
        granted = 0
        if is_pre:
            # A node that hears a leader refuses, so that a node that was cut off does not depose it (thesis, 9.6).
            is_free = self.role != LEADER and (self.heard_ns == 0 or ctx.now + 1 - self.heard_ns >= ctx.p.election_ns)
            granted = 1 if is_current and term > self.term and is_free else 0
        else:
            self.adopt(ctx, term)
            if term == self.term and is_current and (self.voted == 0 or self.voted == source + 1):
                granted = 1
                self.voted = source + 1
                self.wait_for_leader(ctx)
        ctx.send(source, VOTED, term, granted, is_pre, self.term)

    def adopt(self, ctx: Context, term: int) -> None:
        """Follow a higher term; the election timer keeps running, a leader starts one."""
        if term <= self.term:
            return
        if self.role == LEADER:
            ctx.observe(STEPPED_DOWN, self.term)
        self.term = term
        self.voted = 0
        if self.role == LEADER:
            self.wait_for_leader(ctx)
        self.role = FOLLOWER

    def on_voted(self, ctx: Context, source: int, term: int, granted: int, is_pre: int, voter_term: int) -> None:
        self.adopt(ctx, voter_term)
        if not granted:
            return
        if is_pre and self.role == PRE_CANDIDATE and term == self.term + 1:
            self.votes |= 1 << source
            if self.has_majority(ctx):
                self.stand(ctx)
        elif not is_pre and self.role == CANDIDATE and term == self.term:
            self.votes |= 1 << source
            if self.has_majority(ctx):
                self.take_office(ctx)

    def take_office(self, ctx: Context) -> None:
        ctx.count(LEADERS)
        ctx.observe(LEADS, self.term, self.last)
        self.role = LEADER
        self.leader = ctx.me + 1
        for peer in range(ctx.n):
            self.next_index[peer] = self.last + 1
            self.match_index[peer] = 0
        self.beat(ctx, 0, ctx.now)

    # Leader

    def beat(self, ctx: Context, number: int, office_ns: int) -> None:
        """Send everyone an append, empty or not."""
        if number == ctx.p.stable_after and number > 0:
            ctx.count(STABLE)
            ctx.count(STABLE_NS, office_ns)
            ctx.count(STABLE_TERMS, self.term)
        for peer in range(ctx.n):
            if peer != ctx.me:
                self.send_append(ctx, peer)
        ctx.timer(ctx.p.heartbeat_ns, HEARTBEAT, self.term, number + 1, office_ns)

    def send_append(self, ctx: Context, peer: int) -> None:
        previous = self.next_index[peer] - 1
        entry_term = 0
        token = -1
        if previous < self.last:
            entry_term = self.log_term[previous + 1]
            token = self.log_token[previous + 1]
        terms = (self.log_term[previous] << 32) | entry_term
        ctx.send(peer, APPEND, self.term, previous, terms, (self.commit << 32) | (token + 1))

    def on_write(self, ctx: Context, token: int) -> None:
        if self.role != LEADER:
            ctx.send(ctx.client, TRY_OTHER, token, self.leader)
            return
        if self.token_index[token]:
            if self.token_index[token] <= self.commit:
                ctx.send(ctx.client, WRITE_OK, token)
            return
        self.append(self.last + 1, self.term, token)
        ctx.observe(ACCEPTED, self.last, token)
        for peer in range(ctx.n):
            if peer != ctx.me and self.next_index[peer] == self.last:
                self.send_append(ctx, peer)
        self.advance(ctx)

    def on_appended(self, ctx: Context, source: int, term: int, index: int, success: int) -> None:
        self.adopt(ctx, term)
        if self.role != LEADER or term != self.term:
            return
        if success:
            if index > self.match_index[source]:
                self.match_index[source] = index
                self.advance(ctx)
            self.next_index[source] = max(self.next_index[source], index + 1)
            if index < self.last and index == self.match_index[source]:
                self.send_append(ctx, source)
        elif index < self.next_index[source] and index > self.match_index[source]:
            self.next_index[source] = index
            self.send_append(ctx, source)

    def advance(self, ctx: Context) -> None:
        """Commit what a majority has, if it ends with an entry of this term (Raft, section 5.4.2)."""
        for index in range(self.last, self.commit, -1):
            count = 1
            for peer in range(ctx.n):
                count += 1 if peer != ctx.me and self.match_index[peer] >= index else 0
            if 2 * count > ctx.n:
                if self.log_term[index] == self.term:
                    self.commit = index
                    self.apply(ctx)
                return

    # Log

    def append(self, index: int, term: int, token: int) -> None:
        self.log_term[index] = term
        self.log_token[index] = token
        self.token_index[token] = index
        self.last = index

    def apply(self, ctx: Context) -> None:
        while self.applied < self.commit:
            self.applied += 1
            token = self.log_token[self.applied]
            ctx.observe(APPLIED, self.applied, token)
            if self.role == LEADER:
                ctx.send(ctx.client, WRITE_OK, token)

    def on_append(self, ctx: Context, source: int, term: int, previous: int, terms: int, rest: int) -> None:
        self.adopt(ctx, term)
        if term < self.term:
            ctx.send(source, APPENDED, self.term, 0, 0)
            return
        self.role = FOLLOWER
        self.leader = source + 1
        self.heard_ns = ctx.now + 1
        self.wait_for_leader(ctx)
        if previous > self.last or self.log_term[previous] != terms >> 32:
            ctx.count(CONFLICTS)
            ctx.send(source, APPENDED, self.term, min(previous, self.last + 1), 0)
            return
        reached = previous
        token = (rest & LOW) - 1
        if token >= 0:
            reached = previous + 1
            if reached > self.last:
                self.append(reached, terms & LOW, token)
            elif self.log_term[reached] != terms & LOW:
                self.cut(reached)
                self.append(reached, terms & LOW, token)
        if min(rest >> 32, reached) > self.commit:
            self.commit = min(rest >> 32, reached)
            self.apply(ctx)
        ctx.send(source, APPENDED, self.term, reached, 1)

    def cut(self, index: int) -> None:
        """Drop the entries from `index` on: they conflict with the leader's."""
        for place in range(index, self.last + 1):
            self.token_index[self.log_token[place]] = 0
        self.last = index - 1


class Settings(ProtocolSettings):
    """Raft's timers. Election timeouts are uniform in [election_timeout, election_timeout + election_spread);
    without `election_spread` it equals `election_timeout`. The client repeats a write as `workload.client` says.
    """

    uses: ClassVar[tuple[str, ...]] = CLIENT_REPEATS

    election_timeout: PositiveDurationNs = 150_000_000
    election_spread: PositiveDurationNs | None = None
    heartbeat: PositiveDurationNs = 50_000_000
    pre_vote: Switch = "off"

    def problems(self, experiment: Any) -> list[tuple[str, str]]:
        if self.heartbeat < self.election_timeout:
            return []
        return [
            (
                "heartbeat",
                f"heartbeats every {duration_text(self.heartbeat)} do not come before the election timeout of "
                f"{duration_text(self.election_timeout)}; lower the one or raise the other",
            )
        ]

    def parameters(self, experiment: Any) -> dict[str, int]:
        client = experiment.workload.client
        return {
            "election_ns": self.election_timeout,
            "election_range_ns": self.election_spread or 0,
            "heartbeat_ns": self.heartbeat,
            "prevote": int(self.pre_vote == "on"),
            "stable_after": 0,
            "client_timeout_ns": client.timeout,
            "client_attempts": client.attempts,
        }
