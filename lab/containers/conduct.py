"""Carries out a timetable against a running stack, on time, and records when each fault really began and ended.

Our server is told ahead which rows change when, and says when they did. What else a switch asks is stamped at the
answer: from then on it holds on every connection. Docker calls run in threads; only requests on open connections are
awaited in the loop, so the load is never held up.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from lab.containers.chain import HOLD
from lab.containers.drive import Driver
from lab.containers.errors import PlaneError
from lab.containers.exchange import Channel, ExchangeError
from lab.containers.green import Green
from lab.containers.links import Link
from lab.containers.schedule import Disturbance, ModeSwitch, NodeOutage, RowSwitch, Timetable
from lab.containers.settings import CLIENT_PORT, CONTROL_PORT
from lab.containers.stack import Stack
from lab.containers.stock import Traffic
from lab.containers.topology import LOOPBACK
from lab.containers.toxiproxy import Server
from lab.model.effects import Keep

REPLICA_TIMEOUT_S = 2.0
READY_DEADLINE_S = 15.0
READY_POLL_S = 0.01
CONNECT_POLL_S = 0.002
CONNECT_DEADLINE_S = 2.0
GREEN_WORKERS = 8
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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What had been counted at one moment: bytes by link (stock server), connections by link and held bytes by toxic
    (ours), counters by replica.
    """

    traffic: dict[str, Traffic]
    connections: dict[str, int]
    counters: dict[str, Counter[str]]
    held: dict[str, int] = field(default_factory=dict)


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

    async def wait_connected(self, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Wait until each first replica has a connection to the second; return the pairs that have none in time."""
        deadline = time.monotonic() + CONNECT_DEADLINE_S
        missing = list(pairs)
        while missing:
            told = {source: await self._connected(source) for source, _ in missing}
            missing = [(source, target) for source, target in missing if not told[source].get(target)]
            if not missing or time.monotonic() > deadline:
                break
            await asyncio.sleep(CONNECT_POLL_S)
        return missing

    async def _connected(self, name: str) -> dict[str, bool]:
        try:
            return dict((await self.channels[name].ask("GET", "/healthz")).get("connected", {}))
        except ExchangeError:
            return {}  # what goes down meanwhile is another fault's business

    def close(self) -> None:
        """Close all connections."""
        for channel in self.channels.values():
            channel.close()


class Conductor:
    """Runs a timetable. `intervals`, `losses`, `earlier_counters`, `marks` and `bites` tell afterwards what was."""

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
        self.swaps: list[tuple[int, int]] = []  # those of them at which a store that was prepared took the place
        self.stopped: set[str] = set()  # replicas that do not run because of a fault
        self.shut: set[str] = set()  # replicas into which all links are closed because of a crash
        self.earlier_counters: Counter[str] = Counter()  # of processes that were killed
        self.earlier: dict[str, Counter[str]] = {name: Counter() for name in self.names}  # the same by replica
        self.marks: dict[int, list[Snapshot]] = {}  # by fault on links: as it began, as it ended
        self.bites: dict[int, int] = {}  # by fault inside a replica: how far its counter grew meanwhile
        self.active: dict[int, Disturbance] = {}  # faults inside replicas that are in force
        self.promotions = timetable.promotions()
        self.promoted = {fault: asyncio.Event() for fault in self.promotions}  # set when one was made or given up
        self.skews_ns: list[int] = []
        self.lateness_ns: list[int] = []
        self.notes: list[str] = []

    async def run(self, t0_ns: int) -> None:
        """Do everything at its time. Raise PlaneError or ToxiproxyError at the first thing that fails."""
        self.t0_ns = t0_ns
        links = self.timetable.links.links
        first = await self.snapshot()
        for index in {index for link in links for index in link.faults[link.row_of_epoch[0]]}:
            self.intervals[index] = Interval(start_ns=t0_ns)
            self.marks[index] = [first]
        jobs = [self._switches(), self._modes(), *(self._outages(node) for node in self.names)]
        jobs += [self._disturb(one) for one in self.timetable.disturbances]
        jobs += [self._promote(fault) for fault in self.promotions]
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
            # Also leaves an open connection, so that what cannot be planned costs no more than its round trip.
            await self.server.version()
            await self.server.plan(self.timetable.links.changes(switch.epoch), self.t0_ns + switch.at_ns)
            before = await self.snapshot() if self._is_marked(switch.begins) else None
            await until(self.t0_ns + switch.at_ns)
            await self._switch(switch, before)

    def _is_marked(self, faults: Iterable[int]) -> bool:
        """Return whether some of the faults leave evidence that only snapshots show."""
        return any(link.is_marked(fault) for link in self.timetable.links.links for fault in faults)

    async def _switch(self, switch: RowSwitch, before: Snapshot | None) -> None:
        changes = self.timetable.links.changes(switch.epoch)
        done = await self.server.switch(changes, self.shut)
        self.skews_ns.append(done.skew_ns)
        self.lateness_ns.append(done.started_ns - self.t0_ns - switch.at_ns)
        for fault in switch.begins:
            self._interval(fault).start_ns = done.finished_ns
        for fault in switch.ends:
            self._interval(fault).stop_ns = done.finished_ns
        await asyncio.gather(*(self._tell_duplicates(name) for name in {link.source for link, _ in changes}))
        await self.server.confirm([link for link, _ in changes])
        if before is not None:
            self.marks |= {fault: [before] for fault in switch.begins}
        if self._is_marked(switch.ends):
            after = await self.snapshot()
            for fault in switch.ends:
                self.marks.setdefault(fault, []).append(after)

    async def _tell_duplicates(self, source: str, present: bool = True) -> None:
        """On the oneshot wire the sender makes the duplicates: tell it the share on each of its links."""
        mine = [link for link in self.timetable.links.links if link.source == source and not link.framed]
        if not any(link.duplicate_ppm(row) for link in mine for row in range(len(link.rows))):
            return
        if source in self.stopped and present:
            return  # it is told when it is back
        rows = {link.name: self.server.in_force.get(link.name, link.row_of_epoch[0]) for link in mine}
        body = {link.target: {"duplicate_ppm": link.duplicate_ppm(rows[link.name])} for link in mine}
        try:
            await self.replicas.channels[source].ask("POST", "/links", body)
        except ExchangeError as error:
            raise PlaneError(f"{source} did not take the shares of duplicates: {error}") from error

    async def begin_links(self) -> None:
        """Put in place what the baseline of the links needs of the senders."""
        await asyncio.gather(*(self._tell_duplicates(name) for name in self.names))

    async def snapshot(self) -> Snapshot:
        """Return what has been counted so far; replicas that do not run count no further."""
        links = self.timetable.links.links
        if links and not links[0].framed:
            traffic, connections = await self.server.traffic(), {}
        else:
            states = await self.server.states(links)
            traffic, connections = {}, {name: state.connections for name, state in states.items()}
        holds = any(toxic.type == HOLD for link in links for toxic in link.toxics)
        held = await self.server.held() if holds else {}
        counted = await asyncio.gather(*(self._counted(name) for name in self.names))
        return Snapshot(traffic, connections, dict(zip(self.names, counted, strict=True)), held)

    async def _counted(self, node: str) -> Counter[str]:
        """Return a replica's counters over all its lives, as far as they are known."""
        found = Counter(self.earlier[node])
        if node not in self.stopped:
            try:
                state = await self.replicas.channels[node].ask("GET", "/state")
                found.update({name: int(value) for name, value in state["counters"].items()})
            except ExchangeError as error:
                self.notes.append(f"the counters of {node} were not told in time: {error}")
        return found

    # Inside replicas

    async def _disturb(self, one: Disturbance) -> None:
        node, evidence = one.inside.node, one.inside.evidence
        await until(self.t0_ns + one.inside.start_ns)
        before = (await self._counted(node))[evidence]
        self.active[one.fault] = one
        self.lateness_ns.append(time.monotonic_ns() - self.t0_ns - one.inside.start_ns)
        await self._tell_faults(node, dict(one.inside.values))
        self._interval(one.fault).start_ns = time.monotonic_ns()
        await until(self.t0_ns + one.inside.stop_ns)
        self.bites[one.fault] = (await self._counted(node))[evidence] - before
        del self.active[one.fault]
        await self._tell_faults(node, {name: 0 for name, _ in one.inside.values})
        self._interval(one.fault).stop_ns = time.monotonic_ns()

    async def _tell_faults(self, node: str, values: dict[str, int]) -> None:
        """Set values inside a replica and read them back; one that does not run is told when it is back."""
        if not values or node in self.stopped:
            return
        try:
            await self.replicas.channels[node].ask("POST", "/faults", values)
            held = (await self.replicas.channels[node].ask("GET", "/state")).get("faults", {})
        except ExchangeError as error:
            if node in self.stopped:
                return
            raise PlaneError(f"{node} did not take its faults: {error}") from error
        wrong = [name for name, value in values.items() if held.get(name) != value]
        if wrong:
            raise PlaneError(f"{node} reads back with {wrong[0]} {held.get(wrong[0])}, not {values[wrong[0]]}")

    # Nodes

    def _into(self, node: str) -> list[Link]:
        return [link for link in self.timetable.links.links if link.target == node]

    async def _outages(self, node: str) -> None:
        for one in self.timetable.outages_of(node):
            await until(self.t0_ns + one.outage.start_ns)
            if one.fault in self.promoted:
                await self.promoted[one.fault].wait()
                continue
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
        restart. A node that is replaced is asked to end instead.
        """
        self.stopped.add(node)
        self.shut.add(node)
        leads = node == self.names[0]
        if leads:
            self.driver.lead_to(None)
        done = await self.server.enable(self._into(node), False)
        self._interval(one.fault).start_ns = done.finished_ns
        await self._keep_counters(node)
        await asyncio.to_thread(self.stack.kill if one.replacement is None else self.stack.stop, node)
        if one.replacement is not None:
            await asyncio.to_thread(self.stack.replace, one.replacement)
        if keep is Keep.NOTHING:
            self.losses.append((self.names.index(node), time.monotonic_ns()))
            await asyncio.to_thread(self.stack.forget, node)
        await until(self.t0_ns + one.outage.stop_ns)
        await asyncio.to_thread(self.stack.start, node)
        await self.replicas.wait_ready(node)
        if one.replacement is not None:
            await self._check_runtime(node, one.replacement.runtime)
        await self._rejoin(node, self.initial_mode)
        self._interval(one.fault).stop_ns = await self._open_into([node])
        if leads:
            self.driver.lead_to(await asyncio.to_thread(self.stack.port, node, CLIENT_PORT))

    async def _open_into(self, nodes: Sequence[str]) -> int:
        """Open the links into nodes that are back, as far as their rows are; return when all that send over them are
        connected again: till then what is sent to the nodes is lost, as it was while they were away.
        """
        self.shut.difference_update(nodes)
        links = [link for node in nodes for link in self._into(node)]
        rows = {link.name: self.server.in_force.get(link.name, link.row_of_epoch[0]) for link in links}
        opened = [link for link in links if link.is_open(rows[link.name])]
        await self.server.enable(opened, True)
        senders = [(link.source, link.target) for link in opened if link.source not in self.stopped]
        self.notes += [
            f"{source} is not connected to {target}, which is back, after {CONNECT_DEADLINE_S:g} s"
            for source, target in await self.replicas.wait_connected(senders)
        ]
        return time.monotonic_ns()

    # Replicas that are prepared beside others

    async def _promote(self, fault: int) -> None:
        """Prepare green replicas, and let all of them take their places at once; or none, if one is not ready."""
        mine = self.promotions[fault]
        switch_ns = self.t0_ns + mine[0].outage.start_ns
        await until(switch_ns - mine[0].warm_ns)
        greens = [Green(self.stack, one.replacement, fault) for one in mine if one.replacement]
        pool = ThreadPoolExecutor(min(GREEN_WORKERS, len(greens)))
        try:
            warming = [asyncio.get_running_loop().run_in_executor(pool, green.warm) for green in greens]
            await until(switch_ns)
            self.lateness_ns.append(time.monotonic_ns() - switch_ns)
            reasons = [reason for green in greens if (reason := green.why_not())]
            reasons += [f"{green.node} does not run" for green in greens if green.node in self.stopped]
            if not reasons:
                await self._switch_over(fault, greens)
                return
            self.notes.append(f"blue_green: nothing was switched, the replicas in place stay: {'; '.join(reasons)}")
            for green in greens:
                green.abandon()
            await asyncio.gather(*warming)
            await asyncio.gather(*(asyncio.to_thread(green.discard) for green in greens))
            self._interval(fault).stop_ns = time.monotonic_ns()  # without a start: there is nothing to heal
        finally:
            for green in greens:
                green.abandon()
            pool.shutdown()  # nothing may be made any more when the run is torn down
            self.promoted[fault].set()

    async def _switch_over(self, fault: int, greens: Sequence[Green]) -> None:
        nodes = [green.node for green in greens]
        self.stopped.update(nodes)
        self.shut.update(nodes)
        done = await self.server.enable([link for node in nodes for link in self._into(node)], False)
        self._interval(fault).start_ns = done.finished_ns
        away_ns = await asyncio.gather(*(self._swap(green) for green in greens))
        self._interval(fault).stop_ns = stop_ns = await self._open_into(nodes)
        await asyncio.gather(*(asyncio.to_thread(green.retire_former) for green in greens))
        for green, its_ns in zip(greens, away_ns, strict=True):
            self.notes.append(f"{green.told()}; no {green.node} ran for {its_ns / 1e6:.0f} ms")
        closed_ms = (stop_ns - done.finished_ns) / 1e6
        self.notes.append(f"blue_green: {', '.join(nodes)} switched at once, away for {closed_ms:.0f} ms")

    async def _swap(self, green: Green) -> int:
        """Let a green replica come in the place of the one that runs; return for how long none answered there."""
        node = green.node
        await self._keep_counters(node)
        began_ns = time.monotonic_ns()
        await asyncio.to_thread(self.stack.stop, node)
        self.swaps.append((self.names.index(node), time.monotonic_ns()))
        self.losses.append(self.swaps[-1])
        await asyncio.to_thread(green.take_place)
        await self.replicas.wait_ready(node)
        away_ns = time.monotonic_ns() - began_ns
        await self._check_runtime(node, green.runtime)
        await self._rejoin(node, self.initial_mode)
        return away_ns

    async def _check_runtime(self, node: str, runtime: str | None) -> None:
        try:
            found = (await self.replicas.channels[node].ask("GET", "/healthz")).get("runtime")
        except ExchangeError as error:
            raise PlaneError(f"{node} does not say what it is since it was replaced: {error}") from error
        if runtime is not None and found != runtime:
            raise PlaneError(f"{node} was replaced by {runtime} and says it is {found}")

    async def _keep_counters(self, node: str) -> None:
        """Add up what a process counted before it is killed: the next one starts at 0."""
        try:
            state = await self.replicas.channels[node].ask("GET", "/state")
        except ExchangeError as error:
            self.notes.append(f"the counters of {node} before its crash are lost: {error}")
            return
        counters = {name: int(value) for name, value in state["counters"].items()}
        self.earlier_counters.update(counters)
        self.earlier[node].update(counters)

    # Settings

    async def _rejoin(self, node: str, mode: str) -> None:
        """Bring a node that was away to the mode in force; it counts as present from then on."""
        while mode != self.mode:
            mode = self.mode
            await self._tell(node, mode)
        await self._tell_duplicates(node, present=False)
        self.stopped.discard(node)
        inside = [one.inside.values for one in self.active.values() if one.inside.node == node]
        await self._tell_faults(node, dict(pair for values in inside for pair in values))

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
