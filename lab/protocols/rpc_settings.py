"""Remote calls in an experiment file: `system: { protocol: rpc, rpc: { … } }`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lab.core.backoff import BACKOFFS, JITTERS
from lab.core.budgets import BUDGETS
from lab.core.rpc_state import LAWS
from lab.core.section import Section
from lab.core.units import DurationNs, PositiveDurationNs, SharePpm
from lab.protocols.rpc_parameters import ADAPTS, BALANCES, DEFAULTS, OVERFLOWS, SERVERS_MAX, problems
from lab.protocols.settings import ProtocolSettings, Switch

Count = Annotated[int, Field(ge=0, le=1_000_000)]


class Slow(Section):
    """The first `servers` servers (null: all) take `permille` thousandths of their time during [at, at + for)."""

    at: DurationNs
    for_: PositiveDurationNs = Field(alias="for")
    permille: Annotated[int, Field(ge=0, le=1_000_000)] = DEFAULTS["slow_permille"]
    servers: Annotated[int, Field(ge=1, le=SERVERS_MAX)] | None = None


class Server(Section):
    """A server: `workers` serve at once, `queue` requests wait, more are refused or dropped.

    `service` is the mean of an exponential law, the median of a lognormal one (with `sigma`, as a share). With
    `propagate` a request whose attempt has ended is dropped instead of served. `errors` of the answers are failures.
    """

    workers: Annotated[int, Field(ge=1, le=1_000_000)] = DEFAULTS["workers"]
    queue: Count = DEFAULTS["queue_limit"]
    overflow: Literal["reject", "drop"] = "reject"
    law: Literal["constant", "exponential", "lognormal"] = "exponential"
    service: DurationNs = DEFAULTS["service_ns"]
    sigma: SharePpm = DEFAULTS["service_sigma_ppm"]
    errors: SharePpm = DEFAULTS["error_ppm"]
    propagate: Switch = "off"
    slow: Slow | None = None


class Timeout(Section):
    """The timeout of an attempt: `initial`, then as `adaptive` says, within [least, most]."""

    initial: PositiveDurationNs = DEFAULTS["timeout_ns"]
    adaptive: Literal["none", "rfc6298", "quantile"] = "none"
    least: PositiveDurationNs = DEFAULTS["timeout_min_ns"]
    most: PositiveDurationNs = DEFAULTS["timeout_max_ns"]
    quantile: SharePpm = DEFAULTS["quantile_ppm"]


class Retries(Section):
    """Attempts of an operation, the first included, and the wait before each further one."""

    attempts: Annotated[int, Field(ge=1, le=62)] = DEFAULTS["attempts"]
    backoff: Literal["fixed", "exponential"] = "exponential"
    jitter: Literal["none", "full", "equal", "decorrelated"] = "full"
    base: DurationNs = DEFAULTS["base_ns"]
    cap: DurationNs = DEFAULTS["cap_ns"]


class Budget(Section):
    """What limits attempts beyond the first, for each client process.

    grpc: `tokens`, `share` a token an answer. finagle: `share` of requests and `least` a second, over `window`. envoy:
    `share` of the active requests, `least` at once. bucket: `tokens`, `share` a token an operation.
    """

    kind: Literal["none", "grpc", "finagle", "envoy", "bucket"] = "none"
    share: SharePpm = DEFAULTS["budget_ppm"]
    tokens: Annotated[int, Field(ge=0, le=1_000_000)] = DEFAULTS["budget_tokens"] // 1000
    window: DurationNs = DEFAULTS["budget_ttl_ns"]
    least: Count = DEFAULTS["budget_min"]


class Hedge(Section):
    """A further attempt joins those under way every `after` (0s: no hedging); with `quantile` it follows latency."""

    after: DurationNs = DEFAULTS["hedge_ns"]
    quantile: SharePpm | None = None


class Breaker(Section):
    """`failures` in a row (null: no breaker) open it for `open_for`; then one attempt probes."""

    failures: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    open_for: DurationNs = DEFAULTS["breaker_open_ns"]


# Where a parameter stands in the file, for its problems.
KEYS = {
    "queue_limit": "server.queue", "clients": "clients", "attempts": "retry.attempts", "cap_ns": "retry.cap",
    "hedge_quantile_ppm": "hedge.quantile", "quantile_ppm": "timeout.quantile", "timeout_min_ns": "timeout.least",
    "budget_ttl_ns": "budget.window", "service_ns": "server.service", "timeout_ns": "timeout.initial",
    "timeout_max_ns": "timeout.most", "base_ns": "retry.base", "hedge_ns": "hedge.after",
    "breaker_open_ns": "breaker.open_for", "slow_from_ns": "server.slow.at", "slow_for_ns": "server.slow.for",
}  # fmt: skip


class Settings(ProtocolSettings):
    """Replicas serve; the client node holds `clients` processes that call them behind one load balancer.

    Operations end at `workload.client.deadline`. An operation belongs to the client process key modulo `clients`.
    """

    has_links: ClassVar[bool] = False  # all messages are between the client and a server
    client_links: ClassVar[bool] = True
    replicas_max: ClassVar[int] = 62

    clients: Annotated[int, Field(ge=1, le=1_000_000)] = DEFAULTS["clients"]
    balance: Literal["random", "round_robin", "two_choices", "least"] = "two_choices"
    elsewhere: Switch = "on"
    cancel: Switch = "on"
    server: Server = Server()
    timeout: Timeout = Timeout()
    retry: Retries = Retries()
    budget: Budget = Budget()
    hedge: Hedge = Hedge()
    breaker: Breaker = Breaker()

    def problems(self, experiment: Any) -> list[tuple[str, str]]:
        found = problems(self.parameters(experiment), len(experiment.system.names), experiment.workload.keys)
        return [(KEYS.get(name, name), sentence) for name, sentence in found]

    def parameters(self, experiment: Any) -> dict[str, int]:
        server, slow = self.server, self.server.slow
        values = {
            "clients": self.clients, "balance": BALANCES[self.balance], "elsewhere": int(self.elsewhere == "on"),
            "cancel": int(self.cancel == "on"), "workers": server.workers, "queue_limit": server.queue,
            "overflow": OVERFLOWS[server.overflow], "service_law": LAWS[server.law], "service_ns": server.service,
            "service_sigma_ppm": server.sigma, "error_ppm": server.errors, "propagate": int(server.propagate == "on"),
            "slow_from_ns": slow.at if slow else 0, "slow_for_ns": slow.for_ if slow else 0,
            "slow_permille": slow.permille if slow else DEFAULTS["slow_permille"],
            "slow_servers": slow.servers or SERVERS_MAX if slow else SERVERS_MAX,
            "timeout_ns": self.timeout.initial, "adaptive": ADAPTS[self.timeout.adaptive],
            "timeout_min_ns": self.timeout.least, "timeout_max_ns": self.timeout.most,
            "quantile_ppm": self.timeout.quantile, "deadline_ns": experiment.workload.client.deadline,
            "attempts": self.retry.attempts, "backoff": BACKOFFS[self.retry.backoff],
            "jitter": JITTERS[self.retry.jitter], "base_ns": self.retry.base, "cap_ns": self.retry.cap,
            "budget": BUDGETS[self.budget.kind], "budget_ppm": self.budget.share,
            "budget_tokens": 1000 * self.budget.tokens, "budget_ttl_ns": self.budget.window,
            "budget_min": self.budget.least, "hedge_ns": self.hedge.after,
            "hedge_quantile_ppm": self.hedge.quantile or 0, "breaker_failures": self.breaker.failures or 0,
            "breaker_open_ns": self.breaker.open_for,
        }  # fmt: skip
        return {name: values[name] for name in DEFAULTS}
