"""Carries out a timetable against a running stack, on time, and records when each fault really began and ended.

A switch is stamped at the answer: from then on it holds on every connection. Docker calls run in threads; only
requests on open connections are awaited in the loop, so the load is never held up.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

from lab.containers.drive import Driver
from lab.containers.errors import PlaneError
from lab.containers.exchange import Channel, ExchangeError
from lab.containers.links import Link
from lab.containers.schedule import ModeSwitch, NodeOutage, RowSwitch, Timetable
from lab.containers.settings import CLIENT_PORT, CONTROL_PORT
from lab.containers.stack import Stack
from lab.containers.topology import LOOPBACK
from lab.containers.toxiproxy import Server
from lab.model.effects import Keep

REPLICA_TIMEOUT_S = 2.0
READY_DEADLINE_S = 15.0
READY_POLL_S = 0.01
PREPARE_NS = 50_000_000  # connections are looked at this long before they are needed


async def until(at_ns: int) -> None:
    """Sleep until CLOCK_MONOTONIC reaches `at_ns`."""
    while (left_ns := at_ns - time.monotonic_ns()) > 0:
        await asyncio.sleep(left_ns / 1e9)


@dataclass(slots=True)
class Interval:
    """When a fault really was, CLOCK_MONOTONIC; 0 while it has not happened."""

    start_ns: int = 0
    stop_ns: int = 0


class Replicas:
    """The control ports of all replicas."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.channels: dict[str, Channel] = {}

    async def wait_ready(self, name: str) -> None:
        """Wait until a replica that was started answers. Raise PlaneError if it ends or the deadline passes."""
        port = await asyncio.to_thread(self.stack.port, name, CONTROL_PORT)
        if name in self.channels:
            self.channels[name].close()
        channel = Channel(LOOPBACK, port, name=name, timeout_s=REPLICA_TIMEOUT_S)
        self.channels[name] = channel
        deadline, looked = time.monotonic() + READY_DEADLINE_S, time.monotonic()
        while True:
            try:
                await channel.ask("GET", "/healthz")
                return
            except ExchangeError as error:
                if time.monotonic() > looked + 0.25:
                    looked = time.monotonic()
                    death = await asyncio.to_thread(self.stack.death_of, name)
                    if death:
                        raise PlaneError(death) from error
                if time.monotonic() > deadline:
                    words = await asyncio.to_thread(self.stack.last_words, name)
                    raise PlaneError(f"{name} is not ready after {READY_DEADLINE_S:g} s: {error}{words}") from error
            await asyncio.sleep(READY_POLL_S)

    def close(self) -> None:
        """Close all connections."""
        for channel in self.channels.values():
            channel.close()


class Conductor:
    """Runs a timetable. `intervals`, `losses` and `earlier_counters` tell afterwards what happened."""

    def __init__(
        self, timetable: Timetable, stack: Stack, server: Server, replicas: Replicas, driver: Driver, mode: str
    ) -> None:
        self.timetable = timetable
        self.stack = stack
        self.server = server
        self.replicas = replicas
        self.driver = driver
        self.initial_mode = self.mode = mode
        self.names = stack.names
        self.t0_ns = 0
        self.intervals: dict[int, Interval] = {}
        self.losses: list[tuple[int, int]] = []  # (replica, CLOCK_MONOTONIC)
        self.stopped: set[str] = set()  # replicas that do not run because of a fault
        self.earlier_counters: Counter[str] = Counter()  # of processes that were killed
        self.skews_ns: list[int] = []
        self.lateness_ns: list[int] = []
        self.notes: list[str] = []

    async def run(self, t0_ns: int) -> None:
        """Do everything at its time. Raise PlaneError or ToxiproxyError at the first thing that fails."""
        self.t0_ns = t0_ns
        for index in {index for link in self.timetable.links.links for index in link.faults[link.row_of_epoch[0]]}:
            self.intervals[index] = Interval(start_ns=t0_ns)
        jobs = [self._switches(), self._modes(), *(self._outages(node) for node in self.names)]
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _interval(self, fault: int) -> Interval:
        return self.intervals.setdefault(fault, Interval())

    # Links

    async def _switches(self) -> None:
        for switch in self.timetable.switches:
            await until(self.t0_ns + switch.at_ns - PREPARE_NS)
            await self._prepared()
            await until(self.t0_ns + switch.at_ns)
            await self._switch(switch)

    async def _prepared(self) -> None:
        """Have an open connection, so that a switch costs no more than its round trip."""
        await self.server.version()

    async def _switch(self, switch: RowSwitch) -> None:
        done = await self.server.switch(self.timetable.links.changes(switch.epoch))
        self.skews_ns.append(done.skew_ns)
        self.lateness_ns.append(done.started_ns - self.t0_ns - switch.at_ns)
        for fault in switch.begins:
            self._interval(fault).start_ns = done.finished_ns
        for fault in switch.ends:
            self._interval(fault).stop_ns = done.finished_ns

    # Nodes

    def _into(self, node: str) -> list[Link]:
        return [link for link in self.timetable.links.links if link.target == node]

    async def _outages(self, node: str) -> None:
        for one in self.timetable.outages_of(node):
            await until(self.t0_ns + one.outage.start_ns)
            self.lateness_ns.append(time.monotonic_ns() - self.t0_ns - one.outage.start_ns)
            if one.outage.keep is None:
                await self._pause(node, one)
            else:
                await self._crash(node, one, one.outage.keep)

    async def _pause(self, node: str, one: NodeOutage) -> None:
        self.stopped.add(node)
        mode = self.mode
        await asyncio.to_thread(self.stack.pause, node)
        self._interval(one.fault).start_ns = time.monotonic_ns()
        await until(self.t0_ns + one.outage.stop_ns)
        await asyncio.to_thread(self.stack.unpause, node)
        self._interval(one.fault).stop_ns = time.monotonic_ns()
        await self._rejoin(node, mode)

    async def _crash(self, node: str, one: NodeOutage, keep: Keep) -> None:
        """Cut the links into the node, then kill it: a kill alone would let waiting messages arrive after the
        restart.
        """
        self.stopped.add(node)
        leads = node == self.names[0]
        if leads:
            self.driver.lead_to(None)
        done = await self.server.enable(self._into(node), False)
        self._interval(one.fault).start_ns = done.finished_ns
        await self._keep_counters(node)
        await asyncio.to_thread(self.stack.kill, node)
        if keep is Keep.NOTHING:
            self.losses.append((self.names.index(node), time.monotonic_ns()))
            await asyncio.to_thread(self.stack.forget, node)
        await until(self.t0_ns + one.outage.stop_ns)
        await asyncio.to_thread(self.stack.start, node)
        await self.replicas.wait_ready(node)
        await self._rejoin(node, self.initial_mode)
        done = await self.server.enable(self._into(node), True)
        self._interval(one.fault).stop_ns = done.finished_ns
        if leads:
            self.driver.lead_to(await asyncio.to_thread(self.stack.port, node, CLIENT_PORT))

    async def _keep_counters(self, node: str) -> None:
        """Add up what a process counted before it is killed: the next one starts at 0."""
        try:
            state = await self.replicas.channels[node].ask("GET", "/state")
        except ExchangeError as error:
            self.notes.append(f"the counters of {node} before its crash are lost: {error}")
            return
        self.earlier_counters.update({name: int(value) for name, value in state["counters"].items()})

    # Settings

    async def _rejoin(self, node: str, mode: str) -> None:
        """Bring a node that was away to the mode in force; it counts as present from then on."""
        while mode != self.mode:
            mode = self.mode
            await self._tell(node, mode)
        self.stopped.discard(node)

    async def _modes(self) -> None:
        for one in self.timetable.modes:
            await until(self.t0_ns + one.setting.at_ns)
            await self._set_mode(one)

    async def _set_mode(self, one: ModeSwitch) -> None:
        self.mode = one.setting.value
        asked_ns = time.monotonic_ns()
        await asyncio.gather(*(self._tell(name, self.mode) for name in self.names if name not in self.stopped))
        now_ns = time.monotonic_ns()
        self.lateness_ns.append(asked_ns - self.t0_ns - one.setting.at_ns)
        self.intervals[one.fault] = Interval(now_ns, now_ns)

    async def _tell(self, node: str, mode: str) -> None:
        present = node not in self.stopped
        try:
            await self.replicas.channels[node].ask("POST", "/mode", {"mode": mode})
        except ExchangeError as error:
            if present and node in self.stopped:
                return  # it was stopped meanwhile and takes the mode when it is back
            raise PlaneError(f"{node} did not take the mode {mode}: {error}") from error
