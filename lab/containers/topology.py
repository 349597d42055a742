"""Where everything of one run is: addresses, ports, limits, and the request that creates each container. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

from lab.containers.links import Link, used_pairs
from lab.containers.settings import CLIENT_PORT, CONTROL_PORT, PEER_PORT, SETTINGS_DIR, SETTINGS_NAME

TOXIPROXY_API_PORT = 8474
FIRST_PROXY_PORT = 9001
LOOPBACK = "127.0.0.1"
USER = "65534:65534"
RECONCILER = "+reconciler"  # no replica can have this name
_TOXIPROXY_HOST = 2
_RECONCILER_HOST = 3
_FIRST_REPLICA_HOST = 10
_LAST_GREEN_HOST = 253  # of replicas that are prepared beside others, from the end down
# Private ranges from which a run takes two free networks of 254 addresses.
_POOLS = (ipaddress.IPv4Network("10.200.0.0/14"), ipaddress.IPv4Network("172.24.0.0/14"))


@dataclass(frozen=True, slots=True)
class Limits:
    """What one container may use. Memory includes swap; the log must hold a whole run's events."""

    memory: str
    cpus: float
    pids: int
    log_size: str


REPLICA_LIMITS = Limits(memory="256m", cpus=1.0, pids=64, log_size="512m")
TOXIPROXY_LIMITS = Limits(memory="256m", cpus=1.0, pids=64, log_size="8m")


def free_networks(taken: Iterable[ipaddress.IPv4Network], random: Random) -> Iterator[ipaddress.IPv4Network]:
    """Yield /24 networks that overlap nothing in `taken`, in random order: parallel runs rarely try the same one."""
    avoid = list(taken)
    candidates = [network for pool in _POOLS for network in pool.subnets(new_prefix=24)]
    random.shuffle(candidates)
    for network in candidates:
        if not any(network.overlaps(other) for other in avoid):
            yield network


def routed_networks(table: str) -> list[ipaddress.IPv4Network]:
    """Return the networks that the host already routes somewhere, from the text of /proc/net/route; not the default
    route.
    """
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[7] != "00000000":
            address = int.from_bytes(bytes.fromhex(fields[1]), "little")
            mask = int.from_bytes(bytes.fromhex(fields[7]), "little")
            found.append(ipaddress.IPv4Network((address, mask.bit_count()), strict=False))
    return found


@dataclass(frozen=True, slots=True)
class Topology:
    """Addresses of a run: `mesh` joins replicas and Toxiproxy and leads nowhere else, `control` carries published
    ports.
    """

    mesh: ipaddress.IPv4Network
    control: ipaddress.IPv4Network
    names: tuple[str, ...]

    def _host(self, name: str | None) -> int:
        if name is None or name == RECONCILER:
            return _TOXIPROXY_HOST if name is None else _RECONCILER_HOST
        return _FIRST_REPLICA_HOST + self.names.index(name)

    def address(self, name: str | None) -> str:
        """Return the IPv4 address of a replica, of the reconciler or of Toxiproxy (None) in the mesh."""
        return str(self.mesh[self._host(name)])

    def control_address(self, name: str | None) -> str:
        """Return the same one's address in the control network."""
        return str(self.control[self._host(name)])

    def green_address(self, name: str) -> str:
        """Return the address, in the control network alone, of what is prepared beside a replica."""
        return str(self.control[_LAST_GREEN_HOST - self.names.index(name)])

    def toxiproxy_address(self) -> str:
        """Return the IPv4 address of Toxiproxy in the mesh."""
        return str(self.mesh[_TOXIPROXY_HOST])

    def listen(self, source: str, target: str) -> str:
        """Return where the proxy of the link source->target listens."""
        pair = (self.names.index(source), self.names.index(target))
        return f"{self.toxiproxy_address()}:{FIRST_PROXY_PORT + used_pairs(len(self.names)).index(pair)}"

    def upstream(self, link: Link) -> str:
        """Return where a link's proxy leads."""
        return f"{self.address(link.target)}:{PEER_PORT}"

    def controls(self) -> dict[str, str]:
        """Return where each replica's control port is for the reconciler, `address:port` in the mesh."""
        return {name: f"{self.address(name)}:{CONTROL_PORT}" for name in self.names}

    def peers(self, name: str) -> dict[str, str]:
        """Return, by name, where a replica sends to: all followers for the leader, the leader alone for a follower."""
        others = self.names[1:] if name == self.names[0] else self.names[:1]
        return {other: self.listen(name, other) for other in others}


def container_ports(name: str | None, leader: str) -> tuple[int, ...]:
    """Return the ports of a replica, or of Toxiproxy (None), that are published on loopback. Only the leader takes
    clients.
    """
    if name is None:
        return (TOXIPROXY_API_PORT,)
    return (CLIENT_PORT, CONTROL_PORT) if name == leader else (CONTROL_PORT,)


def container_command(name: str | None, topology: Topology, wire: str = "framed", bug: str = "") -> list[str]:
    """Return a container's arguments. Toxiproxy's API listens on the control network only: replicas cannot reach it.

    `bug` is a defect that the replica is given on purpose (docs/replica.md §10).
    """
    if name is None:
        host = topology.control_address(None)
        own = ["-log-level=error"] if wire == "framed" else ["-proxy-metrics"]
        return [f"-host={host}", f"-port={TOXIPROXY_API_PORT}", *own]
    seeded = ["--seeded-bug", bug] if bug else []
    return ["--settings", f"{SETTINGS_DIR}/{SETTINGS_NAME}", *seeded]
