"""How many messages the oneshot wire carries truthfully, asked before a run and watched while it runs.

A stock proxy dials the receiver of each connection before it takes the next, so a link is exact up to a rate alone.
Each message also leaves entries in the kernel's tables for a minute or two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path

from lab.containers.links import used_pairs
from lab.model.workload import operations
from lab.spec.schema import Experiment

# Up to here delay quantiles, loss and order stay within tolerance: `python -m benchmarks.hop` measures it, on a quiet
# machine of 2 cores well above (1,000 to 1,500/s a link); the limits leave room for a machine that is shared.
LINK_RATE_MAX = 500  # messages a second on one link
TOTAL_RATE_MAX = 1_000  # messages a second on all links
WINDOW_NS = 5_000_000_000
SHORTEST_NS = 1_000_000_000
CONNTRACK_S = 120  # how long the kernel remembers a connection that was closed
CONNTRACK_A_MESSAGE = 2  # sender to proxy, proxy to receiver
CONNTRACK_SHARE = 0.9
_TABLE = Path("/proc/sys/net/netfilter")


def expected_rate(experiment: Experiment, seed: int) -> tuple[float, float]:
    """Return the messages a second on the busiest link and on all links, at the workload's busiest time, without
    retries.
    """
    planned = [operation.at_ns for operation in operations(experiment.workload, seed)]
    window_ns = min(WINDOW_NS, experiment.workload.duration)
    most = 0
    inside: deque[int] = deque()
    for at_ns in planned:
        inside.append(at_ns)
        while inside[0] <= at_ns - window_ns:
            inside.popleft()
        most = max(most, len(inside))
    writes = most / (window_ns / 1e9)
    policy = experiment.policy
    progress = 1e9 / policy.progress_every if policy.progress_every else 0.0
    digests = 1e9 / policy.reconcile_every if policy.reconcile_every else 0.0
    down, up = writes + progress, writes + digests
    return max(down, up), (down + up) * (len(experiment.system.names) - 1)


def refusals(experiment: Experiment, seed: int) -> list[str]:
    """Return a sentence for what is over the limits of the oneshot wire by the workload alone."""
    link, total = expected_rate(experiment, seed)
    if link <= LINK_RATE_MAX and total <= TOTAL_RATE_MAX:
        return []
    share = min(LINK_RATE_MAX / link, TOTAL_RATE_MAX / total)
    return [
        f"the oneshot wire is exact up to {LINK_RATE_MAX} messages/s on a link and {TOTAL_RATE_MAX:,}/s in all, and "
        f"this workload makes {link:.0f}/s and {total:.0f}/s at its busiest; lower "
        f"workload.arrivals to {share * 0.95:.0%} of it, or write system.wire: framed"
    ]


def conntrack_problem(experiment: Experiment, seed: int, table: Path = _TABLE) -> str:
    """Return a sentence if the kernel's table of connections has no room for a run, "" if it has or cannot be read."""
    try:
        count, most = (int((table / f"nf_conntrack_{name}").read_text()) for name in ("count", "max"))
    except (OSError, ValueError):
        return ""
    _, total = expected_rate(experiment, seed)
    needed = CONNTRACK_A_MESSAGE * total * min(CONNTRACK_S, experiment.horizon_ns / 1e9)
    if count + needed <= CONNTRACK_SHARE * most:
        return ""
    return (
        f"the kernel's table of connections holds {count:,} of {most:,} and this run adds about {needed:,.0f}: wait "
        f"{CONNTRACK_S} s, lower the rate, or write system.wire: framed"
    )


class Guard:
    """Watches the rates of a run: give it what was sent so far, now and then."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, dict[str, float]]] = deque()
        self.worst_link = 0.0
        self.worst_total = 0.0

    def close(self, now_ns: int, sent: Mapping[str, float]) -> str:
        """Judge a run that was shorter than the window as a whole."""
        sentence = self.take(now_ns, sent)
        if self.worst_total or now_ns - self._seen[0][0] < SHORTEST_NS:
            return sentence
        return self._judge()

    def take(self, now_ns: int, sent: Mapping[str, float]) -> str:
        """Note the messages sent on each link so far; return a sentence once the last 5 s were over a limit."""
        last = self._seen[-1][1] if self._seen else {}
        sent = {name: max(count, last.get(name, 0.0)) for name, count in sent.items()}  # one may not answer for a while
        self._seen.append((now_ns, sent))
        while len(self._seen) > 2 and self._seen[1][0] <= now_ns - WINDOW_NS:
            self._seen.popleft()
        return self._judge() if now_ns - self._seen[0][0] >= WINDOW_NS else ""

    def _judge(self) -> str:
        (began_ns, before), (now_ns, sent) = self._seen[0], self._seen[-1]
        rates = [(sent[name] - before.get(name, 0)) / ((now_ns - began_ns) / 1e9) for name in sent]
        link, total = max(rates, default=0.0), sum(rates)
        self.worst_link, self.worst_total = max(self.worst_link, link), max(self.worst_total, total)
        if link <= LINK_RATE_MAX and total <= TOTAL_RATE_MAX:
            return ""
        return (
            f"{link:.0f} messages/s on one link and {total:.0f}/s in all were over the {LINK_RATE_MAX} and "
            f"{TOTAL_RATE_MAX:,} up to which the oneshot wire is exact"
        )


def sent_by_link(names: tuple[str, ...], counters: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """Return the messages sent on each link, told from the senders' counters.

    A follower has one link. The leader counts its messages over all followers; they are spread evenly here.
    """
    leader, followers = names[0], len(names) - 1
    found = {}
    for source, target in used_pairs(len(names)):
        mine = counters.get(names[source], {})
        total = sum(mine.get(name, 0) for name in ("transmissions", "acks_sent", "digests_sent", "duplicated"))
        total -= mine.get("unsent", 0)
        found[f"{names[source]}->{names[target]}"] = total / followers if names[source] == leader else float(total)
    return found
