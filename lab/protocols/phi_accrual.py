"""The phi-accrual failure detector (Hayashibara, Defago, Yared & Katayama 2004) in integers.

phi = -log10 of the chance that a beat comes later still, for a normal law with the mean and the deviation of the last
intervals. A peer is suspected when phi reaches the threshold, which is at mean + z * deviation since its last beat:
`tail_of` gives phi for z, `quantile_of` z for phi.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from lab.core.draws import scale
from lab.core.units import DurationNs, PositiveDurationNs, duration_text
from lab.protocols.form import Context, Vector, protocol, volatile
from lab.protocols.settings import ProtocolSettings

# Message kinds.
BEAT = 1  # number

# Timer kinds.
SEND = 1  # number
EXPIRE = 2  # peer, how often it was heard when the timer was set

PHASE_DRAW = 1

# Marks: peer.
SUSPECTED = 16
TRUSTED = 17

BEATS = 0
SUSPICIONS = 1
RETURNS = 2
SUSPECTED_NS = 3
INTERVALS = 4

MILLION = 1_000_000
Z_MAX = 40 * MILLION
US_NS = 1000
INTERVAL_MAX_NS = 60_000_000_000


@protocol
class PhiAccrual:
    """Each node sends a beat to all others every `period_ns` and suspects a peer at phi = `threshold_milliphi` / 1000.

    Mean and variance are of the last `window` (2 to 1000) intervals between arrivals, in whole microseconds; longer
    ones than `interval_max_ns` (at most 60 s) are not taken, as in Cassandra. As in Akka, the deviation is at least
    `deviation_min_ns`, `pause_ns` is allowed on top (0 in the paper), and the window begins with two intervals, a
    quarter above and below the period. Counters and marks are as in `heartbeat`; INTERVALS counts those taken.

    The normal tail is Q(z) = density(z) / (.661 z + .339 sqrt(z^2 + 5.51)) for z >= 0 (Borjesson & Sundberg 1979),
    within .3 % of the true one: phi is off by at most .0013. Below the mean phi counts as 0 (truly 0 to .301).
    """

    parameters: ClassVar[tuple[str, ...]] = (
        "period_ns", "threshold_milliphi", "window", "interval_max_ns", "deviation_min_ns", "pause_ns",
    )  # fmt: skip
    counters: ClassVar[tuple[str, ...]] = ("beats", "suspicions", "returns", "suspected_ns", "intervals")
    kinds: ClassVar[Mapping[int, str]] = {BEAT: "beat"}
    timers: ClassVar[Mapping[int, str]] = {SEND: "send", EXPIRE: "expire"}
    settings: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    marks: ClassVar[Mapping[str, int]] = {"suspected": SUSPECTED, "trusted": TRUSTED}

    z_ppm: int = volatile()  # deviations from the mean to the threshold, in millionths
    heard: Vector[int] = volatile("nodes")  # how many beats came from a peer
    heard_ns: Vector[int] = volatile("nodes")  # when the last one came
    taken: Vector[int] = volatile("nodes")  # how many intervals were taken
    suspected: Vector[int] = volatile("nodes")
    since_ns: Vector[int] = volatile("nodes")  # when the last suspicion of a peer began
    interval_us: Vector[int] = volatile("samples")  # peer * window + number % window

    def on_start(self, ctx: Context) -> None:
        if ctx.me >= ctx.n:
            return
        self.z_ppm = self.quantile_of(1000 * ctx.p.threshold_milliphi)
        ctx.timer(scale(ctx.rand(PHASE_DRAW), ctx.p.period_ns), SEND, 1)
        for peer in range(ctx.n):
            if peer != ctx.me:
                self.take(ctx, peer, ctx.p.period_ns - ctx.p.period_ns // 4)
                self.take(ctx, peer, ctx.p.period_ns + ctx.p.period_ns // 4)
                ctx.timer(self.timeout_ns(ctx, peer), EXPIRE, peer, 0)

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        """There are no operations."""

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        if kind == SEND:
            for peer in range(ctx.n):
                if peer != ctx.me:
                    ctx.count(BEATS)
                    ctx.send(peer, BEAT, a)
            ctx.timer(ctx.p.period_ns, SEND, a + 1)
        elif b == self.heard[a]:
            ctx.count(SUSPICIONS)
            ctx.observe(SUSPECTED, a)
            self.suspected[a] = 1
            self.since_ns[a] = ctx.now

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        if self.heard[source]:
            interval_ns = ctx.now - self.heard_ns[source]
            if interval_ns <= ctx.p.interval_max_ns:
                ctx.count(INTERVALS)
                self.take(ctx, source, interval_ns)
        self.heard[source] += 1
        self.heard_ns[source] = ctx.now
        if self.suspected[source]:
            ctx.count(RETURNS)
            ctx.count(SUSPECTED_NS, ctx.now - self.since_ns[source])
            ctx.observe(TRUSTED, source)
            self.suspected[source] = 0
        ctx.timer(self.timeout_ns(ctx, source), EXPIRE, source, self.heard[source])

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        """There are no settings."""

    def take(self, ctx: Context, peer: int, interval_ns: int) -> None:
        """Put an interval in the place of the oldest one of the window."""
        place = peer * ctx.p.window + self.taken[peer] % ctx.p.window
        self.interval_us[place] = interval_ns // US_NS
        self.taken[peer] += 1

    def timeout_ns(self, ctx: Context, peer: int) -> int:
        """Return how long after a beat phi of a peer reaches the threshold."""
        count = min(self.taken[peer], ctx.p.window)
        first = peer * ctx.p.window
        total = 0
        for place in range(first, first + count):
            total += self.interval_us[place]
        mean_us = (total + count // 2) // count
        squares = 0
        for place in range(first, first + count):
            squares += (self.interval_us[place] - mean_us) * (self.interval_us[place] - mean_us)
        deviation_us = max(self.root(squares // (count - 1)), ctx.p.deviation_min_ns // US_NS)
        return self.above(mean_us, deviation_us, ctx.p.pause_ns)

    def above(self, mean_us: int, deviation_us: int, pause_ns: int) -> int:
        """Return mean + z * deviation + pause in nanoseconds."""
        return mean_us * US_NS + deviation_us * self.z_ppm // US_NS + pause_ns

    # The normal law in millionths

    def root(self, value: int) -> int:
        """Return the integer square root of a number in [0, 2^62): the largest whose square is not above it."""
        found = 0
        for step in range(31):
            bit = 1 << 30 - step
            if (found | bit) * (found | bit) <= value:
                found |= bit
        return found

    def log10_of(self, value: int) -> int:
        """Return log10(value / 1,000,000) in millionths, for values of 1,000,000 to 2^45."""
        log2 = 0  # in units of 2^-30
        rest = value * 65_536 // MILLION  # in units of 2^-16
        while rest >= 131_072:
            rest = rest // 2
            log2 += 1 << 30
        doublings = log2 >> 30
        fine = (value << 17) // (MILLION << doublings) << 13  # mantissa in units of 2^-30, in [1, 2)
        if fine >= 1 << 31:
            fine = fine // 2
            log2 += 1 << 30
        for step in range(1, 27):
            fine = (fine * fine) >> 30
            if fine >= 1 << 31:
                fine = fine // 2
                log2 += 1 << 30 - step
        return log2 * 301_030 >> 30

    def tail_of(self, z_ppm: int) -> int:
        """Return phi in millionths at z deviations (in millionths, 0 to 40) above the mean."""
        square = z_ppm * z_ppm // MILLION
        bend = self.root((square + 5_510_000) * MILLION)
        inverse = (661 * z_ppm + 339 * bend) // 1000
        # log10(e) / 2 = .217147, log10(sqrt(2 pi)) = .399090; the last term may be below 1, so it is taken times 10.
        return square * 217_147 // MILLION + 399_090 + self.log10_of(10 * inverse) - MILLION

    def quantile_of(self, phi_ppm: int) -> int:
        """Return the smallest z in millionths (0 to 40) at which phi reaches a value."""
        low = 0
        high = Z_MAX
        while low < high:
            middle = (low + high) // 2
            if self.tail_of(middle) >= phi_ppm:
                high = middle
            else:
                low = middle + 1
        return low


class Settings(ProtocolSettings):
    """Every replica sends a heartbeat to all others every `period` and suspects who reaches `threshold` thousandths of
    phi.

    Mean and deviation are of the last `window` intervals that are at most `interval_max`; the deviation is at least
    `deviation_min`, and `pause` is allowed on top.
    """

    has_client: ClassVar[bool] = False
    replicas_max: ClassVar[int] = 100

    period: PositiveDurationNs = 100_000_000
    threshold: Annotated[int, Field(ge=302, le=16_000)] = 8000
    window: Annotated[int, Field(ge=2, le=1000)] = 100
    interval_max: PositiveDurationNs = 2_000_000_000
    deviation_min: DurationNs = 1_000_000
    pause: DurationNs = 0

    def problems(self, experiment: Any) -> list[tuple[str, str]]:
        if self.interval_max > INTERVAL_MAX_NS:
            longest = duration_text(INTERVAL_MAX_NS)
            return [("interval_max", f"{duration_text(self.interval_max)} is over {longest}; lower it")]
        if 5 * self.period // 4 > self.interval_max:
            period = duration_text(self.period)
            return [("interval_max", f"leaves out intervals around {period}, the period; raise it well above")]
        return []

    def parameters(self, experiment: Any) -> dict[str, int]:
        return {
            "period_ns": self.period,
            "threshold_milliphi": self.threshold,
            "window": self.window,
            "interval_max_ns": self.interval_max,
            "deviation_min_ns": self.deviation_min,
            "pause_ns": self.pause,
        }
