"""One run on the container plane: bring the stack up, drive and disturb it, let it settle, collect, and take it down.

with open_session(experiment, print) as plane:
    history = plane.run_once(experiment, seed=1)
"""

from __future__ import annotations

import asyncio
import os
import platform
import selectors
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import requests

from lab.containers import budget, collect, engine, sidecar
from lab.containers import session as sessions
from lab.containers.conduct import Conductor, Replicas, until
from lab.containers.drive import IN_FLIGHT_MAX, LATENESS_MAX_NS, Driver
from lab.containers.engine import ANSWER_TIMEOUT_S, connect
from lab.containers.errors import PlaneError
from lab.containers.exchange import ExchangeError
from lab.containers.images import SERVERS, Images, are_present, build_images
from lab.containers.schedule import refusals, timetable
from lab.containers.session import Session
from lab.containers.settings import CLIENT_PORT, CONTROL_PORT
from lab.containers.stack import Stack
from lab.containers.topology import LOOPBACK, TOXIPROXY_API_PORT
from lab.containers.toxiproxy import ProxySpec, Server, ToxiproxyError
from lab.core.units import duration_text
from lab.history import History
from lab.model.workload import operations
from lab.spec.schema import Experiment

START_DEADLINE_S = 60.0
WARM_DEADLINE_S = 10.0
COLLECT_DEADLINE_S = 60.0
LEAD_NS = 150_000_000  # between the last preparation and the start of the run
LINGER_NS = 1_000_000_000
POLL_S = 0.1
POOLS_S = 0.3  # in which a replica dials its pools, and in which a message's connection ends
WATCH_S = 0.5
METRICS_TIMEOUT_S = 2.0
USAGE = 2  # exit code: the experiment cannot be run here, nothing was started

available = engine.available
Observe = Callable[[collect.Seen, Mapping[str, str]], None]  # what a run left, and each replica's /metrics at its end


def run_once(
    experiment: Experiment,
    seed: int,
    *,
    session: Session,
    images: Images,
    log: Callable[[str], None] = lambda _: None,
    observe: Observe | None = None,
) -> History:
    """Run one seed and return its history; `invalid` says when it must not be judged. `observe` is shown the raw
    records before they are judged.

    Raise PlaneError with exit code 2 for what the plane cannot express, before anything starts, and with 4 when
    something needed fails. Nothing of the run is left in the engine in either case.
    """
    refuse(experiment, seed)
    run = _Run(experiment, seed, session, images, log)
    try:
        # select() takes microseconds where epoll rounds up to milliseconds.
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
            return runner.run(run.whole(observe))
    except PlaneError:
        raise
    except (ToxiproxyError, ExchangeError, TimeoutError, OSError) as error:
        raise PlaneError(f"{run.phase} failed: {error or type(error).__name__}") from error
    finally:
        run.stack.tear_down()


@dataclass(slots=True)
class Plane:
    """An open session with its images: runs experiments one after the other."""

    session: Session
    images: Images
    say: Callable[[str], None]
    observe: Observe | None = None

    def run_once(self, experiment: Experiment, seed: int) -> History:
        """Run one seed, see the function `run_once`; an image that was not built yet, or is gone, is built first."""
        if not needed_images(experiment) <= self.images.ids.keys() or not are_present(self.images):
            self.images = build_images(self.say, needed_images(experiment) | self.images.ids.keys())
        return run_once(experiment, seed, session=self.session, images=self.images, log=self.say, observe=self.observe)


def needed_images(experiment: Experiment) -> set[str]:
    """Return the components whose images a run needs: runtimes (also of later replacements), server, reconciler."""
    runtimes = {str(replica.runtime) for replica in experiment.system.replicas}
    runtimes |= {one.runtime for fault in experiment.faults for one in fault.replacements() if one.runtime}
    helpers = {"reconciler"} if experiment.system.reconciler else set()
    return {SERVERS[experiment.system.wire], *runtimes, *helpers}


@contextmanager
def open_session(experiment: Experiment, say: Callable[[str], None] = lambda _: None) -> Iterator[Plane]:
    """Build the images an experiment needs and open a session for its runs; at the end nothing of it is left.

    Raise PlaneError with exit code 2 for what the plane cannot express and 4 when an engine, a toolchain or an image
    is missing.
    """
    refuse(experiment, 0)
    connect(ANSWER_TIMEOUT_S).close()
    images = build_images(say, needed_images(experiment))
    with sessions.open_session() as opened:
        yield Plane(opened, images, say)


def refuse(experiment: Experiment, seed: int) -> None:
    """Raise PlaneError with exit code 2 for what the plane cannot express."""
    refused = refusals(experiment, seed)
    if refused:
        raise PlaneError("the container plane cannot run this experiment: " + "; ".join(refused), USAGE)


class _Run:
    """The phases of one run."""

    def __init__(
        self, experiment: Experiment, seed: int, session: Session, images: Images, log: Callable[[str], None]
    ) -> None:
        self.experiment = experiment
        self.names = experiment.system.names
        self.log = log
        self.phase = "preparing"
        self.began = time.monotonic()
        table = timetable(experiment, seed)
        self.links = table.links.links
        planned = operations(experiment.workload, seed)
        self.driver = Driver(planned, experiment.workload.client, seed)
        self.stack = Stack(session, images, experiment, seed)
        self.replicas = Replicas(self.stack)
        self.server: Server  # switches links
        self.watched: Server  # the same server on a connection of its own, asked whether it lives
        self.conductor: Conductor
        self.seen = collect.Seen(experiment, seed, table, 0, self.driver, {}, [])
        self.guard = budget.Guard()
        self.framed = experiment.system.wire == "framed"
        self.clock_bound_ns = 0

    def enter(self, phase: str) -> None:
        """Name the phase for messages."""
        self.phase = phase
        self.log(f"{phase} ({time.monotonic() - self.began:.1f} s)")

    async def whole(self, observe: Observe | None = None) -> History:
        """Return the history of the run."""
        connection = asyncio.create_task(self.driver.stay_connected())
        try:
            async with asyncio.timeout(START_DEADLINE_S):
                await self.bring_up()
            async with asyncio.timeout(WARM_DEADLINE_S):
                await self.warm()
            await self.go()
            self.enter("collecting")
            async with asyncio.timeout(COLLECT_DEADLINE_S):
                await self.fetch()
            self.remark()
            if observe is not None:
                observe(self.seen, await asyncio.to_thread(self._metrics))
            return collect.history(self.seen)
        finally:
            connection.cancel()
            await asyncio.gather(connection, return_exceptions=True)
            self.replicas.close()
            for server in (getattr(self, "server", None), getattr(self, "watched", None)):
                if server is not None:
                    server.close()

    # Before

    async def bring_up(self) -> None:
        """Start Toxiproxy with every link closed, then the replicas, all at once; open the links when all are ready."""
        self.enter("starting the stack")
        stack = self.stack
        problem = "" if self.framed else budget.conntrack_problem(self.experiment, stack.seed)
        if problem:
            raise PlaneError(problem)
        await asyncio.to_thread(stack.create)
        starting = asyncio.create_task(asyncio.to_thread(stack.start_replicas))
        try:
            port = await asyncio.to_thread(stack.port, None, TOXIPROXY_API_PORT)
            self.server, self.watched = Server(LOOPBACK, port), Server(LOOPBACK, port)
            await self._answering()
            topology = stack.topology
            specs = [
                ProxySpec(link, topology.listen(link.source, link.target), topology.upstream(link))
                for link in self.links
            ]
            await asyncio.to_thread(self.server.set_up, specs)
        finally:
            await starting
        await asyncio.gather(*(self.replicas.wait_ready(name) for name in self.names))
        # Opened only now: a proxy whose replica does not exist yet would hang in its first connection.
        await self.server.enable([link for link in self.links if link.is_open(link.row_of_epoch[0])], True)
        await asyncio.to_thread(stack.start_reconciler)

    async def _answering(self) -> None:
        while True:
            try:
                self.seen.environment["toxiproxy"] = await self.watched.version()
                return
            except ToxiproxyError as error:
                death = await asyncio.to_thread(self.stack.death_of, None)
                if death:
                    raise PlaneError(death) from error
            await asyncio.sleep(0.02)

    async def warm(self) -> None:
        """Wait until every link and the client are connected; read the clocks and what was counted so far."""
        self.enter("warming up")
        self.driver.lead_to(await asyncio.to_thread(self.stack.port, self.names[0], CLIENT_PORT))
        while not (self.driver.connected and await self._linked()):
            await asyncio.sleep(0.01)
        mode = self.experiment.system.mode
        self.conductor = Conductor(self.seen.timetable, self.stack, self.server, self.replicas, self.driver, mode)
        await self.conductor.begin_links()
        states = await self.states()
        missing = [name for name in self.names if name not in states]
        if missing:
            raise PlaneError(f"{missing[0]} does not tell its state")
        self.seen.first_counters = {name: state["counters"] for name, state in states.items()}
        if self.framed:
            await self.server.forget(self.links)  # what came before the run is none of the first so many messages
            self.seen.toxics_before = await self.server.states(self.links)
        else:
            self.seen.traffic_before = await self.server.traffic()
        self.seen.environment |= {
            "engine": await asyncio.to_thread(self.stack.engine_version),
            "kernel": platform.release(),
            "cores": str(os.cpu_count()),
            **{f"image.{name}": identity for name, identity in self.stack.images.ids.items()},
        }

    async def _linked(self) -> bool:
        """Return whether every link is connected; a stock server does not tell, so its pools get the time they need."""
        if not self.framed:
            await asyncio.sleep(POOLS_S)
            return True
        toxics = await self.server.states(self.links)
        return all(toxic.connections for toxic in toxics.values())

    # During

    async def go(self) -> None:
        """Drive and disturb until all is settled or the horizon; stop early when the run can no longer be judged."""
        self.enter("running")
        self.seen.t0_ns = time.monotonic_ns() + LEAD_NS
        work, watch = asyncio.create_task(self._work()), asyncio.create_task(self._watch())
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                self.seen.invalid.append(watch.result())
            else:
                work.result()
        except ToxiproxyError as error:
            self.seen.invalid.append(await asyncio.to_thread(self.stack.death_of, None) or str(error))
        finally:
            work.cancel()
            watch.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)

    async def _work(self) -> None:
        t0_ns = self.seen.t0_ns
        both = [asyncio.create_task(self.driver.run(t0_ns)), asyncio.create_task(self.conductor.run(t0_ns))]
        try:
            await asyncio.gather(*both)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        self.enter("settling")
        horizon_ns = t0_ns + self.experiment.horizon_ns
        while time.monotonic_ns() < horizon_ns:
            if self._settled(await self.states()):
                await until(min(horizon_ns, time.monotonic_ns() + LINGER_NS))
                if self._settled(await self.states()):
                    return
            await asyncio.sleep(POLL_S)

    def _settled(self, states: Mapping[str, Mapping[str, Any]]) -> bool:
        alike = {(state["digest"], state["last_sequence"], state["prefix"]) for state in states.values()}
        return len(states) == len(self.names) and len(alike) == 1 and not any(s["waiting"] for s in states.values())

    async def _watch(self) -> str:
        """Return a sentence when a container that should run does not, or Toxiproxy stops answering."""
        everyone: set[str | None] = {None, *self.names}
        while True:
            expected = everyone - self.conductor.stopped
            running = await asyncio.to_thread(self.stack.running)
            for name in expected - running - self.conductor.stopped:
                return (
                    await asyncio.to_thread(self.stack.death_of, name) or f"{name or 'Toxiproxy'} was away for a moment"
                )
            if not self.framed:
                present = [name for name in self.names if name not in self.conductor.stopped]
                counters = {name: state["counters"] for name, state in (await self.states(present)).items()}
                over = self.guard.take(time.monotonic_ns(), self._sent(counters))
                if over:
                    return over
            try:
                await self.watched.version()
            except ToxiproxyError as error:
                return await asyncio.to_thread(self.stack.death_of, None) or str(error)
            await asyncio.sleep(WATCH_S)

    def _sent(self, counters: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
        """Return the messages sent on each link so far, those of processes that were killed included."""
        earlier = self.conductor.earlier
        whole = {
            name: {key: value + earlier[name][key] for key, value in its.items()} for name, its in counters.items()
        }
        return budget.sent_by_link(self.names, whole)

    async def states(self, names: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
        """Return the state of every replica (of those named) that answers. Raise PlaneError if a replica's clock is not
        the host's.
        """
        found: dict[str, dict[str, Any]] = {}

        async def ask(name: str) -> None:
            before_ns = time.monotonic_ns()
            with suppress(ExchangeError):
                found[name] = await self.replicas.channels[name].ask("GET", "/state")
            after_ns = time.monotonic_ns()
            if name in found:
                if not before_ns <= found[name]["monotonic_ns"] <= after_ns:
                    raise PlaneError(f"the clock of {name} is not the host's: its times could not be compared")
                self.clock_bound_ns = max(self.clock_bound_ns, after_ns - before_ns)

        await asyncio.gather(*(ask(name) for name in (self.names if names is None else names)))
        return found

    # After

    async def fetch(self) -> None:
        """Fetch everything that the history is made of."""
        seen, conductor = self.seen, self.conductor
        seen.states = await self.states()
        seen.intervals, seen.losses, seen.swaps = conductor.intervals, conductor.losses, conductor.swaps
        seen.earlier_counters = conductor.earlier_counters
        seen.marks, seen.bites = conductor.marks, conductor.bites
        try:
            if self.framed:
                seen.toxics = await self.server.states(self.links)
            else:
                await asyncio.sleep(POOLS_S)  # a connection is counted when it has ended
                seen.traffic = await self.server.traffic()
            await self.server.confirm(self.links)
            seen.confirmed = dict(self.server.in_force)
            seen.last_snapshot = await conductor.snapshot()
            seen.enabled = await self.server.enabled()
        except ToxiproxyError as error:
            if not seen.invalid:
                seen.invalid.append(str(error))
        if not self.framed:
            counters = {name: state["counters"] for name, state in seen.states.items()}
            over = self.guard.close(time.monotonic_ns(), self._sent(counters))
            seen.invalid += [over] if over and not seen.invalid else []
        conditions = await asyncio.gather(*(asyncio.to_thread(self.stack.condition, name) for name in self.names))
        seen.running = frozenset(
            name for name, its in zip(self.names, conditions, strict=True) if its.running and not its.paused
        )
        logs = await asyncio.gather(*(asyncio.to_thread(self.stack.events, name) for name in self.names))
        seen.events = {name: collect.parse_events(data) for name, data in zip(self.names, logs, strict=True)}
        if self.experiment.system.reconciler:
            await asyncio.to_thread(sidecar.collect, self.stack, seen)
        seen.changelog = await asyncio.to_thread(self._changelog)
        silent = [name for name in self.names if name not in seen.states]
        if silent and not seen.invalid:
            seen.invalid.append(f"{', '.join(silent)} did not tell the state at the end")

    def _changelog(self) -> dict[int, int]:
        """Return the leader's changelog, token by sequence, if it was started more than once; else nothing is asked."""
        leader = self.names[0]
        if sum(row[1] == "start" for row in self.seen.events[leader].rows) < 2:
            return {}
        with suppress(requests.RequestException, PlaneError):
            url = f"http://{LOOPBACK}:{self.stack.port(leader, CONTROL_PORT)}/snapshot"
            try:
                return collect.parse_snapshot(requests.get(url, timeout=METRICS_TIMEOUT_S).text)
            except ValueError as error:
                self.seen.notes.append(f"{leader}: {error}")
        return {}

    def _metrics(self) -> dict[str, str]:
        """Return the text of /metrics of every replica that answers."""
        found = {}
        for name in self.names:
            with suppress(requests.RequestException, PlaneError):
                url = f"http://{LOOPBACK}:{self.stack.port(name, CONTROL_PORT)}/metrics"
                found[name] = requests.get(url, timeout=METRICS_TIMEOUT_S).text
        return found

    def remark(self) -> None:
        """Add the notes, and say what makes the run invalid."""
        seen, conductor, late = self.seen, self.conductor, self.driver.lateness()
        if late.p99_ns > LATENESS_MAX_NS:
            limit = duration_text(LATENESS_MAX_NS)
            seen.invalid.append(f"the load left {_ms(late.p99_ns)} late at p99, over {limit}: this machine is too busy")
        if self.driver.overloaded:
            seen.invalid.append(f"{self.driver.overloaded} writes were not sent: over {IN_FLIGHT_MAX} were in flight")
        if self.driver.malformed:
            seen.notes.append(f"the leader sent {self.driver.malformed} malformed answers")
        late_text = f"p50 {_ms(late.p50_ns)}, p99 {_ms(late.p99_ns)}, max {_ms(late.max_ns)}"
        seen.notes.append(f"load: late by {late_text}; {self.driver.unsent} attempts found no connection")
        seen.notes.append(f"clocks: every reading within the host's bracket of at most {_ms(self.clock_bound_ns)}")
        if conductor.skews_ns:
            skew_text = f"skew at most {_ms(max(conductor.skews_ns))}"
            seen.notes.append(f"links: {len(conductor.skews_ns)} switches, {skew_text}")
        if conductor.lateness_ns:
            seen.notes.append(f"faults: begun or ended at most {_ms(max(conductor.lateness_ns))} late")
        if not self.framed:
            rates = f"{self.guard.worst_link:.0f}/s on a link, {self.guard.worst_total:.0f}/s in all"
            seen.notes.append(f"oneshot wire: stock server, at most {rates} over 5 s; links count bytes")
        seen.notes += conductor.notes
        for name, bug in self.stack.session.seeded_bugs.items():
            seen.notes.append(f"{name} was given the seeded bug {bug}: what this run shows is that defect")


def _ms(value_ns: int) -> str:
    return f"{value_ns / 1e6:.2f}ms"
