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
from lab.containers.settings import DATA_DIR, SETTINGS_DIR, SETTINGS_NAME, reconciler_settings, replica_settings
from lab.containers.topology import (
    LOOPBACK,
    RECONCILER,
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
from lab.model.disturbance import Replacement
from lab.spec.schema import Experiment

NETWORK_TRIES = 20
STOP_S = 3
# A connection a message: let closed ones be used again, and have room for those that wait in TIME_WAIT. The proxies'
# and replicas' own ports stay below the range.
FIRST_FREE_PORT = 16_384
ONESHOT_SYSCTLS = {"net.ipv4.tcp_tw_reuse": "1", "net.ipv4.ip_local_port_range": f"{FIRST_FREE_PORT} 65535"}
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


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A container to be made: whose ports and arguments it has (None: Toxiproxy's), what it is called after the run,
    its role, the stem of its volumes' names ("": none), its image, and its address in the control network ("": that of
    `name`).
    """

    name: str | None
    called: str
    role: str
    stem: str
    image: str
    address: str = ""


def host_config(
    api: Any, ports: Sequence[int], limits: Limits, mounts: Sequence[Mount], sysctls: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the part of a container's request that bounds it: no privilege, no write, limited memory, CPU,
    processes, log. `sysctls` are of its own network namespace alone.
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
        sysctls=dict(sysctls) if sysctls else None,
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
        self._runtimes = {replica.name: str(replica.runtime) for replica in experiment.system.replicas}
        self._versions = {replica.name: int(replica.schema_version) for replica in experiment.system.replicas}
        self._stems: dict[str, str] = {}  # of the volumes of replicas whose store was prepared beside another one
        self._former: dict[str, bytes] = {}  # the event logs of containers that were replaced

    # Making

    def create(self) -> None:
        """Make networks and containers; start Toxiproxy. Raise PlaneError with the cause."""
        try:
            self._create_networks()
            with ThreadPoolExecutor(WORKERS) as pool:
                first = pool.submit(self._create_container, None)
                helpers = [RECONCILER] if self.experiment.system.reconciler else []
                others = [pool.submit(self._create_container, name) for name in (*self.names, *helpers)]
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

    def start_reconciler(self) -> bool:
        """Start the reconciler if there is to be one; return whether there is."""
        if self.experiment.system.reconciler:
            self.start(RECONCILER)
        return self.experiment.system.reconciler is not None

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

    def _create_container(self, name: str | None, volumes: bool = True) -> None:
        role = "toxiproxy" if name is None else name.lstrip("+")
        stem = "" if name is None else self._stems.get(name, name.replace("+", "."))
        made = self.make(Blueprint(name, self._called(name), role, stem, self._image(name)), volumes)
        self._ids[name] = made
        self.join_mesh(made, name)
        if name is not None:
            self._put_settings(name)

    def _called(self, name: str | None) -> str:
        """Return what a container is called in the engine, after the run."""
        return f"-{name}" if name in self.names else f".{'toxiproxy' if name is None else name.lstrip('+')}"

    def make(self, plan: Blueprint, volumes: bool) -> str:
        """Create a container on the control network, and its `volumes` unless they are there; return its id."""
        mounts = []
        if plan.stem:
            for target, kind in ((SETTINGS_DIR, "settings"), (DATA_DIR, "data")):
                volume = f"lab-{self.session.id}-{self.run_id}-{plan.stem}-{kind}"
                if volumes:
                    self.api.create_volume(volume, labels=self._labels(plan.role))
                mounts.append(Mount(target, volume, type="volume"))
        name, wire = plan.name, self.experiment.system.wire
        ports = list(container_ports(name, self.names[0]))
        limits = TOXIPROXY_LIMITS if name is None else REPLICA_LIMITS
        address = plan.address or self.topology.control_address(name)
        endpoint = self.api.create_endpoint_config(ipv4_address=address)
        made = self.api.create_container(
            plan.image,
            command=container_command(name, self.topology, wire, self.session.seeded_bugs.get(name or "", "")),
            name=f"lab-{self.session.id}-{self.run_id}{plan.called}",
            hostname=plan.role[:63],
            user=USER,
            ports=ports,
            host_config=host_config(self.api, ports, limits, mounts, ONESHOT_SYSCTLS if wire == "oneshot" else None),
            networking_config=self.api.create_networking_config({self._networks["control"]: endpoint}),
            labels=self._labels(plan.role),
        )
        return str(made["Id"])

    def join_mesh(self, identity: str, name: str | None) -> None:
        """Give a container that does not run the address of `name` in the mesh."""
        address = self.topology.address(name)
        self.api.connect_container_to_network(identity, self._networks["mesh"], ipv4_address=address)

    def _image(self, name: str | None) -> str:
        if name is None:
            return self.images.server(self.experiment.system.wire)
        return self.images.ids["reconciler" if name == RECONCILER else self._runtimes[name]]

    def successor(self, replacement: Replacement) -> tuple[str, int]:
        """Return the runtime and the schema version of what comes in a replica's place."""
        name = replacement.node
        return replacement.runtime or self._runtimes[name], replacement.schema_version or self._versions[name]

    def settings_of(self, name: str, version: int, life: int = 1) -> dict[str, Any]:
        """Return the settings of a replica with that schema version in that life."""
        return replica_settings(
            self.experiment,
            name,
            run_id=f"{self.session.id}-{self.run_id}",
            seed=self.seed,
            peers=self.topology.peers(name),
            data_dir=DATA_DIR if life == 1 else f"{DATA_DIR}/life-{life}",
            schema_version=version,
        )

    def _put_settings(self, name: str) -> None:
        if name == RECONCILER:
            run_id = f"{self.session.id}-{self.run_id}"
            settings = reconciler_settings(self.experiment, run_id=run_id, control=self.topology.controls())
        else:
            settings = self.settings_of(name, self._versions[name], self._lives[name])
        self.put_settings(self._ids[name], settings)

    def put_settings(self, identity: str, settings: Mapping[str, Any]) -> None:
        """Write the settings file of a container that does not run."""
        info = tarfile.TarInfo(SETTINGS_NAME)
        info.mode = 0o444
        self.api.put_archive(identity, SETTINGS_DIR, _archive(info, json.dumps(settings, indent=1).encode()))

    # Living

    def start(self, name: str) -> None:
        """Start a replica. Raise PlaneError with the cause."""
        self._call(f"{name} cannot be started", lambda: self.api.start(self._ids[name]))

    def kill(self, name: str) -> None:
        """Kill a replica at once."""
        self._call(f"{name} cannot be killed", lambda: self.api.kill(self._ids[name]))

    def stop(self, name: str) -> None:
        """Ask a replica to end, and kill it after some seconds if it does not."""
        self._call(f"{name} cannot be stopped", lambda: self.api.stop(self._ids[name], timeout=STOP_S))

    def replace(self, replacement: Replacement) -> None:
        """Put another program in the place of a replica that does not run: same addresses, same volumes, the event log
        so far kept here. What it may read of its state is for `forget` to say, before or after.
        """
        name = replacement.node
        self._former[name] = self.events(name)
        self._runtimes[name] = replacement.runtime or self._runtimes[name]
        self._versions[name] = replacement.schema_version or self._versions[name]

        def act() -> None:
            self.api.remove_container(self._ids[name], v=False)
            self._create_container(name, volumes=False)

        self._call(f"{name} cannot be replaced", act)

    def promote(self, replacement: Replacement, identity: str, stem: str) -> str:
        """Make a container that was prepared that of a replica which does not run, with the volumes of `stem`; return
        the id of the one that was there, for `retire`.
        """
        name = replacement.node
        self._runtimes[name], self._versions[name] = self.successor(replacement)
        self._stems[name], self._lives[name] = stem, 1
        former, self._ids[name] = self._ids[name], identity
        return former

    def retire(self, name: str, former: str) -> None:
        """Keep the event log of the container that was in a replica's place, remove it, and give its name on."""

        def act() -> None:
            self._former[name] = self._former.get(name, b"") + self.api.logs(former, stderr=False)
            self.api.remove_container(former, v=False)
            self.api.rename(self._ids[name], f"lab-{self.session.id}-{self.run_id}{self._called(name)}")

        self._call(f"what {name} was before cannot be put away", act)

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
        """Return everything a replica (or the reconciler) wrote to its standard output, over all its lives."""
        data: bytes = self._call(
            f"the log of {name} cannot be read", lambda: self.api.logs(self._ids[name], stderr=False)
        )
        return self._former.get(name, b"") + data

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
