"""What an experiment can set of remote calls: every parameter with its unit, default, range and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lab.core.backoff import BACKOFFS, EXPONENTIAL, JITTER_FULL, JITTERS
from lab.core.budgets import BUDGETS, FINAGLE, UNLIMITED
from lab.core.rpc_state import LAW_EXPONENTIAL, LAWS, SERVICE_MAX_NS

BALANCE_RANDOM = 0
BALANCE_ROUND_ROBIN = 1
BALANCE_TWO = 2  # the better of two random servers
BALANCE_LEAST = 3
BALANCES = {
    "random": BALANCE_RANDOM,
    "round_robin": BALANCE_ROUND_ROBIN,
    "two_choices": BALANCE_TWO,
    "least": BALANCE_LEAST,
}

OVERFLOW_REJECT = 0
OVERFLOW_DROP = 1
OVERFLOWS = {"reject": OVERFLOW_REJECT, "drop": OVERFLOW_DROP}

ADAPT_NONE = 0
ADAPT_RFC6298 = 1
ADAPT_QUANTILE = 2
ADAPTS = {"none": ADAPT_NONE, "rfc6298": ADAPT_RFC6298, "quantile": ADAPT_QUANTILE}

MS, SECOND = 1_000_000, 1_000_000_000
TIME_MAX_NS = 1 << 39  # about nine minutes
WAIT_MAX_NS = 1 << 37  # three times that is the most that decorrelated jitter draws from
ATTEMPTS_MAX = 62  # attempts of an operation are the bits of an integer
HEDGED_MAX = 5  # servers of hedged attempts are remembered in 12 bits each
SERVERS_MAX = 4095
SLICES = 10  # of Finagle's window


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; `names` are the words an experiment file uses for its values."""

    default: int
    least: int
    most: int
    unit: str
    meaning: str
    names: Mapping[str, int] | None = None


def _named(default: int, names: Mapping[str, int], meaning: str) -> Parameter:
    return Parameter(default, 0, len(names) - 1, "name", meaning, names)


PARAMETERS: dict[str, Parameter] = {
    "clients": Parameter(1, 1, 1_000_000, "processes", "client processes; operation `key % clients` is its own"),
    "balance": _named(BALANCE_TWO, BALANCES, "how a server is chosen, by attempts that the client node has under way"),
    "elsewhere": Parameter(1, 0, 1, "flag", "an attempt beyond the first goes to another server than the one before"),
    "workers": Parameter(1, 1, 1 << 30, "workers", "requests that a server serves at once"),
    "queue_limit": Parameter(100, 0, 1_000_000, "requests", "requests that wait at a server; at most the keys"),
    "overflow": _named(OVERFLOW_REJECT, OVERFLOWS, "a full queue refuses with an answer, or drops in silence"),
    "service_law": _named(LAW_EXPONENTIAL, LAWS, "law of the service time"),
    "service_ns": Parameter(10 * MS, 0, SERVICE_MAX_NS, "ns", "mean service time; of a lognormal law the median"),
    "service_sigma_ppm": Parameter(500_000, 0, 3_000_000, "ppm", "sigma of a lognormal law"),
    "error_ppm": Parameter(0, 0, 1_000_000, "ppm", "share of served requests that are answered with an error"),
    "propagate": Parameter(0, 0, 1, "flag", "servers drop a request whose attempt has ended, instead of serving it"),
    "slow_from_ns": Parameter(0, 0, TIME_MAX_NS, "ns", "when services begin to be slow"),
    "slow_for_ns": Parameter(0, 0, TIME_MAX_NS, "ns", "how long; 0 is never"),
    "slow_permille": Parameter(10_000, 0, 1_000_000, "thousandths", "service time of a slow server; 1000 is as ever"),
    "slow_servers": Parameter(SERVERS_MAX, 0, SERVERS_MAX, "servers", "how many servers are slow, the first ones"),
    "timeout_ns": Parameter(250 * MS, 1, TIME_MAX_NS, "ns", "of an attempt; where it adapts, at first"),
    "adaptive": _named(ADAPT_NONE, ADAPTS, "how the timeout follows latencies, per client process"),
    "timeout_min_ns": Parameter(MS, 1, TIME_MAX_NS, "ns", "least adaptive timeout"),
    "timeout_max_ns": Parameter(60 * SECOND, 1, TIME_MAX_NS, "ns", "largest adaptive timeout and hedge delay"),
    "quantile_ppm": Parameter(990_000, 1, 999_999, "ppm", "quantile of latency that a `quantile` timeout follows"),
    "deadline_ns": Parameter(2 * SECOND, 0, TIME_MAX_NS, "ns", "of the whole operation; 0 is none"),
    "attempts": Parameter(3, 1, ATTEMPTS_MAX, "attempts", "of an operation, hedges included (then at most 5)"),
    "backoff": _named(EXPONENTIAL, BACKOFFS, "growth of the wait before a retry"),
    "jitter": _named(JITTER_FULL, JITTERS, "jitter of the wait"),
    "base_ns": Parameter(50 * MS, 0, WAIT_MAX_NS, "ns", "first wait"),
    "cap_ns": Parameter(2 * SECOND, 0, WAIT_MAX_NS, "ns", "largest wait"),
    "budget": _named(UNLIMITED, BUDGETS, "what limits attempts beyond the first, per client process"),
    "budget_ppm": Parameter(200_000, 0, 1_000_000_000, "ppm", "tokenRatio, percentCanRetry, budget_percent, refill"),
    "budget_tokens": Parameter(10_000, 0, 1_000_000_000, "thousandths", "most tokens, at first too (grpc, bucket)"),
    "budget_ttl_ns": Parameter(10 * SECOND, SECOND, 60 * SECOND, "ns", "window (finagle)"),
    "budget_min": Parameter(3, 0, 1_000_000, "retries", "a second (finagle), under way (envoy), whatever the share"),
    "hedge_ns": Parameter(0, 0, TIME_MAX_NS, "ns", "wait before the next attempt joins the first; 0 is no hedging"),
    "hedge_quantile_ppm": Parameter(0, 0, 999_999, "ppm", "quantile of latency that this wait follows; 0: fixed"),
    "cancel": Parameter(1, 0, 1, "flag", "an attempt given up is cancelled at its server if it still waits there"),
    "breaker_failures": Parameter(0, 0, 1_000_000, "failures", "in a row open the breaker; 0 is no breaker"),
    "breaker_open_ns": Parameter(SECOND, 0, TIME_MAX_NS, "ns", "how long it is open before a probe is let through"),
}

DEFAULTS: dict[str, int] = {name: parameter.default for name, parameter in PARAMETERS.items()}


def problems(values: Mapping[str, int], servers: int, keys: int) -> list[tuple[str, str]]:
    """Return (parameter, sentence) for everything that a run with these values could not carry out."""
    found = []
    for name, parameter in PARAMETERS.items():
        if not parameter.least <= values[name] <= parameter.most:
            found.append((name, f"{name} {values[name]} is outside {parameter.least}..{parameter.most}"))
    for name in ("queue_limit", "clients"):
        if values[name] > keys:
            found.append((name, f"{name} {values[name]} is above the workload's {keys} keys; raise keys or lower it"))
    if values["budget"] == FINAGLE and SLICES * values["clients"] > keys:
        found.append(("clients", f"{values['clients']} clients with a finagle budget need {SLICES} keys each"))
    if servers > SERVERS_MAX:
        found.append(("servers", f"{servers} servers are over the limit of {SERVERS_MAX}"))
    if values["hedge_ns"] > 0 and values["attempts"] > HEDGED_MAX:
        found.append(("attempts", f"{values['attempts']} attempts with hedging are over the limit of {HEDGED_MAX}"))
    if values["hedge_ns"] == 0 and values["hedge_quantile_ppm"] > 0:
        found.append(("hedge_quantile_ppm", "hedge_quantile_ppm needs hedge_ns, the wait that it starts from"))
    if values["timeout_min_ns"] > values["timeout_max_ns"]:
        found.append(("timeout_min_ns", "timeout_min_ns is above timeout_max_ns"))
    if values["cap_ns"] < values["base_ns"]:
        found.append(("cap_ns", "cap_ns is below base_ns"))
    return found
