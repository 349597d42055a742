"""What well-known clients do unless told otherwise, in our terms: one table, name -> settings.

Only how attempts are repeated is taken over. None of these products has a short timeout for each try by default, and
without one nothing would ever be repeated here: the experiment's own `policy.timeout` stays. What else cannot be said
in our terms is in `left_out`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preset:
    """One product's retry settings as values at dotted paths. `version`: whose defaults these are; `source`: where they
    are written down.
    """

    product: str
    version: str
    source: str
    values: dict[str, str]
    left_out: str


def _retry(attempts: str, backoff: str, base: str, cap: str, jitter: str, budget: str = "null") -> dict[str, str]:
    named = {"attempts": attempts, "backoff": backoff, "base": base, "cap": cap, "jitter": jitter, "budget": budget}
    return {f"policy.retry.{name}": value for name, value in named.items()}


AWS_GUIDE = "docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html"
PRESETS: dict[str, Preset] = {
    "aws-sdk-standard": Preset(
        "AWS SDK, retry mode standard",
        "before 2026: three attempts (SDKs and Tools reference); waits as in botocore 1.34",
        f"{AWS_GUIDE}; botocore/retries/standard.py, ExponentialBackoff",
        _retry("3", "exponential", "1s", "20s", "full"),
        "The retry quota (500 tokens, 5 an attempt) is a fixed reserve, not a share of the traffic: no budget is set. "
        "Other SDKs of that time waited differently.",
    ),
    "aws-sdk-2026": Preset(
        "AWS SDK, retry mode standard of 2026",
        "AWS_NEW_RETRIES_2026=true, transient errors",
        AWS_GUIDE,
        _retry("3", "exponential", "50ms", "20s", "full"),
        "The retry quota (500 tokens, 14 a retry), the base of 1 s after throttling, DynamoDB's own base and attempts, "
        "and x-amz-retry-after are left out.",
    ),
    "grpc": Preset(
        "gRPC service config",
        "gRFC A6 as of 2024-08-23, its example policy (gRPC repeats nothing by default)",
        "github.com/grpc/proposal/blob/master/A6-client-retries.md",
        _retry("4", "exponential", "100ms", "1s", "none", "10%"),
        "Jitter of 20 % either way is taken as none (before August 2024 it was full). retryThrottling (maxTokens 10, "
        "tokenRatio 0.1) is taken as a budget of 10 %; its half-full threshold and server push-back are left out. The "
        "backoff of connections (1 s, times 1.6, at most 120 s) is another thing and left out.",
    ),
    "envoy": Preset(
        "Envoy retry policy",
        "Envoy 1.31, defaults: num_retries 1, base interval 25 ms, at most 10 times that",
        "envoyproxy.io/docs/envoy/v1.31.3, config.core.v3.BackoffStrategy and the router filter",
        _retry("2", "exponential", "25ms", "250ms", "full"),
        "The circuit breaker (at most 3 retries at once in a cluster) is left out. Envoy's windows grow as 25, 75, 175 "
        "ms, ours as 25, 50, 100 ms: with one retry there is no difference.",
    ),
    "finagle": Preset(
        "Finagle RetryPolicy.tries(3) with the default RetryBudget",
        "Finagle 22",
        "RetryPolicy.scala, tries: decorrelatedJittered(5.millis, 200.millis); finagle.github.io/blog/2016/02/08/"
        "retry-budgets",
        _retry("3", "exponential", "5ms", "200ms", "decorrelated", "20%"),
        "The budget's reserve of 10 retries a second and its window of 10 s are left out.",
    ),
    "resilience4j": Preset(
        "resilience4j Retry",
        "resilience4j 2.2, RetryConfig.ofDefaults()",
        "resilience4j.readme.io/docs/retry; RetryConfig.java",
        _retry("3", "fixed", "500ms", "500ms", "none"),
        "The circuit breaker is a separate module and left out.",
    ),
}
