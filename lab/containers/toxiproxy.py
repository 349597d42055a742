"""A typed adapter to one Toxiproxy server: the library `toxiproxy-python` for what is set up, pipelined requests for
what is switched while a run goes on.

The library keeps its endpoint in class attributes, has no deadlines and takes a 500 for an answer; the server ignores
attributes it does not know. So every library call is made under one lock with the endpoint set for it and requests
that have deadlines and refuse what is not an answer, every range is checked here first, and every proxy and toxic is
read back and compared.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests
import toxiproxy.api
from toxiproxy import Toxiproxy
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from lab.containers import chain, recall, stock
from lab.containers.errors import printable
from lab.containers.exchange import Channel, ExchangeError, Request
from lab.containers.links import Link
from lab.core.fate import CUT, DUPLICATE_PPM, LOSS_PPM, REORDER_BY_NS, REORDER_PPM, ROW_LENGTH, TABLE_0
from lab.core.quantiles import KNOTS, LARGEST_NS

CALL_TIMEOUT_S = 2.0
ANSWER_MAX_BYTES = 16 << 20
OURS_NS = 10_000_000_000  # a switch that long ago was read from another clock
ROW = "attributes.row"  # of an answer
TOXIC = "message"  # the name and the type of the toxic every link gets
ROWS_MAX = 4096
TABLES_MAX = 256
KEY_MAX = (1 << 63) - 1
_COLUMN_MAX = {CUT: 1, LOSS_PPM: 10**6, DUPLICATE_PPM: 10**6, REORDER_PPM: 10**6, REORDER_BY_NS: LARGEST_NS}


class ToxiproxyError(RuntimeError):
    """The server did not do what it was asked. The message says what."""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """What a toxic did while one row was in force (copies, except `frames` and `bytes`)."""

    frames: int = 0
    bytes: int = 0
    lost: int = 0
    cut: int = 0
    duplicated: int = 0
    reordered: int = 0
    delivered: int = 0
    delay_ns_total: int = 0
    late_ns_total: int = 0
    corrupted: int = 0
    overflow: int = 0

    def __sub__(self, other: RowCounts) -> RowCounts:
        return RowCounts(*(getattr(self, name) - getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class ToxicState:
    """A toxic as the server reports it."""

    row: int
    rows: tuple[RowCounts, ...]
    connections: int
    malformed: int
    queued: int
    queue_dropped: int


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch of several links at once, CLOCK_MONOTONIC: when the first and the last of them changed, as our server
    says; else before the first request and after the last answer.
    """

    started_ns: int
    finished_ns: int

    @property
    def skew_ns(self) -> int:
        """How far apart two links of the switch can have changed, at most."""
        return self.finished_ns - self.started_ns


class _Requests:
    """Stands in for the module `requests` inside the library: deadlines, no environment, and errors instead of odd
    answers.
    """

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy from the environment stands between the lab and its own loopback
        self._session.headers["User-Agent"] = "driftlab"

    def get(self, url: str, **options: Any) -> requests.Response:
        return self._send("GET", url, options)

    def post(self, url: str, **options: Any) -> requests.Response:
        return self._send("POST", url, options)

    def delete(self, url: str, **options: Any) -> requests.Response:
        return self._send("DELETE", url, options)

    def _send(self, method: str, url: str, options: Mapping[str, Any]) -> requests.Response:
        try:
            answer = self._session.request(method, url, timeout=CALL_TIMEOUT_S, allow_redirects=False, **options)
        except requests.RequestException as error:
            raise ToxiproxyError(f"Toxiproxy did not answer {method}: {printable(str(error), 200)}") from error
        text = printable(answer.text[:200])
        if answer.status_code in (400, 404, 409):
            return answer  # the library raises its own exceptions for these
        if not 200 <= answer.status_code < 300:
            raise ToxiproxyError(f"Toxiproxy answered {method} with {answer.status_code}: {text!r}")
        if answer.status_code != 204:
            try:
                json.loads(answer.content)
            except ValueError as error:
                raise ToxiproxyError(f"Toxiproxy's answer to {method} is not JSON: {text!r}") from error
        return answer

    def close(self) -> None:
        self._session.close()


_LIBRARY = threading.Lock()


@contextmanager
def _library(host: str, port: int) -> Iterator[Toxiproxy]:
    """Lend the library, pointed at one server; its exceptions become ToxiproxyError."""
    with _LIBRARY:
        consumer, transport = toxiproxy.api.APIConsumer, _Requests()
        before = (consumer.host, consumer.port, toxiproxy.api.requests)
        consumer.host, consumer.port, toxiproxy.api.requests = host, port, transport
        try:
            yield Toxiproxy()
        except (InvalidToxic, NotFound, ProxyExists) as error:
            reason = error.args[0] if error.args else b""
            text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
            raise ToxiproxyError(f"Toxiproxy refused: {printable(text, 300).strip()}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ToxiproxyError(f"Toxiproxy's answer has another form than expected: {error!r}") from error
        finally:
            consumer.host, consumer.port, toxiproxy.api.requests = before
            transport.close()


@dataclass(frozen=True, slots=True)
class ProxySpec:
    """One proxy: where it listens and where it leads, both `address:port`."""

    link: Link
    listen: str
    upstream: str


def problems(link: Link) -> list[str]:
    """Return a sentence for each number of a link's toxic that the server must not get."""
    found = []
    if not 0 <= link.key <= KEY_MAX:
        found.append(f"{link.name}: the key {link.key} is no 63-bit number")
    if not 1 <= len(link.rows) <= ROWS_MAX:
        found.append(f"{link.name}: {len(link.rows)} rows; a link has 1 to {ROWS_MAX}")
    if len(link.tables) > TABLES_MAX:
        found.append(f"{link.name}: {len(link.tables)} delay laws; a link has at most {TABLES_MAX}")
    for number, table in enumerate(link.tables):
        if len(table) != KNOTS or not all(0 <= knot <= LARGEST_NS for knot in table):
            found.append(f"{link.name}: delay law {number} is not {KNOTS} delays of 0 to {LARGEST_NS} ns")
    for number, row in enumerate([*link.rows, *(row for row, _ in link.leaves)]):
        fits = len(row) == ROW_LENGTH and all(0 <= row[column] <= most for column, most in _COLUMN_MAX.items())
        if not fits or not all(-1 <= table < len(link.tables) for table in row[TABLE_0:]):
            found.append(f"{link.name}: row {number} has a number out of range: {row}")
    return [*found, *recall.problems(link.name, len(link.rows), link.extras, link.leaves, link.memory_words)]


def _recalled(link: Link) -> dict[str, Any]:
    """Return the attributes of a link that remembers; none for all others."""
    if not link.extras:
        return {}
    leaves = [[*row, *extra] for row, extra in link.leaves]
    return {"extras": link.extras, "leaves": leaves, "memory_words": link.memory_words}


class Server:
    """One Toxiproxy server. Set-up methods block (call them in a thread); `switch`, `enable` and `states` run in the
    event loop.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.channel = Channel(host, port, name="Toxiproxy", timeout_s=CALL_TIMEOUT_S)
        self.in_force: dict[str, int] = {}  # by link, the row that was switched to last
        self.planned: dict[str, int] = {}  # by link, the row that comes into force by itself

    def set_up(self, specs: Sequence[ProxySpec]) -> None:
        """Create every proxy, disabled, with its chain of toxics, and read everything back. Raise ToxiproxyError if
        anything differs.
        """
        wrong = [sentence for spec in specs for sentence in problems(spec.link)]
        if wrong:
            raise ToxiproxyError("; ".join(wrong))
        with _library(self.host, self.port) as library:
            for spec in specs:
                link, row = spec.link, spec.link.row_of_epoch[0]
                proxy = library.create(upstream=spec.upstream, name=link.name, listen=spec.listen, enabled=False)
                present = [toxic for toxic in link.toxics if not toxic.added or toxic.share(link.faults[row])]
                bodies = [stock.creation(toxic, toxic.share(link.faults[row])) for toxic in present]
                if link.framed:  # after what holds, before all others
                    attributes = {"key": link.key, "rows": link.rows, "tables": link.tables, "row": row}
                    attributes |= _recalled(link)
                    message = {
                        "name": TOXIC,
                        "type": TOXIC,
                        "stream": "upstream",
                        "toxicity": 1.0,
                        "attributes": attributes,
                    }
                    bodies.insert(sum(toxic.type == chain.HOLD for toxic in present), message)
                for body in bodies:
                    proxy.add_toxic(**body)
            proxies = library.proxies()
            for spec in specs:
                self._compare(spec, proxies.get(spec.link.name))

    def _compare(self, spec: ProxySpec, proxy: Any) -> None:
        name, link, row = spec.link.name, spec.link, spec.link.row_of_epoch[0]
        if proxy is None or (proxy.listen, proxy.upstream, proxy.enabled) != (spec.listen, spec.upstream, False):
            raise ToxiproxyError(f"the proxy {name} reads back otherwise than it was set")
        toxics = proxy.toxics()
        message = toxics.pop(TOXIC, None) if link.framed else None
        found = {key: stock.reading(vars(toxic)) for key, toxic in toxics.items()}
        if found != stock.readings(link, row):
            raise ToxiproxyError(f"a toxic of {name} reads back otherwise than it was set")
        if link.framed:
            self._compare_message(link, message)

    def _compare_message(self, link: Link, toxic: Any) -> None:
        name = link.name
        if toxic is None or (toxic.type, toxic.stream, toxic.toxicity) != (TOXIC, "upstream", 1):
            raise ToxiproxyError(f"the toxic of {name} reads back otherwise than it was set")
        expected = {
            "key": link.key,
            "row": link.row_of_epoch[0],
            "rows": [list(row) for row in link.rows],
            "table_count": len(link.tables),
            "extras": [list(extra) for extra in link.extras],
            "leaves": [[*row, *extra] for row, extra in link.leaves],
            "memory_words": link.memory_words,
        }
        absent = {"extras": [], "leaves": [], "memory_words": 0}  # left out where the link remembers nothing
        for key, value in expected.items():
            found = {**absent, **toxic.attributes}[key]
            if found != value:
                raise ToxiproxyError(f"the toxic of {name} reads back with {key} {found}, not {value}")

    async def plan(self, changes: Sequence[tuple[Link, int]], at_ns: int) -> None:
        """Tell our server ahead which links change at `at_ns` (CLOCK_MONOTONIC), so that all do at that very moment.
        Links of which more than the row changes are left to `switch`.
        """
        alone = [(link, row) for link, row in changes if link.framed and len(list(self._requests(link, row, ()))) == 1]
        batch = [
            Request("PATCH", _toxic_path(link.name), {"attributes": {"row": row, "at_ns": at_ns}})
            for link, row in alone
        ]
        answers, _ = await self._batch(batch) if batch else ([], None)
        for (link, row), answer in zip(alone, answers, strict=True):
            told = _field(answer, "attributes")
            if [row, at_ns] not in _field(told, "planned") and _field(told, "row") != row:
                raise ToxiproxyError(f"{link.name} did not take row {row} for later")
        self.planned |= {link.name: row for link, row in alone}

    async def switch(self, changes: Sequence[tuple[Link, int]], shut: Collection[str] = ()) -> Switch:
        """Put rows in force on many links with one write; when this returns they hold on all live connections.

        Links into the replicas in `shut`, which do not run, stay closed; those that were planned have changed by now.
        Raise ToxiproxyError unless every answer repeats what was asked for.
        """
        batch, asked = list[Request](), list[tuple[Link, str, Any]]()
        for link, row in changes:
            if self.planned.pop(link.name, None) == row:
                batch.append(Request("GET", _toxic_path(link.name)))
                asked.append((link, ROW, row))
                continue
            for request, field, value in self._requests(link, row, shut):
                batch.append(request)
                asked.append((link, field, value))
        answers, switch = await self._batch(batch)
        for (link, field, value), answer in zip(asked, answers, strict=True):
            found = _field(answer, *field.split(".")) if field else None
            if found != value:
                raise ToxiproxyError(f"{link.name} did not take {field.rpartition('.')[2]} {value}, but has {found}")
        self.in_force |= {link.name: row for link, row in changes}
        if not all(field == ROW for _, field, _ in asked):
            return switch
        # The server says itself when each row changed: the answers are later, by the time it takes to write them.
        moments = [int(_field(answer, "attributes", "switched_ns")) for answer in answers]
        is_ours = 0 < switch.finished_ns - min(moments, default=0) < OURS_NS and max(moments) <= switch.finished_ns
        return Switch(min(moments), max(moments)) if is_ours else switch

    def _requests(self, link: Link, row: int, shut: Collection[str]) -> Iterator[tuple[Request, str, Any]]:
        """Yield (request, field of the answer, value that it must have) for what a link must be told."""
        before = self.in_force.get(link.name, link.row_of_epoch[0])
        if link.framed:
            yield Request("PATCH", _toxic_path(link.name), {"attributes": {"row": row}}), ROW, row
        for toxic in link.toxics:
            was, becomes = toxic.share(link.faults[before]), toxic.share(link.faults[row])
            if was == becomes:
                continue
            path, toxicity = _toxic_path(link.name, toxic.name), becomes / chain.WHOLE_PPM
            if not toxic.added:
                yield Request("PATCH", path, {"toxicity": toxicity}), "toxicity", stock.as_read(becomes)
            elif becomes:
                yield Request("POST", path.rpartition("/")[0], stock.creation(toxic, becomes)), "type", toxic.type
            else:
                yield Request("DELETE", path), "", None
        if link.is_open(before) != link.is_open(row) and link.target not in shut:
            enabled = link.is_open(row)
            yield Request("PATCH", f"/proxies/{quote(link.name, safe='')}", {"enabled": enabled}), "enabled", enabled

    async def confirm(self, links: Sequence[Link]) -> None:
        """Read every link back. Raise ToxiproxyError unless each toxic is as its row in force says."""
        (answer,), _ = await self._batch([Request("GET", "/proxies")])
        for link in links:
            row = self.in_force.get(link.name, link.row_of_epoch[0])
            toxics = _field(answer, link.name, "toxics")
            found = {toxic.get("name"): toxic for toxic in toxics if isinstance(toxic, dict)}
            message = found.pop(TOXIC, None) if link.framed else None
            if link.framed and _field(message or {}, "attributes", "row") != row:
                raise ToxiproxyError(f"{link.name} reads back with another row than {row}")
            if {name: stock.reading(toxic) for name, toxic in found.items()} != stock.readings(link, row):
                raise ToxiproxyError(f"a toxic of {link.name} reads back otherwise than it was switched")

    async def traffic(self) -> dict[str, stock.Traffic]:
        """Return what a stock server has counted on each link so far."""
        try:
            done = await self.channel.exchange([Request("GET", "/metrics")])
        except ExchangeError as error:
            raise ToxiproxyError(str(error)) from error
        if done.replies[0].status != 200:
            raise ToxiproxyError(f"Toxiproxy answered /metrics with {done.replies[0].status}")
        return stock.parse_metrics(done.replies[0].body.decode(errors="replace"))

    async def enable(self, links: Sequence[Link], enabled: bool) -> Switch:
        """Open or close many proxies with one write; closing ends their connections and refuses new ones."""
        batch = [Request("PATCH", f"/proxies/{quote(link.name, safe='')}", {"enabled": enabled}) for link in links]
        answers, switch = await self._batch(batch)
        for link, answer in zip(links, answers, strict=True):
            if _field(answer, "enabled") is not enabled:
                raise ToxiproxyError(f"the proxy {link.name} did not become {'enabled' if enabled else 'disabled'}")
        return switch

    async def forget(self, links: Sequence[Link]) -> None:
        """Let links forget the messages that they have seen; those that remember nothing are not asked."""
        asked = [link for link in links if link.extras]
        batch = [
            Request("PATCH", _toxic_path(link.name), {"attributes": {"memory_words": link.memory_words}})
            for link in asked
        ]
        answers, _ = await self._batch(batch) if batch else ([], None)
        for link, answer in zip(asked, answers, strict=True):
            found = _field(answer, "attributes").get("memory_words", 0)
            if found != link.memory_words:
                raise ToxiproxyError(f"{link.name} did not take memory_words {link.memory_words}, but has {found}")

    async def remove(self, name: str) -> None:
        """Remove a proxy and its toxics."""
        await self._batch([Request("DELETE", f"/proxies/{quote(name, safe='')}")])

    async def states(self, links: Sequence[Link]) -> dict[str, ToxicState]:
        """Return every link's toxic as it is now."""
        answers, _ = await self._batch([Request("GET", _toxic_path(link.name)) for link in links])
        return {link.name: _state(link, answer) for link, answer in zip(links, answers, strict=True)}

    async def enabled(self) -> dict[str, bool]:
        """Return whether each proxy is enabled."""
        (answer,), _ = await self._batch([Request("GET", "/proxies")])
        return {name: _field(answer, name, "enabled") is True for name in answer}

    async def held(self) -> dict[str, int]:
        """Return the bytes that each link's toxics have held (our own server), by `LINK/TOXIC`."""
        (answer,), _ = await self._batch([Request("GET", "/proxies")])
        found = {}
        for name, proxy in answer.items():
            for toxic in _field(proxy, "toxics"):
                if toxic.get("type") == chain.HOLD:
                    found[f"{name}/{toxic['name']}"] = int(_field(toxic, "attributes", "held_bytes"))
        return found

    async def version(self) -> str:
        """Return the server's version. Raise ToxiproxyError if it does not answer."""
        (answer,), _ = await self._batch([Request("GET", "/version")])
        return str(answer.get("version", ""))

    def close(self) -> None:
        """Close the connection."""
        self.channel.close()

    async def _batch(self, batch: Sequence[Request]) -> tuple[list[dict[str, Any]], Switch]:
        try:
            done = await self.channel.exchange(batch)
            for request, reply in zip(batch, done.replies, strict=True):
                if reply.status != (204 if request.method == "DELETE" else 200):
                    raise ToxiproxyError(f"Toxiproxy answered {request.path} with {reply.status}: {reply.excerpt()!r}")
            return [reply.json() if reply.status != 204 else {} for reply in done.replies], Switch(
                done.started_ns, done.finished_ns
            )
        except ExchangeError as error:
            raise ToxiproxyError(str(error)) from error


def _toxic_path(name: str, toxic: str = TOXIC) -> str:
    return f"/proxies/{quote(name, safe='')}/toxics/{toxic}"


def _field(answer: Mapping[str, Any], *path: str) -> Any:
    value: Any = answer
    for name in path:
        if not isinstance(value, dict) or name not in value:
            raise ToxiproxyError(f"Toxiproxy's answer lacks {'.'.join(path)}")
        value = value[name]
    return value


def _state(link: Link, answer: Mapping[str, Any]) -> ToxicState:
    attributes = _field(answer, "attributes")
    try:
        named = [dict(zip(attributes["count_columns"], row, strict=True)) for row in attributes["counts"]]
        rows = tuple(RowCounts(**{name: int(row[name]) for name in RowCounts.__slots__}) for row in named)
        others = {name: int(attributes[name]) for name in ("connections", "malformed", "queued", "queue_dropped")}
        state = ToxicState(row=int(attributes["row"]), rows=rows, **others)
    except (KeyError, TypeError, ValueError) as error:
        raise ToxiproxyError(f"the counts of {link.name} have another form than expected: {error!r}") from error
    if len(rows) != len(link.rows):
        raise ToxiproxyError(f"{link.name} counts {len(rows)} rows, not {len(link.rows)}")
    return state
