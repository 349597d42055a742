"""What well-known clients do unless told otherwise, in our terms: one table, name -> settings.

Only how attempts are repeated is taken over. None of these products has a short timeout for each try by default, and
without one nothing would ever be repeated here: the experiment's own `policy.timeout` stays. What else cannot be said
in our terms is in `left_out`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preset:
    """One product's retry settings as values at dotted paths. `version`: whose defaults these are."""

    product: str
    version: str
    values: dict[str, str]
    left_out: str


def _retry(attempts: str, backoff: str, base: str, cap: str, jitter: str, budget: str = "null") -> dict[str, str]:
    named = {"attempts": attempts, "backoff": backoff, "base": base, "cap": cap, "jitter": jitter, "budget": budget}
    return {f"policy.retry.{name}": value for name, value in named.items()}


PRESETS: dict[str, Preset] = {
    "aws-sdk-standard": Preset(
        "AWS SDK, retry mode standard",
        "AWS SDKs and Tools reference, standard mode before 2026; botocore 1.34",
        _retry("3", "exponential", "1s", "20s", "full"),
        "The retry quota (500 tokens, 5 an attempt) is a fixed reserve, not a share of the traffic: no budget is set.",
    ),
    "aws-sdk-2026": Preset(
        "AWS SDK, retry mode standard of 2026",
        "AWS_NEW_RETRIES_2026",
        _retry("3", "exponential", "50ms", "20s", "full"),
        "The retry quota (14 tokens an attempt), the longer base after throttling and x-amz-retry-after are left out.",
    ),
    "grpc": Preset(
        "gRPC service config",
        "gRFC A6, example retry policy (gRPC repeats nothing by default)",
        _retry("4", "exponential", "100ms", "1s", "none", "10%"),
        "Jitter of 20 % is taken as none. retryThrottling (maxTokens 10, tokenRatio 0.1) is taken as a budget of "
        "10 %; its half-full threshold and server push-back are left out.",
    ),
    "envoy": Preset(
        "Envoy retry policy",
        "Envoy 1.31, defaults",
        _retry("2", "exponential", "25ms", "250ms", "full"),
        "The circuit breaker (at most 3 retries at once in a cluster) is left out.",
    ),
    "finagle": Preset(
        "Finagle RetryPolicy.tries(3) with the default RetryBudget",
        "Finagle 22, defaults",
        _retry("3", "exponential", "5ms", "200ms", "decorrelated", "20%"),
        "The budget's reserve of 10 retries a second and its window of 10 s are left out.",
    ),
    "resilience4j": Preset(
        "resilience4j Retry",
        "resilience4j 2.2, RetryConfig.ofDefaults()",
        _retry("3", "fixed", "500ms", "500ms", "none"),
        "The circuit breaker is a separate module and left out.",
    ),
}
