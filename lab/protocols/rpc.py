"""Clients that call servers: attempts, timeouts, retry budgets, hedges, breakers; queues, workers, overload.

Nodes 0..n-1 serve. The client node holds `clients` client processes behind one load balancer; an operation belongs to
process `key % clients`, and each process has its own budget, breaker and estimators. Everything that an attempt meets
at a server is drawn when it is sent, so policies are compared under the same luck.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lab.core.backoff import backoff_ns
from lab.core.budgets import (
    BUCKET,
    ENVOY,
    FINAGLE,
    GRPC,
    TOKEN,
    UNLIMITED,
    envoy_allows,
    finagle_deposit,
    finagle_price,
    finagle_reserve,
    grpc_after_failure,
    grpc_after_success,
    grpc_allows,
)
from lab.core.draws import below, mix, scale
from lab.core.rpc_state import pick, quantile_ns, retransmit_ns, service_time_ns, smoothed_ns, variation_ns
from lab.protocols.form import ACKNOWLEDGED, ATTEMPTED, REJECTED, Context, Vector, protocol, volatile
from lab.protocols.rpc_parameters import (
    ADAPT_QUANTILE,
    ADAPT_RFC6298,
    BALANCE_LEAST,
    BALANCE_ROUND_ROBIN,
    BALANCE_TWO,
    DEFAULTS,
    OVERFLOW_REJECT,
    SLICES,
)  # fmt: skip

# Message kinds. A job is token x 64 + attempt.
REQUEST = 1  # job, when its attempt ends, when it was sent, the draw of its service
REPLY = 2  # job, status, when the request was sent
CANCEL = 3  # job

# Timer kinds.
TIMEOUT = 1  # job, server
RETRY = 2  # token
HEDGE = 3  # token, attempt
FINISH = 4  # job, when it was sent, the draw

ANSWER, ERROR, REFUSAL = range(3)  # statuses of a reply
CLOSED, HALF_OPEN, OPEN = range(3)  # states of a client's circuit breaker
PENDING, ANSWERED_IT, GAVE_UP = range(3)  # how an operation ended

# Flags of an operation.
IN_DOUBT = 1  # an attempt ran into its timeout: a server may have done the work
OUTLASTED = 2  # the first attempt was still unanswered when its hedge was due

SERVER_DRAW, SECOND_DRAW, SERVICE_DRAW, BACKOFF_DRAW, ERROR_WORD = range(1, 6)

# Counters, by index in `counters`.
(
    ATTEMPTS, RETRIES, HEDGES, ANSWERED, FAILED, TIMEOUTS, ERRORS, REFUSALS, EXHAUSTED, EXPIRED, BUDGET_DENIED,
    BREAKER_OPENED, BREAKER_CLOSED, BREAKER_REJECTED, CANCELS, CANCELLED, SERVED, QUEUE_OVERFLOW, DEADLINE_DROPPED,
    WASTED,
) = range(20)  # fmt: skip


@protocol
class Rpc:
    """A job waits in its server's queue (vectors over keys: `queue_limit` and `clients` are at most the keys).

    An operation ends with its first answer (ACKNOWLEDGED) or when no further attempt is made; it is REJECTED if every
    attempt was refused or failed by name, and stays unknown after a timeout. With `hedge_ns` further attempts are sent
    while earlier ones are under way (gRPC's hedging), without it one after the other.
    """

    parameters: ClassVar[tuple[str, ...]] = tuple(DEFAULTS)
    counters: ClassVar[tuple[str, ...]] = (
        "attempts", "retries", "hedges", "answered", "failed", "timeouts", "errors", "refusals", "exhausted",
        "expired", "budget_denied", "breaker_opened", "breaker_closed", "breaker_rejected", "cancels", "cancelled",
        "served", "queue_overflow", "deadline_dropped", "wasted",
    )  # fmt: skip
    kinds: ClassVar[Mapping[int, str]] = {REQUEST: "request", REPLY: "reply", CANCEL: "cancel"}
    timers: ClassVar[Mapping[int, str]] = {TIMEOUT: "timeout", RETRY: "retry", HEDGE: "hedge", FINISH: "finish"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}

    # A server.
    busy: int = volatile()
    head: int = volatile()
    waiting: int = volatile()
    slot_job: Vector[int] = volatile("keys", on="replica")
    slot_end: Vector[int] = volatile("keys", on="replica")
    slot_sent: Vector[int] = volatile("keys", on="replica")
    slot_draw: Vector[int] = volatile("keys", on="replica")

    # The client node: operations, by token.
    client_of: Vector[int] = volatile("updates", on="client")
    started_ns: Vector[int] = volatile("updates", on="client")
    tries: Vector[int] = volatile("updates", on="client")
    flight: Vector[int] = volatile("updates", on="client")  # bits of attempts under way
    servers: Vector[int] = volatile("updates", on="client")  # 12 bits each of the last five attempts' servers
    wait_ns: Vector[int] = volatile("updates", on="client")
    flags: Vector[int] = volatile("updates", on="client")
    ended: Vector[int] = volatile("updates", on="client")

    # The load balancer.
    outstanding: Vector[int] = volatile("nodes", on="client")
    turn: int = volatile()

    # Client processes.
    tokens: Vector[int] = volatile("keys", on="client")
    active: Vector[int] = volatile("keys", on="client")  # attempts under way
    extras: Vector[int] = volatile("keys", on="client")  # those beyond the first, from their decision on
    timeout_now: Vector[int] = volatile("keys", on="client")
    smoothed: Vector[int] = volatile("keys", on="client")
    variation: Vector[int] = volatile("keys", on="client")
    hedge_now: Vector[int] = volatile("keys", on="client")
    breaker: Vector[int] = volatile("keys", on="client")
    breaker_failures: Vector[int] = volatile("keys", on="client")
    breaker_opened_ns: Vector[int] = volatile("keys", on="client")
    breaker_probe: Vector[int] = volatile("keys", on="client")  # token + 1 of the operation that probes
    # Finagle's window: ten slices a process, which of them is filled, and when that was begun.
    slices: Vector[int] = volatile("keys", on="client")
    slice_now: Vector[int] = volatile("keys", on="client")
    slice_begun_ns: Vector[int] = volatile("keys", on="client")

    def on_start(self, ctx: Context) -> None:
        if ctx.me == ctx.client:
            for client in range(ctx.p.clients):
                self.tokens[client] = ctx.p.budget_tokens
                self.timeout_now[client] = ctx.p.timeout_ns
                self.hedge_now[client] = ctx.p.hedge_ns

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        client = key % ctx.p.clients
        self.client_of[token] = client
        self.started_ns[token] = ctx.now
        self.wait_ns[token] = ctx.p.base_ns
        if ctx.p.budget == BUCKET:
            self.tokens[client] = min(ctx.p.budget_tokens, self.tokens[client] + ctx.p.budget_ppm // TOKEN)
        elif ctx.p.budget == FINAGLE:
            self.turn_slices(ctx, client)
            self.slices[SLICES * client + self.slice_now[client]] += finagle_deposit(ctx.p.budget_ppm)
        if self.breaker_lets(ctx, client):
            self.launch(ctx, client, token)
        else:
            ctx.count(BREAKER_REJECTED)
            self.give_up(ctx, token)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == FINISH:
            self.on_finish(ctx, a, b, c)
        elif kind == TIMEOUT:
            self.on_timeout(ctx, a, b)
        elif kind == RETRY:
            client = self.client_of[a]
            if self.breaker_lets(ctx, client):
                ctx.count(RETRIES)
                self.launch(ctx, client, a)
            else:
                ctx.count(BREAKER_REJECTED)
                self.extras[client] -= 1
                self.give_up(ctx, a)
        elif self.ended[a] == PENDING and self.tries[a] == b:
            if b == 1:
                self.flags[a] |= OUTLASTED
                self.learn_hedge(ctx, self.client_of[a], 1)
            self.hedge(ctx, a)

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == REQUEST:
            self.on_request(ctx, a, b, c, d)
        elif kind == REPLY:
            self.on_reply(ctx, source, a, b, c)
        else:
            self.on_cancel(ctx, a)

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    # Client: attempts

    def launch(self, ctx: Context, client: int, token: int) -> None:
        """Send the operation's next attempt."""
        number = self.tries[token] + 1
        server = self.choose(ctx, token, number)
        timeout_ns = self.timeout_now[client]
        if ctx.p.deadline_ns > 0:
            timeout_ns = min(timeout_ns, self.started_ns[token] + ctx.p.deadline_ns - ctx.now)
        shift = 12 * ((number - 1) % 5)
        self.servers[token] = self.servers[token] & ~(4095 << shift) | server << shift
        self.tries[token] = number
        self.flight[token] |= 1 << number
        self.outstanding[server] += 1
        self.active[client] += 1
        if self.breaker[client] == OPEN:
            self.breaker[client] = HALF_OPEN
            self.breaker_probe[client] = token + 1
        job = (token << 6) + number
        ctx.count(ATTEMPTS)
        ctx.observe(ATTEMPTED, token)
        ctx.send(server, REQUEST, job, ctx.now + timeout_ns, ctx.now, ctx.rand(SERVICE_DRAW))
        ctx.timer(timeout_ns, TIMEOUT, job, server)
        if ctx.p.hedge_ns > 0 and number < ctx.p.attempts:
            ctx.timer(self.hedge_now[client], HEDGE, token, number)

    def choose(self, ctx: Context, token: int, number: int) -> int:
        """Return the server of an attempt; with `elsewhere` not that of the attempt before, if there is another."""
        spared = -1
        if number > 1 and ctx.p.elsewhere and ctx.n > 1:
            spared = self.servers[token] >> 12 * ((number - 2) % 5) & 4095
        if ctx.p.balance == BALANCE_ROUND_ROBIN:
            if self.turn == spared:
                self.turn = (self.turn + 1) % ctx.n
            server = self.turn
            self.turn = (server + 1) % ctx.n
            return server
        if ctx.p.balance == BALANCE_LEAST:
            return self.least(ctx, spared)
        server = pick(ctx.rand(SERVER_DRAW), ctx.n, spared)
        if ctx.p.balance == BALANCE_TWO and ctx.n > 1:
            other = pick(ctx.rand(SECOND_DRAW), ctx.n, server)
            if other != spared and self.outstanding[other] < self.outstanding[server]:
                return other
        return server

    def least(self, ctx: Context, spared: int) -> int:
        """Return a server with the fewest attempts under way, looking from a random one on."""
        best = -1
        start = scale(ctx.rand(SERVER_DRAW), ctx.n)
        for step in range(ctx.n):
            server = (start + step) % ctx.n
            if server != spared and (best < 0 or self.outstanding[server] < self.outstanding[best]):
                best = server
        return best

    def settle(self, token: int, number: int, server: int) -> None:
        """Note that an attempt is no longer under way."""
        client = self.client_of[token]
        self.flight[token] ^= 1 << number
        self.outstanding[server] -= 1
        self.active[client] -= 1
        if number > 1:
            self.extras[client] -= 1

    def on_reply(self, ctx: Context, server: int, job: int, status: int, sent_ns: int) -> None:
        token = job >> 6
        number = job & 63
        if not self.flight[token] >> number & 1:
            if status == ANSWER:
                ctx.count(WASTED)
            return
        self.settle(token, number, server)
        if status == ANSWER:
            self.succeed(ctx, token, number, max(1, ctx.now - sent_ns))
        else:
            ctx.count(ERRORS if status == ERROR else REFUSALS)
            self.fail(ctx, token)

    def on_timeout(self, ctx: Context, job: int, server: int) -> None:
        token = job >> 6
        number = job & 63
        if not self.flight[token] >> number & 1:
            return
        ctx.count(TIMEOUTS)
        self.settle(token, number, server)
        self.flags[token] |= IN_DOUBT
        client = self.client_of[token]
        if ctx.p.adaptive == ADAPT_RFC6298:
            self.timeout_now[client] = min(ctx.p.timeout_max_ns, 2 * self.timeout_now[client])
        elif ctx.p.adaptive == ADAPT_QUANTILE:
            self.learn_quantile(ctx, client, 1)
        if ctx.p.cancel:
            ctx.count(CANCELS)
            ctx.send(server, CANCEL, job)
        self.fail(ctx, token)

    def succeed(self, ctx: Context, token: int, number: int, latency_ns: int) -> None:
        client = self.client_of[token]
        self.ended[token] = ANSWERED_IT
        ctx.count(ANSWERED)
        ctx.observe(ACKNOWLEDGED, token)
        if ctx.p.budget == GRPC:
            ratio = ctx.p.budget_ppm // TOKEN
            self.tokens[client] = grpc_after_success(self.tokens[client], ctx.p.budget_tokens, ratio)
        self.breaker_succeeded(ctx, client, token)
        if number == 1 and not self.flags[token] & OUTLASTED:
            self.learn_hedge(ctx, client, 0)
        if ctx.p.adaptive == ADAPT_RFC6298:
            self.variation[client] = variation_ns(self.smoothed[client], self.variation[client], latency_ns)
            self.smoothed[client] = smoothed_ns(self.smoothed[client], latency_ns)
            self.timeout_now[client] = retransmit_ns(
                self.smoothed[client], self.variation[client], ctx.p.timeout_min_ns, ctx.p.timeout_max_ns
            )
        elif ctx.p.adaptive == ADAPT_QUANTILE:
            self.learn_quantile(ctx, client, 0)
        if self.flight[token]:
            self.leave_others(ctx, token)

    def leave_others(self, ctx: Context, token: int) -> None:
        """Give up the attempts of an answered operation that are still under way: hedges, five at most."""
        for number in range(1, self.tries[token] + 1):
            if self.flight[token] >> number & 1:
                server = self.servers[token] >> 12 * ((number - 1) % 5) & 4095
                self.settle(token, number, server)
                if ctx.p.cancel:
                    ctx.count(CANCELS)
                    ctx.send(server, CANCEL, (token << 6) + number)

    def fail(self, ctx: Context, token: int) -> None:
        """An attempt failed: retry, hedge at once, or give up."""
        client = self.client_of[token]
        if ctx.p.budget == GRPC:
            self.tokens[client] = grpc_after_failure(self.tokens[client])
        self.breaker_failed(ctx, client, token)
        if ctx.p.hedge_ns == 0:
            self.retry(ctx, client, token)
            return
        self.hedge(ctx, token)
        if not self.flight[token]:
            self.give_up(ctx, token)

    def retry(self, ctx: Context, client: int, token: int) -> None:
        """Wait for the next attempt, unless attempts, time or budget are used up."""
        number = self.tries[token]
        wait_ns = backoff_ns(
            ctx.p.backoff, ctx.p.jitter, ctx.p.base_ns, ctx.p.cap_ns, number, self.wait_ns[token],
            ctx.rand(BACKOFF_DRAW),
        )  # fmt: skip
        if number >= ctx.p.attempts:
            ctx.count(EXHAUSTED)
            self.give_up(ctx, token)
        elif ctx.p.deadline_ns > 0 and ctx.now + wait_ns >= self.started_ns[token] + ctx.p.deadline_ns:
            ctx.count(EXPIRED)
            self.give_up(ctx, token)
        elif not self.budget_lets(ctx, client):
            ctx.count(BUDGET_DENIED)
            self.give_up(ctx, token)
        else:
            self.extras[client] += 1
            self.wait_ns[token] = wait_ns
            ctx.timer(wait_ns, RETRY, token)

    def hedge(self, ctx: Context, token: int) -> None:
        """Send one more attempt beside those under way, if everything permits it."""
        client = self.client_of[token]
        if self.tries[token] >= ctx.p.attempts:
            if not self.flight[token]:
                ctx.count(EXHAUSTED)
        elif ctx.p.deadline_ns > 0 and ctx.now >= self.started_ns[token] + ctx.p.deadline_ns:
            ctx.count(EXPIRED)
        elif not self.breaker_lets(ctx, client):
            ctx.count(BREAKER_REJECTED)
        elif not self.budget_lets(ctx, client):
            ctx.count(BUDGET_DENIED)
        else:
            ctx.count(HEDGES)
            self.extras[client] += 1
            self.launch(ctx, client, token)

    def give_up(self, ctx: Context, token: int) -> None:
        self.ended[token] = GAVE_UP
        ctx.count(FAILED)
        if not self.flags[token] & IN_DOUBT:
            ctx.observe(REJECTED, token)

    # Client: budgets, breaker, estimators

    def budget_lets(self, ctx: Context, client: int) -> int:
        """Return whether an attempt beyond the first may be made, and pay for it."""
        if ctx.p.budget == UNLIMITED:
            return 1
        if ctx.p.budget == GRPC:
            return grpc_allows(self.tokens[client], ctx.p.budget_tokens)
        if ctx.p.budget == ENVOY:
            return envoy_allows(self.extras[client], self.active[client], ctx.p.budget_ppm, ctx.p.budget_min)
        if ctx.p.budget == BUCKET:
            if self.tokens[client] <= TOKEN:
                return 0
            self.tokens[client] -= TOKEN
            return 1
        self.turn_slices(ctx, client)
        price = finagle_price(ctx.p.budget_ppm)
        balance = finagle_reserve(ctx.p.budget_ttl_ns, ctx.p.budget_min, price)
        for number in range(SLICES * client, SLICES * (client + 1)):
            balance += self.slices[number]
        if balance < price:
            return 0
        self.slices[SLICES * client + self.slice_now[client]] -= price
        return 1

    def turn_slices(self, ctx: Context, client: int) -> None:
        """Begin a new slice of Finagle's window if the current one is over; slices that passed meanwhile are empty."""
        passed = (ctx.now - self.slice_begun_ns[client]) // (ctx.p.budget_ttl_ns // SLICES)
        if passed > 0:
            self.slice_begun_ns[client] = ctx.now
            first = self.slice_now[client] + 1
            for step in range(min(passed, SLICES)):
                self.slices[SLICES * client + (first + step) % SLICES] = 0
            self.slice_now[client] = (first + passed - 1) % SLICES

    def breaker_lets(self, ctx: Context, client: int) -> int:
        """Return whether an attempt may be sent now: always when closed, one as a probe after the pause."""
        if self.breaker[client] == OPEN:
            return 1 if ctx.now - self.breaker_opened_ns[client] >= ctx.p.breaker_open_ns else 0
        return 1 if self.breaker[client] == CLOSED else 0

    def breaker_failed(self, ctx: Context, client: int, token: int) -> None:
        """Note a failure: enough of them in a row open a closed breaker, the probe's opens a half-open one."""
        if ctx.p.breaker_failures == 0 or self.breaker[client] == OPEN:
            return
        if self.breaker[client] == CLOSED:
            self.breaker_failures[client] += 1
            if self.breaker_failures[client] < ctx.p.breaker_failures:
                return
        elif self.breaker_probe[client] != token + 1:
            return
        ctx.count(BREAKER_OPENED)
        self.breaker[client] = OPEN
        self.breaker_opened_ns[client] = ctx.now

    def breaker_succeeded(self, ctx: Context, client: int, token: int) -> None:
        if self.breaker[client] == HALF_OPEN and self.breaker_probe[client] == token + 1:
            ctx.count(BREAKER_CLOSED)
            self.breaker[client] = CLOSED
        if self.breaker[client] == CLOSED:
            self.breaker_failures[client] = 0

    def learn_quantile(self, ctx: Context, client: int, is_above: int) -> None:
        estimate_ns = quantile_ns(self.timeout_now[client], is_above, ctx.p.quantile_ppm)
        self.timeout_now[client] = max(ctx.p.timeout_min_ns, min(ctx.p.timeout_max_ns, estimate_ns))

    def learn_hedge(self, ctx: Context, client: int, is_above: int) -> None:
        if ctx.p.hedge_quantile_ppm > 0:
            estimate_ns = quantile_ns(self.hedge_now[client], is_above, ctx.p.hedge_quantile_ppm)
            self.hedge_now[client] = min(ctx.p.timeout_max_ns, estimate_ns)

    # Servers

    def on_request(self, ctx: Context, job: int, end_ns: int, sent_ns: int, draw: int) -> None:
        if ctx.p.propagate and ctx.now >= end_ns:
            ctx.count(DEADLINE_DROPPED)
        elif self.busy < ctx.p.workers:
            self.serve(ctx, job, sent_ns, draw)
        elif self.waiting < ctx.p.queue_limit:
            slot = (self.head + self.waiting) % ctx.p.queue_limit
            self.slot_job[slot] = job
            self.slot_end[slot] = end_ns
            self.slot_sent[slot] = sent_ns
            self.slot_draw[slot] = draw
            self.waiting += 1
        else:
            ctx.count(QUEUE_OVERFLOW)
            if ctx.p.overflow == OVERFLOW_REJECT:
                ctx.send(ctx.client, REPLY, job, REFUSAL, sent_ns)

    def serve(self, ctx: Context, job: int, sent_ns: int, draw: int) -> None:
        self.busy += 1
        time_ns = service_time_ns(ctx.p.service_law, ctx.p.service_ns, ctx.p.service_sigma_ppm, draw)
        since_ns = ctx.now - ctx.p.slow_from_ns
        if ctx.me < ctx.p.slow_servers and 0 <= since_ns and since_ns < ctx.p.slow_for_ns:
            time_ns = time_ns * ctx.p.slow_permille // 1000
        ctx.timer(time_ns, FINISH, job, sent_ns, draw)

    def on_finish(self, ctx: Context, job: int, sent_ns: int, draw: int) -> None:
        ctx.count(SERVED)
        status = ERROR if below(mix(draw, ERROR_WORD), ctx.p.error_ppm) else ANSWER
        ctx.send(ctx.client, REPLY, job, status, sent_ns)
        self.busy -= 1
        while self.waiting > 0:
            slot = self.head
            self.head = (slot + 1) % ctx.p.queue_limit
            self.waiting -= 1
            if ctx.p.propagate and ctx.now >= self.slot_end[slot]:
                ctx.count(DEADLINE_DROPPED)
            else:
                self.serve(ctx, self.slot_job[slot], self.slot_sent[slot], self.slot_draw[slot])
                break

    def on_cancel(self, ctx: Context, job: int) -> None:
        """Take a job out of the queue and close the gap; one in service is finished."""
        found = 0
        for place in range(self.waiting):
            slot = (self.head + place) % ctx.p.queue_limit
            if found:
                last = (slot + ctx.p.queue_limit - 1) % ctx.p.queue_limit
                self.slot_job[last] = self.slot_job[slot]
                self.slot_end[last] = self.slot_end[slot]
                self.slot_sent[last] = self.slot_sent[slot]
                self.slot_draw[last] = self.slot_draw[slot]
            elif self.slot_job[slot] == job:
                found = 1
        if found:
            self.waiting -= 1
            ctx.count(CANCELLED)
