"""What the proxy hop costs, and up to which rate it is exact: `python -m benchmarks.hop [--quick] [--json FILE]`.

Round trips are measured direct (host to host) and through the proxy's container in turns within one run, so that both
meet the same machine. For the rate, a link delays by uniform(10ms, 30ms) and loses 5 % of the messages; a rate is
within tolerance when the delay's quantiles, less the hop's own delay (measured with a constant 20 ms at a low rate),
and the loss are where they should be. `lab.containers.budget` holds the limit that the oneshot wire is run with, below
what is found here.
"""

from __future__ import annotations

import argparse
import json
import platform
import socket
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks import proxy
from lab.containers import links
from lab.containers.images import SERVERS, build_images
from lab.containers.session import open_session
from lab.spec.schema import Experiment

WIRES = ("framed", "oneshot")
RATES = {"framed": (250, 500, 1000, 2000, 4000), "oneshot": (125, 250, 500, 750, 1000, 1500, 2000)}
TOLERANCE_MS = {50: 1.0, 90: 1.5, 99: 5.0}
LOSS_PPM = 50_000
CONFIDENCE = 0.999
LOW_RATE = 100
SECONDS = 6.0
ROUNDS = 20
ECHOES = 50


def link(wire: str, delay: str, loss: str = "0%") -> links.Link:
    """Return a link as the lab translates it."""
    experiment = Experiment.model_validate(
        {
            "title": "hop",
            "system": {"wire": wire, "replicas": [{"name": "leader"}, {"name": "f1"}]},
            "network": {"links": {"default": {"delay": delay, "loss": loss}}},
            "workload": {"arrivals": "constant(100/s)", "duration": "1s"},
        }
    )
    return links.plan(experiment, 1).links[0]


def round_trips(bench: proxy.Bench, rounds: int, echoes: int) -> dict[str, list[float]]:
    """Return round trips in microseconds, direct and through the proxy, in turns."""
    plain = link(bench.wire, "0s")
    proxy.run(lambda: bench.prepare(plain, bench.echo_port))
    ways = {"direct": (bench.gateway, bench.echo_port), "proxy": bench.address}
    found: dict[str, list[float]] = {way: [] for way in ways}
    lanes = {way: proxy.dial(address) for way, address in ways.items()}
    data = proxy.frame(0)
    for _ in range(rounds):
        for way, address in ways.items():
            for _ in range(echoes):
                one = lanes[way] if bench.wire == "framed" else proxy.dial(address)
                started = time.perf_counter_ns()
                one.sendall(data)
                _whole(one, len(data))
                found[way].append((time.perf_counter_ns() - started) / 1e3)
                if bench.wire == "oneshot":
                    one.close()
    for lane in lanes.values():
        lane.close()
    return found


def _whole(one: socket.socket, size: int) -> None:
    while size:
        part = one.recv(size)
        if not part:
            raise ConnectionError("the echo ended")
        size -= len(part)


def at_rate(bench: proxy.Bench, rate: float, seconds: float, base_ms: float) -> dict[str, Any]:
    """Return what a link with delay and loss did at one rate, and whether it was within tolerance."""
    one = link(bench.wire, "uniform(low=10ms, high=30ms)", "5%")
    proxy.run(lambda: bench.prepare(one, bench.frames_port))
    result = bench.send(rate, int(rate * seconds))
    sent = sum(at_ns >= 0 for at_ns in result.sent_ns)
    delays = np.array(proxy.delays_ms(result)) - base_ms
    lost = sent - len(delays)
    asked = asked_quantiles(bench.wire)
    seen = {q: float(np.quantile(delays, q / 100)) for q in TOLERANCE_MS}
    low, high = stats.binom.interval(CONFIDENCE, sent, LOSS_PPM / 1e6)
    exact = all(abs(seen[q] - asked[q]) <= most for q, most in TOLERANCE_MS.items()) and low <= lost <= high
    late_ms = (max(result.sent_ns) - min(at for at in result.sent_ns if at >= 0)) / 1e6 - 1e3 * (sent - 1) / rate
    return {
        "rate": rate,
        "sent": sent,
        "unsent": result.unsent,
        "lost": lost / sent,
        "asked_ms": asked,
        "seen_ms": {q: round(value, 2) for q, value in seen.items()},
        "sender_late_ms": round(late_ms, 1),
        "within": bool(exact and result.unsent <= sent // 200),
    }


def asked_quantiles(wire: str) -> dict[int, float]:
    """Return quantiles of uniform(10ms, 30ms); a stock server draws whole milliseconds of 10..29, half a step lower."""
    return {q: 10 + 20 * q / 100 - (0.5 if wire == "oneshot" else 0.0) for q in TOLERANCE_MS}


def measure(bench: proxy.Bench, quick: bool) -> dict[str, Any]:
    """Return everything about one wire."""
    trips = round_trips(bench, 3 if quick else ROUNDS, 20 if quick else ECHOES)
    constant = link(bench.wire, "20ms")
    proxy.run(lambda: bench.prepare(constant, bench.frames_port))
    base_ms = statistics.median(proxy.delays_ms(bench.send(LOW_RATE, 50 if quick else 500))) - 20
    rates = RATES[bench.wire][:2] if quick else RATES[bench.wire]
    rows = []
    for rate in rates:
        rows.append(at_rate(bench, rate, 1.0 if quick else SECONDS, base_ms))
        if not rows[-1]["within"]:
            break
    good = [row["rate"] for row in rows if row["within"]]
    return {
        "round_trip_us": {
            way: {f"p{q}": round(float(np.quantile(times, q / 100)), 1) for q in (50, 90, 99)}
            for way, times in trips.items()
        },
        "base_ms": round(base_ms, 3),
        "rates": rows,
        "exact_up_to": max(good, default=0),
    }


def lines(wire: str, found: dict[str, Any]) -> list[str]:
    """Return a wire's measurements as text."""
    text = [f"{wire} ({SERVERS[wire]} server): one hop delays by {found['base_ms']:.2f} ms (constant 20 ms, taken off)"]
    for way, times in found["round_trip_us"].items():
        text.append(f"  round trip {way:<7} " + "  ".join(f"{name} {value:.0f} us" for name, value in times.items()))
    for row in found["rates"]:
        seen = "  ".join(f"p{q} {row['seen_ms'][q]:.1f} (asked {row['asked_ms'][q]:.1f})" for q in TOLERANCE_MS)
        verdict = "within" if row["within"] else "OVER"
        text.append(f"  {row['rate']:>5}/s  {seen} ms  lost {row['lost']:.2%} (asked 5%)  {verdict}")
    return [*text, f"  exact up to {found['exact_up_to']}/s on one link"]


def main() -> None:
    """Measure both wires, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few messages, to see that it works")
    parser.add_argument("--json", type=Path, help="file to write to")
    chosen = parser.parse_args()
    document: dict[str, Any] = {"kernel": platform.release(), "machine": platform.machine(), "wires": {}}
    images = build_images(lambda text: print(text, file=sys.stderr), SERVERS.values())
    with open_session() as session:
        for wire in WIRES:
            with proxy.bench(session, images, wire) as bench:
                document["wires"][wire] = measure(bench, chosen.quick)
            print("\n".join(lines(wire, document["wires"][wire])))
    if chosen.json:
        chosen.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
