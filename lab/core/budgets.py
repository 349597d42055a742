"""Retry budgets: whether one more attempt may be made, as gRPC, Finagle and Envoy decide it, in integers.

gRPC (proposal A6): `tokens` starts at its most; a failed attempt takes one, a success gives the ratio; retries and
hedges are made only while more than half are left. Finagle: within a sliding window a request deposits one, a retry
withdraws 1 / share, on top of a reserve. Envoy: at most a share of the active requests, or a least number, may be
retries. Tokens are counted in thousandths, shares in millionths.
"""

from __future__ import annotations

from collections.abc import Callable

from lab.core.draws import ONE_MILLION

UNLIMITED = 0
GRPC = 1
FINAGLE = 2
ENVOY = 3
BUCKET = 4  # a first attempt gives the ratio, an attempt beyond it takes one token and needs more than one
BUDGETS = {"none": UNLIMITED, "grpc": GRPC, "finagle": FINAGLE, "envoy": ENVOY, "bucket": BUCKET}

TOKEN = 1000  # thousandths; functions below spell it out, for they are compiled with every protocol


def grpc_after_failure(tokens: int) -> int:
    """Return the tokens (thousandths) after a failed attempt: one less, not below 0."""
    return max(0, tokens - 1000)


def grpc_after_success(tokens: int, most: int, ratio: int) -> int:
    """Return the tokens after an answered attempt: `ratio` thousandths more, not above `most`."""
    return min(most, tokens + ratio)


def grpc_allows(tokens: int, most: int) -> int:
    """Return 1 if a retry may be made: strictly more than half the tokens are left."""
    return 1 if 2 * tokens > most else 0


def finagle_deposit(share_ppm: int) -> int:
    """Return what a request puts into the window, in thousandths."""
    return 1000 if share_ppm > 0 else 0


def finagle_price(share_ppm: int) -> int:
    """Return what a retry takes out of the window, in thousandths; without a share only the reserve pays."""
    return 1000 * ONE_MILLION // share_ppm if share_ppm > 0 else 1


def finagle_reserve(ttl_ns: int, minimum: int, price: int) -> int:
    """Return what is there beside the window's sum: `minimum` retries for each whole second of the window."""
    return minimum * (ttl_ns // 1_000_000_000) * price


def envoy_allows(retries: int, active: int, share_ppm: int, minimum: int) -> int:
    """Return 1 if `retries` under way leave room for one more beside `active` requests (retries included)."""
    return 1 if retries < max(share_ppm * active // ONE_MILLION, minimum) else 0


LIFTED: tuple[Callable[..., int], ...] = (
    grpc_after_failure, grpc_after_success, grpc_allows, finagle_deposit, finagle_price, finagle_reserve, envoy_allows,
)  # fmt: skip
