"""YAML as a tree in which every key and value knows its offset.

The tree is built from parser events, so limits hold before anything is expanded: an alias shares its anchor's node, and
sizes and depths are counted as if it were copied. Plain scalars are read by the YAML 1.2 core schema, which knows no
dates, no `yes`/`no` and no numbers in base 60.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from lab.core.units import shown
from lab.spec.errors import Path, SpecError, SpecErrors, printable
from lab.spec.source import Source, whole
from lab.spec.syntax import syntax_error

DEPTH_MAX = 64
WRITTEN_MAX = 20_000  # keys and values as written; an experiment has a few hundred
EXPANDED_MAX = 100_000  # keys and values after every alias is replaced by what it stands for
_DIGITS_MAX = 18

_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


@dataclass(slots=True, eq=False)
class Node:
    """A value: a scalar, a list of nodes, or a mapping from key texts to (offset of the key, node).

    `size` and `height` count this node and everything below it, aliases expanded. `damaged` marks a node about which
    an error is already recorded, so that nothing more is said about it. `written` is whether any text stands there.
    """

    start: int
    value: Any
    size: int = 1
    height: int = 1
    damaged: bool = False
    written: bool = True

    @property
    def entries(self) -> dict[str, tuple[int, Node]]:
        """The entries if this is a mapping, else nothing."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Node]:
        """The items if this is a list, else nothing."""
        return self.value if isinstance(self.value, list) else []


def plain_value(text: str) -> Any:
    """Return what a plain scalar means in YAML 1.2; raise ValueError with the fix where that would surprise."""
    if text in _WORDS:
        return _WORDS[text]
    digits = text.lstrip("+-")
    if _INTEGER.fullmatch(text):
        if len(digits) > 1 and digits.startswith("0"):
            bare = digits.lstrip("0") or "0"
            raise ValueError(f"{shown(text)[1:-1]} begins with 0, which some YAML readers take for octal; write {bare}")
        if len(digits) > _DIGITS_MAX:
            raise ValueError(f"a number of {len(digits)} digits is too large; write at most {_DIGITS_MAX} digits")
        return int(text)
    if _BASED.fullmatch(text) and len(text) <= _DIGITS_MAX:
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def to_python(node: Node) -> Any:
    """Return plain Python data. Aliased parts are shared, not copied; the depth is bounded, so this may recurse."""
    made: dict[int, Any] = {}

    def build(part: Node) -> Any:
        if id(part) not in made:
            if isinstance(part.value, dict):
                made[id(part)] = {key: build(child) for key, (_, child) in part.value.items()}
            elif isinstance(part.value, list):
                made[id(part)] = [build(child) for child in part.value]
            else:
                made[id(part)] = part.value
        return made[id(part)]

    return build(node)


class _Stop(Exception):
    """Reading cannot go on: the errors so far are all there are."""


@dataclass(slots=True, eq=False)
class _Frame:
    """A collection that is being read. `key` is the key whose value comes next; DROPPED if that value is not kept."""

    node: Node
    anchor: str | None
    flow: bool
    depth: int
    is_key: bool = False
    key: tuple[str, int] | None = None
    drop: bool = False
    skip_until: int = 0


@dataclass(slots=True)
class _Reader:
    """Builds the tree from events; one method a kind of event."""

    source: Source
    errors: list[SpecError] = field(default_factory=list)
    stack: list[_Frame] = field(default_factory=list)
    anchors: dict[str, Node | None] = field(default_factory=dict)
    root: Node | None = None
    documents: int = 0
    written: int = 0
    expanded: int = 0

    def read(self) -> Node:
        """Return the document's root; raise _Stop when a fatal error has been recorded."""
        offset = 0
        try:
            for event in YAML(typ="safe", pure=True).parse(self.source.text):
                offset = event.start_mark.index
                self._event(event, offset)
        except _Stop:
            raise
        except MarkedYAMLError as error:
            self._fail(*syntax_error(error, self.source, offset))
        except Exception as error:  # the parser is not ours: whatever it trips over is an error in the file
            reason = printable(str(error).splitlines()[0][:120]) if str(error) else type(error).__name__
            self._fail(offset, f"this cannot be read as YAML ({reason})")
        if self.root is None:
            raise whole(self.source.name, "the file is empty; an experiment has at least title, system and workload")
        return self.root

    def _event(self, event: Any, offset: int) -> None:
        if isinstance(event, DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self._fail(offset, "a second document begins here; write one experiment a file")
        elif isinstance(event, AliasEvent):
            self._alias(event, offset)
        elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            self._close()
        elif isinstance(event, NodeEvent):
            self._count(1, offset)
            damaged = self._tagged(event, offset)
            if isinstance(event, (MappingStartEvent, SequenceStartEvent)):
                self._open(event, offset, damaged)
            elif isinstance(event, ScalarEvent):
                self._scalar(event, offset, damaged)

    def _count(self, expanded: int, offset: int) -> None:
        self.written += 1
        self.expanded += expanded
        if self.written > WRITTEN_MAX:
            self._fail(offset, f"the file writes more than {WRITTEN_MAX:,} keys and values; split the experiment")
        if self.expanded > EXPANDED_MAX:
            message = f"the file has more than {EXPANDED_MAX:,} nodes after expanding aliases; write fewer aliases"
            self._fail(offset, message)

    def _tagged(self, event: Any, offset: int) -> bool:
        if not event.tag:
            return False
        tag = shown(str(event.tag).replace("tag:yaml.org,2002:", "!!", 1))[1:-1]
        self._note(offset, f"the tag {tag} is refused: experiment files hold plain values and run nothing; remove it")
        return True

    def _open(self, event: Any, offset: int, damaged: bool) -> None:
        depth = len(self.stack) + 1
        if depth > DEPTH_MAX:
            self._fail(offset, f"the file is nested deeper than {DEPTH_MAX} levels; flatten it")
        mapping = isinstance(event, MappingStartEvent)
        node = Node(offset, {} if mapping else [], damaged=damaged)
        frame = _Frame(node, event.anchor, bool(event.flow_style), depth)
        if self._expects_key():
            self._note(offset, "a list or mapping cannot be a key; keys are texts")
            frame.is_key = True
        if event.anchor:
            self.anchors[event.anchor] = None
        self.stack.append(frame)

    def _close(self) -> None:
        frame = self.stack.pop()
        if frame.anchor:
            self.anchors[frame.anchor] = frame.node
        if frame.is_key:
            self._drop_value()
        else:
            self._place(frame.node)

    def _alias(self, event: Any, offset: int) -> None:
        if event.anchor not in self.anchors:
            self._fail(offset, f"the alias *{shown(event.anchor)[1:-1]} has no anchor before it; write its value out")
        node = self.anchors[event.anchor]
        if node is None:
            name = shown(event.anchor)[1:-1]
            self._fail(offset, f"the alias *{name} stands inside what it names; write its value out")
        self._count(node.size, offset)
        if len(self.stack) + node.height > DEPTH_MAX:
            self._fail(offset, f"with this alias the file is nested deeper than {DEPTH_MAX} levels; flatten it")
        if self._expects_key():
            self._note(offset, "an alias cannot be a key; write the key out")
            self._drop_value()
        else:
            self._place(node)

    def _scalar(self, event: Any, offset: int, damaged: bool) -> None:
        frame = self.stack[-1] if self.stack else None
        if frame and offset < frame.skip_until:
            # The rest of a text that a comma cut in two; the error is recorded where the text begins.
            if self._expects_key():
                self._drop_value()
            elif isinstance(frame.node.value, dict):
                self._place(Node(offset, None))
            return
        if self._expects_key():
            self._key(event.value, offset)
            return
        plain = not event.style
        node = Node(offset, event.value, damaged=damaged, written=not plain or bool(event.value))
        if plain and frame and frame.flow and self._cut_at_comma(event, node, frame):
            node.damaged = False
        elif plain:
            try:
                node.value = plain_value(event.value)
            except ValueError as error:
                self._note(offset, str(error))
                node.damaged = True
        if event.anchor:
            self.anchors[event.anchor] = node
        self._place(node)

    def _cut_at_comma(self, event: Any, node: Node, frame: _Frame) -> bool:
        """Read `lognormal(median=20ms, p99=60ms)` inside braces as meant, and say that it needs quotes."""
        if event.value.count("(") <= event.value.count(")"):
            return False
        text, end = self.source.text, event.end_mark.index
        line_end = text.find("\n", node.start)
        close = text.find(")", end, line_end if line_end >= 0 else len(text))
        if not text[end:].lstrip(" ").startswith(",") or close < 0:
            return False
        node.value = text[node.start : close + 1]
        frame.skip_until = close + 1
        self._note(node.start, f"a comma ends a text inside {{ }} and [ ]; put it in quotes: {shown(node.value)}")
        return True

    def _key(self, text: str, offset: int) -> None:
        frame = self.stack[-1]
        frame.key, frame.drop = (text, offset), False
        entries = frame.node.entries
        if text == "<<":
            self._note(offset, "merge keys are not read; write the keys out")
            frame.drop = True
        elif text in entries:
            first = self.source.line_of(entries[text][0])
            line = self.source.line_of(offset)
            name = shown(text)[1:-1]
            self._note(offset, f"the key {name} is on line {first} and again on line {line}; keep one of the two")
            frame.drop = True

    def _expects_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].node.value, dict) and self.stack[-1].key is None

    def _drop_value(self) -> None:
        self.stack[-1].key, self.stack[-1].drop = ("", 0), True

    def _place(self, node: Node) -> None:
        """Put a finished value where it belongs: the root, an item, or the value of the pending key."""
        if not self.stack:
            self.root = node
            return
        frame = self.stack[-1]
        parent = frame.node
        if isinstance(parent.value, list):
            parent.value.append(node)
        elif frame.key is not None:
            if not frame.drop:
                text, key_offset = frame.key
                parent.value[text] = (key_offset, node)
                parent.size += 1
            frame.key = None
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)

    def _path(self) -> Path:
        steps: list[str | int] = []
        for frame in self.stack:
            if isinstance(frame.node.value, list):
                steps.append(len(frame.node.value))
            elif frame.key is not None and frame.key[0]:
                steps.append(frame.key[0])
        return tuple(steps)

    def _note(self, offset: int, message: str) -> None:
        self.errors.append(self.source.error(offset, self._path(), message))

    def _fail(self, offset: int, message: str) -> NoReturn:
        self.errors.append(self.source.error(offset, (), message))
        raise _Stop


def read_nodes(source: Source) -> tuple[Node, list[SpecError]]:
    """Return the root and the errors that leave the rest readable; raise SpecErrors for the others."""
    reader = _Reader(source)
    try:
        return reader.read(), reader.errors
    except _Stop:
        raise SpecErrors(reader.errors) from None
