"""compose.yaml, for people, describes what the lab makes for itself."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from ruamel.yaml import YAML

from lab.containers.build import COMPONENTS, COMPOSE
from lab.containers.links import plan
from lab.containers.settings import reconciler_settings, replica_settings
from lab.containers.stack import _CONTROL_OPTIONS, host_config
from lab.containers.topology import (
    RECONCILER,
    REPLICA_LIMITS,
    TOXIPROXY_LIMITS,
    USER,
    Topology,
    container_command,
    container_ports,
)
from tests.containers.conftest import make_experiment

EXPERIMENT = make_experiment(system={"reconciler": {}})
NAMES = EXPERIMENT.system.names
ROLES = {"toxiproxy": None, **{name: name for name in NAMES}, "reconciler": RECONCILER}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(YAML(typ="safe").load(COMPOSE / "compose.yaml"))


@pytest.fixture(scope="module")
def topology(compose: dict[str, Any]) -> Topology:
    subnets = {
        name: ipaddress.IPv4Network(net["ipam"]["config"][0]["subnet"]) for name, net in compose["networks"].items()
    }
    return Topology(subnets["mesh"], subnets["control"], NAMES)


def test_the_same_services_from_the_same_builds(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == set(ROLES)
    runtimes = {replica.name: str(replica.runtime) for replica in EXPERIMENT.system.replicas}
    for service, name in ROLES.items():
        build = compose["services"][service]["build"]
        component = COMPONENTS["toxiproxy" if name is None else runtimes.get(name, "reconciler")]
        target = "${LAB_BUILD_TARGET:-release}"
        assert build == {"context": ".", "dockerfile": component.dockerfile, "target": target}
        stages = (COMPOSE / build["dockerfile"]).read_text()
        assert " AS prebuilt" in stages and " AS release" in stages


@pytest.mark.parametrize("service", ROLES)
def test_containers_are_bound_alike(service: str, compose: dict[str, Any], topology: Topology) -> None:
    docker = pytest.importorskip("docker")
    its, name = compose["services"][service], ROLES[service]
    limits = TOXIPROXY_LIMITS if name is None else REPLICA_LIMITS
    ports = container_ports(name, NAMES[0])
    ours = host_config(docker.APIClient(version="1.41"), ports, limits, [])
    assert its["user"] == USER and its["command"] == container_command(name, topology)
    assert (its["mem_limit"], its["memswap_limit"], its["cpus"], its["pids_limit"]) == (
        limits.memory,
        limits.memory,
        limits.cpus,
        limits.pids,
    )
    assert its["cap_drop"] == ours["CapDrop"] and its["security_opt"] == ours["SecurityOpt"]
    assert its["read_only"] is ours["ReadonlyRootfs"] is True
    assert its["restart"] == ours["RestartPolicy"]["Name"] == "no"
    assert its["logging"] == {"driver": ours["LogConfig"]["Type"], "options": dict(ours["LogConfig"]["Config"])}
    assert not {"privileged", "network_mode", "pid", "ipc", "devices", "cap_add"} & set(its)


@pytest.mark.parametrize("service", ROLES)
def test_ports_are_published_on_loopback_alone(service: str, compose: dict[str, Any]) -> None:
    ports = [text.split(":") for text in compose["services"][service]["ports"]]
    assert all(address == "127.0.0.1" for address, _, _ in ports)
    assert tuple(int(inner) for _, _, inner in ports) == container_ports(ROLES[service], NAMES[0])


def test_networks_and_addresses_are_alike(compose: dict[str, Any], topology: Topology) -> None:
    assert compose["networks"]["mesh"]["internal"] is True
    assert not compose["networks"]["control"].get("internal", False)
    assert compose["networks"]["control"]["driver_opts"] == _CONTROL_OPTIONS
    for service, name in ROLES.items():
        networks = compose["services"][service]["networks"]
        mesh = topology.address(name)
        assert networks["mesh"]["ipv4_address"] == mesh
        assert networks["control"]["ipv4_address"] == topology.control_address(name)


@pytest.mark.parametrize("name", NAMES)
def test_replicas_mount_settings_that_the_lab_would_write(
    name: str, compose: dict[str, Any], topology: Topology
) -> None:
    volumes = compose["services"][name]["volumes"]
    source = next(text.split(":")[0] for text in volumes if ":/etc/driftlab/settings.json:ro" in text)
    mounted = json.loads((COMPOSE / source).read_text())
    ours = replica_settings(EXPERIMENT, name, run_id="compose", seed=1, peers=topology.peers(name))
    assert _shape(mounted) == _shape(ours)
    assert {key: mounted[key] for key in ("name", "index", "leader", "replicas", "peers", "listen", "data_dir")} == {
        key: ours[key] for key in ("name", "index", "leader", "replicas", "peers", "listen", "data_dir")
    }
    assert any(text.endswith(":/data") and text.split(":")[0] in compose["volumes"] for text in volumes)


def test_the_reconciler_mounts_settings_that_the_lab_would_write(topology: Topology) -> None:
    mounted = json.loads((COMPOSE / "settings" / "reconciler.json").read_text())
    assert mounted == reconciler_settings(EXPERIMENT, run_id="compose", control=topology.controls())


def _shape(value: Any) -> Any:
    return {key: _shape(inner) for key, inner in value.items()} if isinstance(value, dict) else type(value)


def test_the_proxies_to_populate_are_those_of_the_lab(topology: Topology) -> None:
    listed = json.loads((COMPOSE / "settings" / "proxies.json").read_text())
    assert listed == [
        {
            "name": link.name,
            "listen": topology.listen(link.source, link.target),
            "upstream": topology.upstream(link),
            "enabled": True,
        }
        for link in plan(EXPERIMENT, 1).links
    ]
