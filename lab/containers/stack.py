"""One stack a run: two networks, Toxiproxy, the replicas. Everything here blocks; the run calls it in threads."""

from __future__ import annotations

import io
import json
import secrets
import tarfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import requests
from docker.errors import APIError, DockerException
from docker.types import IPAMConfig, IPAMPool, Mount

from lab.containers import labels, reaper
from lab.containers.engine import connect
from lab.containers.errors import PlaneError, printable
from lab.containers.images import Images
from lab.containers.session import Session
from lab.containers.settings import DATA_DIR, SETTINGS_DIR, SETTINGS_NAME, replica_settings
from lab.containers.topology import (
    LOOPBACK,
    REPLICA_LIMITS,
    TOXIPROXY_LIMITS,
    USER,
    Limits,
    Topology,
    container_command,
    container_ports,
    free_networks,
    routed_networks,
)
from lab.spec.schema import Experiment

NETWORK_TRIES = 20
TAIL_LINES = 20
TEAR_DOWN_S = 30.0
WORKERS = 8
_UID = 65534
_CONTROL_OPTIONS = {
    "com.docker.network.bridge.host_binding_ipv4": LOOPBACK,
    "com.docker.network.bridge.enable_icc": "false",  # replicas meet through Toxiproxy alone
    "com.docker.network.bridge.enable_ip_masquerade": "false",  # and nothing outside
}
_PROBLEMS = (DockerException, requests.RequestException)


@dataclass(frozen=True, slots=True)
class Condition:
    """A container as the engine sees it."""

    running: bool
    paused: bool
    exit_code: int
    out_of_memory: bool


def host_config(api: Any, ports: Sequence[int], limits: Limits, mounts: Sequence[Mount]) -> dict[str, Any]:
    """Return the part of a container's request that bounds it: no privilege, no write, limited memory, CPU,
    processes, log.
    """
    config: dict[str, Any] = api.create_host_config(
        mounts=list(mounts),
        port_bindings=dict.fromkeys(ports, (LOOPBACK, None)),
        mem_limit=limits.memory,
        memswap_limit=limits.memory,
        nano_cpus=int(limits.cpus * 1e9),
        pids_limit=limits.pids,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        read_only=True,
        restart_policy={"Name": "no"},
        log_config={"Type": "json-file", "Config": {"max-size": limits.log_size, "max-file": "1"}},
    )
    return config


class Stack:
    """The containers of one run. `start` makes them, `tear_down` removes them and all that belongs to them."""

    def __init__(self, session: Session, images: Images, experiment: Experiment, seed: int) -> None:
        self.session = session
        self.images = images
        self.experiment = experiment
        self.seed = seed
        self.run_id = secrets.token_hex(4)
        self.names = experiment.system.names
        self.client = connect()
        self.api: Any = self.client.api
        self.topology: Topology
        self._ids: dict[str | None, str] = {}  # by replica name; None is Toxiproxy
        self._networks: dict[str, str] = {}
        self._lives = dict.fromkeys(self.names, 1)

    # Making

    def create(self) -> None:
        """Make networks and containers; start Toxiproxy. Raise PlaneError with the cause."""
        try:
            self._create_networks()
            with ThreadPoolExecutor(WORKERS) as pool:
                first = pool.submit(self._create_container, None)
                others = [pool.submit(self._create_container, name) for name in self.names]
                first.result()
                self.api.start(self._ids[None])
                for other in others:
                    other.result()
        except _PROBLEMS as error:
            raise PlaneError(f"the containers cannot be made: {printable(str(error), 400)}") from error

    def start_replicas(self) -> None:
        """Start all replicas, in parallel."""
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(self.start, self.names))

    def _labels(self, role: str) -> dict[str, str]:
        return {**self.session.labels(), labels.RUN: self.run_id, labels.ROLE: role}

    def _create_networks(self) -> None:
        taken = routed_networks(_text("/proc/net/route"))
        candidates = free_networks(taken, Random())
        mesh = self._network("mesh", candidates, internal=True, options={})
        control = self._network("control", candidates, internal=False, options=_CONTROL_OPTIONS)
        self.topology = Topology(mesh, control, self.names)

    def _network(self, role: str, candidates: Any, *, internal: bool, options: Mapping[str, str]) -> Any:
        """Create a network in the first candidate that the engine has free."""
        for _ in range(NETWORK_TRIES):
            subnet = next(candidates)
            pool = IPAMPool(subnet=str(subnet), gateway=str(subnet[1]))
            try:
                made = self.api.create_network(
                    f"lab-{self.session.id}-{self.run_id}-{role}",
                    driver="bridge",
                    options=dict(options),
                    ipam=IPAMConfig(pool_configs=[pool]),
                    internal=internal,
                    labels=self._labels(role),
                )
            except APIError as error:
                if "overlap" in str(error).lower():
                    continue  # a network of someone else, made since
                raise
            self._networks[role] = made["Id"]
            return subnet
        raise PlaneError(f"no free network found in {NETWORK_TRIES} tries")

    def _create_container(self, name: str | None) -> None:
        role = "toxiproxy" if name is None else name
        mounts = []
        if name is not None:
            for target, kind in ((SETTINGS_DIR, "settings"), (DATA_DIR, "data")):
                volume = f"lab-{self.session.id}-{self.run_id}-{name}-{kind}"
                self.api.create_volume(volume, labels=self._labels(role))
                mounts.append(Mount(target, volume, type="volume"))
        ports = list(container_ports(name, self.names[0]))
        limits = TOXIPROXY_LIMITS if name is None else REPLICA_LIMITS
        runtime = "" if name is None else self.experiment.system.replicas[self.names.index(name)].runtime
        mesh_address = self.topology.toxiproxy_address() if name is None else self.topology.address(name)
        control_address = self.topology.control_address(name)
        endpoint = self.api.create_endpoint_config(ipv4_address=control_address)
        made = self.api.create_container(
            self.images.toxiproxy if name is None else self.images.runtime(runtime),
            command=container_command(name, self.topology),
            name=f"lab-{self.session.id}-{self.run_id}-{role}"
            if name
            else f"lab-{self.session.id}-{self.run_id}.proxy",
            hostname=role[:63],
            user=USER,
            ports=ports,
            host_config=host_config(self.api, ports, limits, mounts),
            networking_config=self.api.create_networking_config({self._networks["control"]: endpoint}),
            labels=self._labels(role),
        )
        self._ids[name] = made["Id"]
        self.api.connect_container_to_network(made["Id"], self._networks["mesh"], ipv4_address=mesh_address)
        if name is not None:
            self._put_settings(name)

    def _put_settings(self, name: str) -> None:
        life = self._lives[name]
        data_dir = DATA_DIR if life == 1 else f"{DATA_DIR}/life-{life}"
        settings = replica_settings(
            self.experiment,
            name,
            run_id=f"{self.session.id}-{self.run_id}",
            seed=self.seed,
            peers=self.topology.peers(name),
            data_dir=data_dir,
        )
        info = tarfile.TarInfo(SETTINGS_NAME)
        info.mode = 0o444
        self.api.put_archive(self._ids[name], SETTINGS_DIR, _archive(info, json.dumps(settings, indent=1).encode()))

    # Living

    def start(self, name: str) -> None:
        """Start a replica. Raise PlaneError with the cause."""
        self._call(f"{name} cannot be started", lambda: self.api.start(self._ids[name]))

    def kill(self, name: str) -> None:
        """Kill a replica at once."""
        self._call(f"{name} cannot be killed", lambda: self.api.kill(self._ids[name]))

    def pause(self, name: str) -> None:
        """Freeze a replica."""
        self._call(f"{name} cannot be paused", lambda: self.api.pause(self._ids[name]))

    def unpause(self, name: str) -> None:
        """Let a frozen replica go on."""
        self._call(f"{name} cannot be resumed", lambda: self.api.unpause(self._ids[name]))

    def forget(self, name: str) -> None:
        """Make a killed replica start with no state: it gets a new, empty folder in its volume and never sees the old
        one.

        The container itself stays, and with it its address and its event log.
        """
        self._lives[name] += 1
        folder = tarfile.TarInfo(f"life-{self._lives[name]}")
        folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o700, _UID, _UID

        def act() -> None:
            self.api.put_archive(self._ids[name], DATA_DIR, _archive(folder, b""))
            self._put_settings(name)

        self._call(f"the state of {name} cannot be taken away", act)

    def port(self, name: str | None, port: int) -> int:
        """Return the loopback port on which a container's port is published; it may change when a container is
        started again.
        """
        bindings = self._inspect(name)["NetworkSettings"]["Ports"].get(f"{port}/tcp") or []
        found = [int(one["HostPort"]) for one in bindings if one["HostIp"] == LOOPBACK]
        if not found or len(found) != len(bindings):
            death = self.death_of(name)
            raise (
                PlaneError(death)
                if death
                else PlaneError(
                    f"port {port} of {name or 'Toxiproxy'} is not published on {LOOPBACK}{self.last_words(name)}"
                )
            )
        return found[0]

    def condition(self, name: str | None) -> Condition:
        """Return whether a container runs and, if not, how it ended."""
        state = self._inspect(name)["State"]
        return Condition(state["Running"], state["Paused"], state["ExitCode"], state["OOMKilled"])

    def running(self) -> set[str | None]:
        """Return which containers run, in one request; None is Toxiproxy."""
        wanted = [*labels.filters(self.session.id), f"{labels.RUN}={self.run_id}"]
        try:
            rows = self.api.containers(filters={"label": wanted, "status": ["running", "paused"]})
        except _PROBLEMS as error:
            raise PlaneError(f"the engine does not say what runs: {printable(str(error), 200)}") from error
        alive = {row["Id"] for row in rows}
        return {name for name, identity in self._ids.items() if identity in alive}

    def death_of(self, name: str | None) -> str:
        """Return a sentence about a container that has ended; "" if it runs."""
        condition = self.condition(name)
        if condition.running:
            return ""
        who = name or "Toxiproxy"
        if condition.out_of_memory:
            limit = (TOXIPROXY_LIMITS if name is None else REPLICA_LIMITS).memory
            return f"{who} was killed by its {limit} memory limit (exit {condition.exit_code})"
        return f"{who} ended with exit code {condition.exit_code}{self.last_words(name)}"

    def last_words(self, name: str | None) -> str:
        """Return the end of a container's log for a message; "" if there is none."""
        with suppress(*_PROBLEMS, KeyError):
            raw = self.api.logs(self._ids[name], stdout=name is None, stderr=True, tail=TAIL_LINES)
            text = printable(raw.decode(errors="replace")).strip()
            return f"; its last words:\n{text}" if text else ""
        return ""

    def events(self, name: str) -> bytes:
        """Return everything a replica wrote to its event log, over all its lives."""
        data: bytes = self._call(
            f"the log of {name} cannot be read", lambda: self.api.logs(self._ids[name], stderr=False)
        )
        return data

    def engine_version(self) -> str:
        """Return the engine's version."""
        return str(self._call("the engine does not answer", lambda: self.api.version())["Version"])

    def tear_down(self) -> None:
        """Remove everything of this run. Raise PlaneError if something stays."""
        try:
            left = reaper.remove_all(self.client, self.session.id, run_id=self.run_id, deadline_s=TEAR_DOWN_S)
        finally:
            self.client.close()
        if left:
            names = ", ".join(item.name for item in left)
            raise PlaneError(f"could not be removed: {names}; `lab clean` tries again")

    def _inspect(self, name: str | None) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._call(
            f"{name or 'Toxiproxy'} cannot be inspected", lambda: self.api.inspect_container(self._ids[name])
        )
        return found

    def _call(self, failure: str, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except _PROBLEMS as error:
            raise PlaneError(f"{failure}: {printable(str(error), 300)}") from error


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""  # not Linux: the engine runs in a virtual machine with routes of its own


def _archive(info: tarfile.TarInfo, data: bytes) -> bytes:
    buffer = io.BytesIO()
    info.size = len(data)
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
