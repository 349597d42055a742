"""Labels decide what may be removed, and who is dead."""

from __future__ import annotations

import ipaddress
from random import Random
from typing import Any

import pytest

from lab.containers import engine, labels, reaper
from lab.containers.errors import printable
from lab.containers.topology import free_networks, routed_networks


def owner(**changes: str) -> dict[str, str]:
    return {**labels.this_process().labels(), **changes}


def test_this_process_is_alive_and_its_namesakes_are_dead() -> None:
    assert not labels.owner_is_dead(owner())
    assert labels.owner_is_dead(owner(**{labels.STARTED: "1"})), "the number was given to another process"
    assert labels.owner_is_dead(owner(**{labels.BOOT: "an earlier boot"}))
    assert labels.owner_is_dead(owner(**{labels.PID: str(2**22 + 1)}))


def test_what_cannot_be_told_counts_as_alive() -> None:
    assert not labels.owner_is_dead(owner(**{labels.HOST: "elsewhere", labels.PID: "1"}))
    assert not labels.owner_is_dead(owner(**{labels.PID_NAMESPACE: "another", labels.PID: "999999"}))
    assert not labels.owner_is_dead({})
    assert not labels.owner_is_dead(owner(**{labels.PID: "x"}))


def test_all_three_labels_are_needed() -> None:
    ours = labels.session_labels("s1", labels.this_process())
    assert labels.owned(ours, "s1") and not labels.owned(ours, "s2") and not labels.owned(None, "s1")
    for name in (labels.SESSION, labels.OWNER, labels.SCHEMA):
        assert not labels.owned({key: value for key, value in ours.items() if key != name}, "s1")


class FakeApi:
    def __init__(self, its_labels: dict[str, str]) -> None:
        self.labels = its_labels
        self.removed: list[str] = []

    def inspect_network(self, identity: str) -> dict[str, Any]:
        return {"Labels": self.labels}

    def remove_network(self, identity: str) -> None:
        self.removed.append(identity)


@pytest.mark.parametrize("foreign", [False, True])
def test_labels_are_checked_again_just_before_removal(foreign: bool) -> None:
    ours = labels.session_labels("s1", labels.this_process())
    api = FakeApi({**ours, labels.SESSION: "s2"} if foreign else ours)
    client: Any = type("Client", (), {"api": api})()
    assert reaper.remove(client, reaper.Item("network", "n1", "name", "s1", ours))
    assert api.removed == ([] if foreign else ["n1"])


def test_networks_avoid_what_the_host_routes() -> None:
    table = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU\n"
    table += "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\n"
    table += "eth0\t0000C80A\t00000000\t0001\t0\t0\t0\t0000FEFF\t0\n"
    assert routed_networks(table) == [ipaddress.IPv4Network("10.200.0.0/15")]
    free = list(free_networks(routed_networks(table), Random(1)))
    assert len(free) == 1024 - 512 + 1024
    assert not any(network.overlaps(ipaddress.IPv4Network("10.200.0.0/15")) for network in free)


@pytest.mark.parametrize("there", [False, True])
def test_an_engine_that_is_away_or_silent_is_named_in_time(
    there: bool, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import socket

    path = tmp_path_factory.mktemp("s") / "e"
    with socket.socket(socket.AF_UNIX) as listener:
        if there:
            listener.bind(str(path))
            listener.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        monkeypatch.setattr(engine, "ANSWER_TIMEOUT_S", 1)
        reason = engine.available()
    assert reason.startswith("no Docker engine answers: ") and "--plane sim" in reason
    assert ("within 1 s" in reason) if there else ("nothing listens" in reason)


def test_control_bytes_never_reach_a_terminal() -> None:
    assert printable("a\x1b[31m\r\nb\0\x9bc") == "a[31m\nbc"
    assert len(printable("x" * 9000)) == 4001
