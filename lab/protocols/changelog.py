"""A replicated changelog: a leader numbers updates and replicates each to every follower, with retries and
reconciliation.

The simulated twin of the Go and Rust replicas; `docs/replica.md` is the contract of all three. An update's identity is
(sequence, timestamp, origin = node 0, token); nothing of it changes after the leader has numbered it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lab.core.backoff import BACKOFFS, JITTERS, backoff_ns
from lab.core.draws import mix
from lab.protocols.form import (
    ACCEPTED,
    ACKNOWLEDGED,
    APPLIED,
    ATTEMPTED,
    REJECTED,
    SUPERSEDED,
    Context,
    Vector,
    durable,
    protocol,
    volatile,
)
from lab.protocols.settings import CLIENT_REPEATS, ProtocolSettings

LEADER = 0

# Message kinds, as in the wire schema.
WRITE = 1  # token, key
WRITE_ACK = 2  # token, sequence
WRITE_REJECT = 3  # token
UPDATE = 4  # sequence, token, key, timestamp_ns
UPDATE_ACK = 5  # sequence
DIGEST = 6  # prefix, prefix hash, incarnation
REPAIR = 7  # as UPDATE

# Timer kinds.
TIMEOUT = 1  # sequence, follower, attempt, last wait_ns
RETRY = 2  # sequence, follower, attempt, last wait_ns
RECONCILE = 3
CLIENT_TIMEOUT = 4  # token, key, attempt

# Replication modes.
SYNC = 0
QUORUM = 1
BOUNDED = 2
ASYNC = 3
MODES = {"sync": SYNC, "quorum": QUORUM, "bounded": BOUNDED, "async": ASYNC}

ORDER_SEQUENCE = 0
ORDER_KEY = 1
OVERFLOW_REJECT = 0
OVERFLOW_DEFER = 1

SET_MODE = 0
BACKOFF_DRAW = 1
PHASE_DRAW = 2

# Mean frame of an update, length prefix included, under the load that the container plane drives (values of 8 to 64
# bytes).
UPDATE_BYTES = 95

BUDGET_START = 10_000_000
BUDGET_MAX = 100_000_000
RETRY_COST = 1_000_000

# Counters, by index in `counters`.
TRANSMISSIONS = 0
BYTES = 1
ACKS_SENT = 2
DIGESTS_SENT = 3
RETRIES = 4
REPAIRS = 5
EXHAUSTED = 6
BUDGET_DENIED = 7
DEFERRED = 8
REFUSED = 9
DUPLICATE_REQUESTS = 10
DUPLICATES = 11
OUT_OF_ORDER = 12
REORDER_FULL = 13
DIGEST_MISMATCH = 14
BREAKER_REJECTED = 15
BREAKER_OPENED = 16

# States of a follower's circuit breaker.
CLOSED = 0
HALF_OPEN = 1
OPEN = 2


@protocol
class Changelog:
    """All roles in one class: node 0 leads, nodes 1..n-1 follow, node n is the client.

    Vectors over `updates` are indexed by sequence (row 0 unused) or by token; sets of followers are bit masks.
    """

    parameters: ClassVar[tuple[str, ...]] = (
        "mode", "bound", "ordering", "timeout_ns", "attempts", "backoff", "jitter", "base_ns", "cap_ns", "budget_ppm",
        "queue_limit", "overflow", "reconcile_every_ns", "reconcile_batch", "client_timeout_ns", "client_attempts",
        "client_deadline_ns", "update_bytes", "breaker_failures", "breaker_open_ns",
    )  # fmt: skip
    counters: ClassVar[tuple[str, ...]] = (
        "transmissions", "bytes", "acks_sent", "digests_sent", "retries", "repairs", "exhausted", "budget_denied",
        "deferred", "rejected", "duplicate_requests", "duplicates", "out_of_order", "reorder_full", "digest_mismatch",
        "breaker_rejected", "breaker_opened",
    )  # fmt: skip
    kinds: ClassVar[Mapping[int, str]] = {
        WRITE: "write", WRITE_ACK: "write_ack", WRITE_REJECT: "write_reject", UPDATE: "update",
        UPDATE_ACK: "update_ack", DIGEST: "digest", REPAIR: "repair",
    }  # fmt: skip
    sizes: ClassVar[Mapping[int, int]] = {  # frames with their length prefix, as the replicas send them
        WRITE: 69, WRITE_ACK: 33, WRITE_REJECT: 23, UPDATE: UPDATE_BYTES, UPDATE_ACK: 15, DIGEST: 28,
        REPAIR: UPDATE_BYTES,
    }  # fmt: skip
    timers: ClassVar[Mapping[int, str]] = {
        TIMEOUT: "timeout", RETRY: "retry", RECONCILE: "reconcile", CLIENT_TIMEOUT: "client_timeout",
    }  # fmt: skip
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {"mode": MODES}

    # The log and the read state: durable on every replica.
    last: int = durable()
    prefix: int = durable()
    prefix_hash: int = durable()
    waiting: int = durable()
    log_token: Vector[int] = durable("updates", on="replica")  # token + 1; 0 is an empty place
    log_key: Vector[int] = durable("updates", on="replica")
    log_time: Vector[int] = durable("updates", on="replica")
    log_hash: Vector[int] = durable("updates", on="replica")
    key_sequence: Vector[int] = durable("keys", on="replica")
    token_sequence: Vector[int] = durable("updates", on="leader")

    # The leader's view of the followers: gone after a crash.
    mode: int = volatile()
    budget: int = volatile()
    release_floor: int = volatile()
    released: Vector[int] = volatile("updates", on="leader")
    acked: Vector[int] = volatile("updates", on="leader")
    open_attempts: Vector[int] = volatile("updates", on="leader")
    acked_prefix: Vector[int] = volatile("nodes", on="leader")
    outstanding: Vector[int] = volatile("nodes", on="leader")
    seen_incarnation: Vector[int] = volatile("nodes", on="leader")
    breaker: Vector[int] = volatile("nodes", on="leader")
    breaker_timeouts: Vector[int] = volatile("nodes", on="leader")
    breaker_opened_ns: Vector[int] = volatile("nodes", on="leader")
    breaker_probe: Vector[int] = volatile("nodes", on="leader")

    # The client.
    done: Vector[int] = volatile("updates", on="client")

    def on_start(self, ctx: Context) -> None:
        self.mode = ctx.p.mode
        self.budget = BUDGET_START
        if LEADER < ctx.me < ctx.client and ctx.p.reconcile_every_ns > 0:
            phase_ns = 1 + ctx.rand(PHASE_DRAW) % ctx.p.reconcile_every_ns
            ctx.timer(phase_ns, RECONCILE)

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        self.attempt_write(ctx, token, key, 1)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == TIMEOUT:
            self.on_attempt_timeout(ctx, a, b, c, d)
        elif kind == RETRY:
            if self.is_open(a, b):
                if self.breaker_lets(ctx, b, a):
                    self.transmit(ctx, a, b, c, d)
                else:
                    ctx.count(BREAKER_REJECTED)
                    self.close(a, b)
        elif kind == RECONCILE:
            ctx.count(DIGESTS_SENT)
            ctx.send(LEADER, DIGEST, self.prefix, self.prefix_hash, ctx.incarnation)
            ctx.timer(ctx.p.reconcile_every_ns, RECONCILE)
        elif kind == CLIENT_TIMEOUT:
            if (
                not self.done[a]
                and c < ctx.p.client_attempts
                and c * ctx.p.client_timeout_ns < ctx.p.client_deadline_ns
            ):
                self.attempt_write(ctx, a, b, c + 1)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == UPDATE or kind == REPAIR:
            self.on_update(ctx, a, b, c, d)
        elif kind == UPDATE_ACK:
            self.acknowledge(ctx, source, a)
        elif kind == WRITE:
            self.on_write(ctx, a, b)
        elif kind == DIGEST:
            self.on_digest(ctx, source, a, b, c)
        elif not self.done[a]:
            self.done[a] = 1
            ctx.observe(ACKNOWLEDGED if kind == WRITE_ACK else REJECTED, a)

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        if setting == SET_MODE:
            self.mode = value
            if ctx.me == LEADER:
                for sequence in range(1, self.last + 1):
                    self.release(ctx, sequence)

    # Client

    def attempt_write(self, ctx: Context, token: int, key: int, attempt: int) -> None:
        ctx.observe(ATTEMPTED, token)
        ctx.send(LEADER, WRITE, token, key)
        ctx.timer(ctx.p.client_timeout_ns, CLIENT_TIMEOUT, token, key, attempt)

    # Leader

    def on_write(self, ctx: Context, token: int, key: int) -> None:
        sequence = self.token_sequence[token]
        if sequence > 0:
            ctx.count(DUPLICATE_REQUESTS)
            if self.released[sequence]:
                ctx.send(ctx.client, WRITE_ACK, token, sequence)
            else:
                self.replicate(ctx, sequence)
                self.release(ctx, sequence)
            return
        if ctx.p.overflow == OVERFLOW_REJECT and self.fullest_queue(ctx) >= ctx.p.queue_limit:
            ctx.count(REFUSED)
            ctx.send(ctx.client, WRITE_REJECT, token)
            return
        sequence = self.last + 1
        self.token_sequence[token] = sequence
        ctx.observe(ACCEPTED, sequence, token)
        self.append(ctx, sequence, token, key, ctx.now)
        self.replicate(ctx, sequence)
        self.release(ctx, sequence)

    def fullest_queue(self, ctx: Context) -> int:
        fullest = 0
        for follower in range(1, ctx.n):
            fullest = max(fullest, self.outstanding[follower])
        return fullest

    def replicate(self, ctx: Context, sequence: int) -> None:
        """Begin a first attempt to every follower that has neither the update nor an attempt outstanding."""
        for follower in range(1, ctx.n):
            if (self.acked[sequence] | self.open_attempts[sequence]) >> follower & 1:
                continue
            if ctx.p.overflow == OVERFLOW_DEFER and self.outstanding[follower] >= ctx.p.queue_limit:
                ctx.count(DEFERRED)
                continue
            if not self.breaker_lets(ctx, follower, sequence):
                ctx.count(BREAKER_REJECTED)
                continue
            self.outstanding[follower] += 1
            self.open_attempts[sequence] |= 1 << follower
            if ctx.p.budget_ppm >= 0:
                self.budget = min(BUDGET_MAX, self.budget + ctx.p.budget_ppm)
            self.transmit(ctx, sequence, follower, 1, ctx.p.base_ns)

    def transmit(self, ctx: Context, sequence: int, follower: int, attempt: int, wait_ns: int) -> None:
        self.send_entry(ctx, UPDATE, sequence, follower)
        ctx.timer(ctx.p.timeout_ns, TIMEOUT, sequence, follower, attempt, wait_ns)

    def send_entry(self, ctx: Context, kind: int, sequence: int, follower: int) -> None:
        ctx.count(TRANSMISSIONS)
        ctx.count(BYTES, ctx.p.update_bytes)
        ctx.send(
            follower, kind, sequence, self.log_token[sequence] - 1, self.log_key[sequence], self.log_time[sequence]
        )

    def is_open(self, sequence: int, follower: int) -> int:
        return self.open_attempts[sequence] >> follower & 1

    def close(self, sequence: int, follower: int) -> None:
        if self.is_open(sequence, follower):
            self.open_attempts[sequence] ^= 1 << follower
            self.outstanding[follower] -= 1

    def on_attempt_timeout(self, ctx: Context, sequence: int, follower: int, attempt: int, wait_ns: int) -> None:
        if not self.is_open(sequence, follower):
            return
        self.breaker_failed(ctx, follower, sequence)
        if attempt >= ctx.p.attempts:
            ctx.count(EXHAUSTED)
            self.close(sequence, follower)
            return
        if self.breaker[follower] != CLOSED:
            ctx.count(BREAKER_REJECTED)
            self.close(sequence, follower)
            return
        if ctx.p.budget_ppm >= 0:
            if self.budget < RETRY_COST:
                ctx.count(BUDGET_DENIED)
                self.close(sequence, follower)
                return
            self.budget -= RETRY_COST
        ctx.count(RETRIES)
        next_wait_ns = backoff_ns(
            ctx.p.backoff, ctx.p.jitter, ctx.p.base_ns, ctx.p.cap_ns, attempt, wait_ns, ctx.rand(BACKOFF_DRAW)
        )
        ctx.timer(next_wait_ns, RETRY, sequence, follower, attempt + 1, next_wait_ns)

    def breaker_lets(self, ctx: Context, follower: int, sequence: int) -> int:
        """Return whether an attempt may be sent now; the first one after the pause is the probe."""
        if self.breaker[follower] == CLOSED:
            return 1
        if self.breaker[follower] == OPEN and ctx.now - self.breaker_opened_ns[follower] >= ctx.p.breaker_open_ns:
            self.breaker[follower] = HALF_OPEN
            self.breaker_probe[follower] = sequence
            return 1
        return 0

    def breaker_failed(self, ctx: Context, follower: int, sequence: int) -> None:
        """Note a timeout: enough of them in a row open a closed breaker, the probe's opens a half-open one."""
        if ctx.p.breaker_failures == 0 or self.breaker[follower] == OPEN:
            return
        if self.breaker[follower] == CLOSED:
            self.breaker_timeouts[follower] += 1
            if self.breaker_timeouts[follower] < ctx.p.breaker_failures:
                return
        elif self.breaker_probe[follower] != sequence:
            return
        ctx.count(BREAKER_OPENED)
        self.breaker[follower] = OPEN
        self.breaker_timeouts[follower] = 0
        self.breaker_opened_ns[follower] = ctx.now

    def acknowledge(self, ctx: Context, follower: int, sequence: int) -> None:
        # A leader that lost its log is still told of sequences that it no longer has.
        if sequence > self.last:
            return
        self.breaker_timeouts[follower] = 0
        if self.breaker[follower] == HALF_OPEN:
            self.breaker[follower] = CLOSED
        if self.acked[sequence] >> follower & 1:
            return
        self.acked[sequence] |= 1 << follower
        self.close(sequence, follower)
        reached = self.acked_prefix[follower]
        while reached < self.last and self.acked[reached + 1] >> follower & 1:
            reached += 1
        self.acked_prefix[follower] = reached
        if self.mode == BOUNDED:
            for waiting in range(self.release_floor + 1, min(self.last, self.safe_prefix(ctx) + ctx.p.bound) + 1):
                self.release(ctx, waiting)
                self.release_floor = waiting
        else:
            self.release(ctx, sequence)

    def safe_prefix(self, ctx: Context) -> int:
        """Return how far every follower's acknowledged prefix reaches."""
        safe = self.last
        for follower in range(1, ctx.n):
            safe = min(safe, self.acked_prefix[follower])
        return safe

    def release(self, ctx: Context, sequence: int) -> None:
        """Acknowledge an update to the client once the mode permits it."""
        if self.released[sequence] or not self.may_release(ctx, sequence):
            return
        self.released[sequence] = 1
        ctx.send(ctx.client, WRITE_ACK, self.log_token[sequence] - 1, sequence)

    def may_release(self, ctx: Context, sequence: int) -> int:
        if self.mode == ASYNC:
            return 1
        if self.mode == BOUNDED:
            return 1 if sequence <= self.safe_prefix(ctx) + ctx.p.bound else 0
        have = 1
        for follower in range(1, ctx.n):
            have += self.acked[sequence] >> follower & 1
        needed = ctx.n if self.mode == SYNC else ctx.n // 2 + 1
        return 1 if have >= needed else 0

    def on_digest(self, ctx: Context, follower: int, prefix: int, prefix_hash: int, incarnation: int) -> None:
        if incarnation < self.seen_incarnation[follower]:
            return
        if incarnation > self.seen_incarnation[follower]:
            self.seen_incarnation[follower] = incarnation
            if prefix < self.acked_prefix[follower]:
                self.forget(follower, prefix)
        if prefix > self.last or self.log_hash[prefix] != prefix_hash:
            ctx.count(DIGEST_MISMATCH)
            return
        for sequence in range(self.acked_prefix[follower] + 1, prefix + 1):
            self.acknowledge(ctx, follower, sequence)
        sent = 0
        for sequence in range(prefix + 1, self.last + 1):
            if sent >= ctx.p.reconcile_batch:
                break
            if self.acked[sequence] >> follower & 1 or ctx.now - self.log_time[sequence] < ctx.p.timeout_ns:
                continue
            ctx.count(REPAIRS)
            self.send_entry(ctx, REPAIR, sequence, follower)
            sent += 1

    def forget(self, follower: int, prefix: int) -> None:
        """The follower lost its state: drop what it had acknowledged above `prefix`."""
        for sequence in range(prefix + 1, self.last + 1):
            if self.acked[sequence] >> follower & 1:
                self.acked[sequence] ^= 1 << follower
        self.acked_prefix[follower] = prefix

    # Follower

    def on_update(self, ctx: Context, sequence: int, token: int, key: int, timestamp_ns: int) -> None:
        if self.log_token[sequence]:
            ctx.count(DUPLICATES)
        elif sequence > self.prefix + ctx.p.queue_limit:
            ctx.count(REORDER_FULL)
            return
        else:
            if sequence != self.last + 1:
                ctx.count(OUT_OF_ORDER)
            self.append(ctx, sequence, token, key, timestamp_ns)
        ctx.count(ACKS_SENT)
        ctx.send(LEADER, UPDATE_ACK, sequence)

    # Log, on every replica

    def append(self, ctx: Context, sequence: int, token: int, key: int, timestamp_ns: int) -> None:
        self.log_token[sequence] = token + 1
        self.log_key[sequence] = key
        self.log_time[sequence] = timestamp_ns
        self.last = max(self.last, sequence)
        if ctx.p.ordering == ORDER_KEY:
            self.apply(ctx, sequence)
        self.waiting += 1
        while self.prefix < self.last and self.log_token[self.prefix + 1]:
            self.prefix += 1
            self.waiting -= 1
            word = mix(self.log_token[self.prefix], self.log_key[self.prefix])
            self.prefix_hash = mix(mix(self.prefix_hash, self.prefix), word)
            self.log_hash[self.prefix] = self.prefix_hash
            if ctx.p.ordering == ORDER_SEQUENCE:
                self.apply(ctx, self.prefix)

    def apply(self, ctx: Context, sequence: int) -> None:
        key = self.log_key[sequence]
        token = self.log_token[sequence] - 1
        if self.key_sequence[key] > sequence:
            ctx.observe(SUPERSEDED, sequence, token)
        else:
            self.key_sequence[key] = sequence
            ctx.observe(APPLIED, sequence, token)


class Settings(ProtocolSettings):
    """The changelog has no section of its own: `system.mode`, `policy` and `workload.client` are its settings."""

    uses: ClassVar[tuple[str, ...]] = ("system", "policy", *CLIENT_REPEATS)
    replicas_max: ClassVar[int] = 32

    def parameters(self, experiment: Any) -> dict[str, int]:
        policy, retry, client = experiment.policy, experiment.policy.retry, experiment.workload.client
        return {
            "mode": MODES[experiment.system.mode],
            "bound": policy.bound,
            "ordering": ORDER_KEY if policy.ordering == "key" else ORDER_SEQUENCE,
            "timeout_ns": policy.timeout,
            "attempts": retry.attempts,
            "backoff": BACKOFFS[retry.backoff],
            "jitter": JITTERS[retry.jitter],
            "base_ns": retry.base,
            "cap_ns": retry.cap,
            "budget_ppm": -1 if retry.budget is None else retry.budget,
            "queue_limit": policy.queue.limit,
            "overflow": OVERFLOW_DEFER if policy.queue.overflow == "defer" else OVERFLOW_REJECT,
            "reconcile_every_ns": policy.reconcile_every,
            "reconcile_batch": policy.reconcile_batch,
            "client_timeout_ns": client.timeout,
            "client_attempts": client.attempts,
            "client_deadline_ns": client.deadline,
            "update_bytes": UPDATE_BYTES,
            "breaker_failures": policy.breaker.failures or 0,
            "breaker_open_ns": policy.breaker.open_for,
        }
