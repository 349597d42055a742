"""The recommended settings ready to paste, each with a sentence on what cannot be carried over."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lab.spec.schema import Experiment

CHANGELOG = "changelog"
GRPC_ATTEMPTS_MAX = 5  # gRFC A6
OWN_KEYS = (  # what a replica's settings hold beyond policies: who it is and where it runs
    *("schema", "run_id", "name", "index", "leader", "replicas", "peers", "seed"),
    *("data_dir", "events", "log_level", "listen"),
)


def snippets(experiment: Experiment, changed: dict[str, str]) -> dict[str, str]:
    """Return the settings as text by target; `changed` are the tuned paths with their values.

    Of other protocols than the changelog, for the experiment file alone: the other targets have no such settings.
    """
    chosen = TARGETS if experiment.system.protocol == CHANGELOG else ("experiment",)
    return {name: TARGETS[name][0](experiment, changed) for name in chosen}


def notes() -> dict[str, str]:
    """Return, by target, what cannot be carried over."""
    return {name: note for name, (_, note) in TARGETS.items()}


def replica_settings(experiment: Experiment) -> dict[str, Any]:
    """Return the part of a replica's settings file that policies decide, as the Go and Rust replicas read it."""
    from lab.containers import settings

    whole = settings.replica_settings(experiment, experiment.system.names[0], run_id="", seed=0, peers={})
    return {key: value for key, value in whole.items() if key not in OWN_KEYS}


def _json(data: Any) -> str:
    return json.dumps(data, indent=2) + "\n"


def _seconds(value_ns: int) -> str:
    """Return a duration as protobuf's JSON writes it, such as 0.147s."""
    whole, rest = divmod(value_ns, 10**9)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".") + "s"


def _ms(value_ns: int) -> int:
    return max(1, round(value_ns / 1e6))


def _experiment(experiment: Experiment, changed: dict[str, str]) -> str:
    from lab.spec.document import resolved

    lines = [f"# {path}: {value}" for path, value in changed.items()]
    whole, protocol = resolved(experiment), experiment.system.protocol
    if protocol == CHANGELOG:
        lines += _yaml("policy", whole["policy"], 0)
    else:
        lines += _yaml("system", {"protocol": protocol, protocol: whole["system"].get(protocol, {})}, 0)
    return "\n".join(lines) + "\n"


def _yaml(key: str, value: Any, depth: int) -> list[str]:
    pad = "  " * depth
    if isinstance(value, dict):
        inner = [line for name, part in value.items() if part is not None for line in _yaml(name, part, depth + 1)]
        return [f"{pad}{key}:", *inner]
    return [f"{pad}{key}: {value}"]


def _replica(experiment: Experiment, _: dict[str, str]) -> str:
    return _json(replica_settings(experiment))


def _grpc(experiment: Experiment, _: dict[str, str]) -> str:
    retry = experiment.policy.retry
    config: dict[str, Any] = {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": min(max(retry.attempts, 2), GRPC_ATTEMPTS_MAX),
                    "initialBackoff": _seconds(retry.base),
                    "maxBackoff": _seconds(retry.cap),
                    "backoffMultiplier": 2 if retry.backoff == "exponential" else 1,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
    if retry.budget:
        config["retryThrottling"] = {"maxTokens": 10, "tokenRatio": round(retry.budget / 1e6, 3)}
    return _json(config)


def _envoy(experiment: Experiment, _: dict[str, str]) -> str:
    policy, retry = experiment.policy, experiment.policy.retry
    lines = [
        "# route:",
        "retry_policy:",
        "  retry_on: 5xx,reset,connect-failure",
        f"  num_retries: {retry.attempts - 1}",
        f"  per_try_timeout: {_seconds(policy.timeout)}",
        "  retry_back_off:",
        f"    base_interval: {_seconds(retry.base)}",
        f"    max_interval: {_seconds(retry.cap if retry.backoff == 'exponential' else retry.base)}",
    ]
    if retry.budget:
        lines += [
            "# cluster:",
            "circuit_breakers:",
            "  thresholds:",
            f"  - retry_budget: {{ budget_percent: {{ value: {retry.budget / 1e4:g} }}, min_retry_concurrency: 3 }}",
        ]
    return "\n".join(lines) + "\n"


# Jitter -> (share of the wait that is its middle, spread around it): U(0, v) is v/2 +- 100 %, v/2 + U(0, v/2) is
# 3v/4 +- 33 %.
RANDOMIZED = {"none": (1.0, ""), "full": (0.5, "0.99"), "equal": (0.75, "0.33"), "decorrelated": (0.5, "0.99")}


def _resilience4j(experiment: Experiment, _: dict[str, str]) -> str:
    policy, retry = experiment.policy, experiment.policy.retry
    middle, spread = RANDOMIZED[retry.jitter]
    lines = [
        "resilience4j:",
        "  retry:",
        "    instances:",
        "      replicate:",
        f"        maxAttempts: {retry.attempts}",
        f"        waitDuration: {_ms(round(retry.base * middle))}ms",
    ]
    if retry.backoff == "exponential":
        lines += [
            "        enableExponentialBackoff: true",
            "        exponentialBackoffMultiplier: 2",
            f"        exponentialMaxWaitDuration: {_ms(round(retry.cap * middle))}ms",
        ]
    if spread:
        lines += ["        enableRandomizedWait: true", f"        randomizedWaitFactor: {spread}"]
    lines += [
        "  timelimiter:",
        "    instances:",
        "      replicate:",
        f"        timeoutDuration: {_ms(policy.timeout)}ms",
    ]
    return "\n".join(lines) + "\n"


def _aws(experiment: Experiment, _: dict[str, str]) -> str:
    policy, retry = experiment.policy, experiment.policy.retry
    backoff = _aws_backoff(retry.backoff, retry.jitter, _ms(retry.base), _ms(retry.cap))
    return (
        "// AWS SDK for Java 2.x\n"
        "RetryStrategy retry = StandardRetryStrategy.builder()\n"
        f"    .maxAttempts({retry.attempts})\n"
        f"    .backoffStrategy(BackoffStrategy.{backoff})\n"
        "    .build();\n"
        "clientBuilder.overrideConfiguration(o -> o.retryStrategy(retry)\n"
        f"    .apiCallAttemptTimeout(Duration.ofMillis({_ms(policy.timeout)})));\n"
    )


def _aws_backoff(backoff: str, jitter: str, base_ms: int, cap_ms: int) -> str:
    base, cap = f"Duration.ofMillis({base_ms})", f"Duration.ofMillis({cap_ms})"
    if backoff == "fixed":
        return f"fixedDelayWithoutJitter({base})" if jitter == "none" else f"fixedDelay({base})"
    kind = {"none": "exponentialDelayWithoutJitter", "equal": "exponentialDelayHalfJitter"}.get(
        jitter, "exponentialDelay"
    )
    return f"{kind}({base}, {cap})"


Write = Callable[[Experiment, dict[str, str]], str]
TARGETS: dict[str, tuple[Write, str]] = {
    "experiment": (_experiment, ""),
    "replica": (
        _replica,
        "The part of a replica's settings file that policies decide; names and addresses are its own.",
    ),
    "grpc": (
        _grpc,
        "gRPC has no timeout for each try, at most 5 attempts, jitter of 20 % whatever the policy says, and repeats by "
        "status, not by silence: set deadlines in the calls.",
    ),
    "envoy": (
        _envoy,
        "Envoy always draws the wait from the whole window (full jitter); its budget counts retries under way, not a "
        "share of the traffic; queue, ordering and reconciliation have no counterpart.",
    ),
    "resilience4j": (
        _resilience4j,
        "Jitter is a spread around the wait there, so the waits are halved for full jitter and cut to three quarters "
        "for equal; decorrelated becomes full; there is no retry budget.",
    ),
    "aws": (
        _aws,
        "The retry quota stays the SDK's own; decorrelated jitter becomes full; shared config files can set the number "
        "of attempts, not the waits.",
    ),
}
