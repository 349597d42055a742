"""Where blocks of runs are done: threads, processes, or a Dask cluster, behind one `concurrent.futures` executor.

A block is a pure function of its arguments, and results come back in the order of the blocks. So they are the same to
the bit wherever, and however often, a block is run; a worker that dies costs its blocks in hand and nothing else.
"""

from __future__ import annotations

import ipaddress
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from lab import __version__

Result = TypeVar("Result")
CONNECT_S = 15.0
WORKERLESS_S = 60.0  # a cluster without a worker for so long is given up
LOOK_S = 2.0
WAITING = 4  # blocks a worker that are submitted ahead


class ClusterError(Exception):
    """The cluster cannot be used; `exit_code` is what the command ends with: 2 for its address, 4 for itself."""

    def __init__(self, message: str, exit_code: int = 4) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Dask scheduler. `ca`, `certificate` and `key` are PEM files, needed for tls://."""

    address: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """An executor, how many blocks it does at once, and a check that it still can (raises ClusterError)."""

    executor: Executor
    width: int
    check: Callable[[], None] = lambda: None
    wrap: Callable[..., Any] | None = None


def check_cluster(cluster: Cluster) -> None:
    """Raise ClusterError(2) for an address that must not or cannot be used. Whoever reaches a scheduler runs code on
    its workers, so plain tcp:// is for this machine alone.
    """
    parts = urlsplit(cluster.address)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or port is None:
        raise ClusterError(f"{cluster.address!r} is not a scheduler; write tcp://127.0.0.1:8786 or tls://HOST:8786", 2)
    if parts.scheme == "tcp" and not is_loopback(parts.hostname):
        raise ClusterError(
            f"{cluster.address} is plain TCP to another machine: anyone on the way could run code on it. Use tls:// "
            "with --tls CA CERT KEY.",
            2,
        )
    files = (cluster.ca, cluster.certificate, cluster.key)
    if parts.scheme == "tls" and None in files:
        raise ClusterError("tls:// needs --tls CA CERT KEY (PEM files)", 2)
    missing = next((file for file in files if file is not None and not file.is_file()), None)
    if missing is not None:
        raise ClusterError(f"{missing} is not a file; it should hold a PEM certificate or key", 2)
    if find_spec("distributed") is None:
        raise ClusterError("--cluster needs the package distributed: install driftlab[cluster]")


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def open_pool(kind: str, workers: int, cluster: Cluster | None = None) -> Iterator[Pool]:
    """Yield a pool of `workers` "threads" or "processes", or of the cluster's workers if one is given."""
    if cluster is not None:
        with _dask(cluster) as pool:
            yield pool
        return
    executor: Executor
    if kind == "threads":
        executor = ThreadPoolExecutor(workers)
    else:
        executor = ProcessPoolExecutor(workers, mp_context=get_context("forkserver"))
    try:
        yield Pool(executor, workers)
    finally:
        executor.shutdown(cancel_futures=True)  # an interrupted sweep ends with the blocks in hand, not with all


def in_order(pool: Pool, function: Callable[..., Result], tasks: Iterable[tuple[Any, ...]]) -> Generator[Result]:
    """Yield `function(*task)` of every task, in order; a few blocks a worker are under way at once."""
    waiting: deque[Future[Result]] = deque()
    call = pool.wrap(function) if pool.wrap else function
    try:
        for task in tasks:
            waiting.append(pool.executor.submit(call, *task))
            if len(waiting) >= WAITING * pool.width:
                yield _wait(pool, waiting.popleft())
        while waiting:
            yield _wait(pool, waiting.popleft())
    finally:
        for future in waiting:
            future.cancel()


def _wait(pool: Pool, future: Future[Result]) -> Result:
    while True:
        try:
            return future.result(timeout=LOOK_S)
        except TimeoutError:
            if future.done():  # the block itself raised it
                raise
            pool.check()
        except CancelledError as error:
            raise ClusterError("the scheduler is gone; what is finished is kept: go on with --resume") from error
        except Exception as error:
            if type(error).__name__ == "KilledWorker":  # distributed's own, which is not imported here
                raise ClusterError(f"a block of runs ended every worker that took it: {error}") from error
            raise


def at_version(version: str, function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a block on a worker, but only if it runs the same lab: another one may give other numbers."""
    if version != __version__:
        raise ClusterError(f"a worker has driftlab {__version__}, this is {version}: install the same on both")
    return function(*arguments)


@contextmanager
def _dask(cluster: Cluster) -> Iterator[Pool]:
    check_cluster(cluster)
    dask: Any = import_module("distributed")
    plain = cluster.address.startswith("tcp://")
    files = {"tls_ca_file": cluster.ca, "tls_client_cert": cluster.certificate, "tls_client_key": cluster.key}
    security = (
        None if plain else dask.Security(require_encryption=True, **{key: str(file) for key, file in files.items()})
    )
    try:
        client = dask.Client(cluster.address, timeout=CONNECT_S, security=security, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ClusterError(f"no scheduler answers at {cluster.address} within {CONNECT_S:g} s: {error}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError as error:
            raise ClusterError(f"{cluster.address} has no workers; start one and try again") from error
        watch = _Watch(client, plain)
        wrap = partial(partial, at_version, __version__)
        yield Pool(client.get_executor(pure=False), watch.workers(), watch.check, wrap)


class _Watch:
    """Looks at the cluster's workers while blocks are waited for."""

    def __init__(self, client: Any, plain: bool) -> None:
        self.client, self.plain = client, plain
        self.seen_s = time.monotonic()

    def workers(self) -> int:
        """Return how many blocks the cluster does at once; refuse workers that plain TCP must not reach."""
        found = self.client.scheduler_info(n_workers=-1)["workers"]
        for address in found if self.plain else ():
            if not is_loopback(urlsplit(address).hostname or ""):
                raise ClusterError(f"the worker {address} is on another machine, over plain TCP: use tls://", 2)
        return sum(int(worker["nthreads"]) for worker in found.values())

    def check(self) -> None:
        """Raise ClusterError if there has been no worker for a minute, or the scheduler is gone."""
        now = time.monotonic()
        if self.client.status != "running":
            raise ClusterError("the scheduler is gone; what is finished is kept: go on with --resume")
        if self.workers():
            self.seen_s = now
        elif now - self.seen_s > WORKERLESS_S:
            raise ClusterError(f"no worker for {WORKERLESS_S:g} s; what is finished is kept: go on with --resume")
