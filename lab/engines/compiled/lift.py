"""From a protocol class to functions over the block: the author's text, with fields, parameters and calls replaced.

In the lifted text the author's module constant NAME is `K_NAME`, the method `name` is `do_name` (handlers keep their
names), and `M, _me, _now, _key` stand for `self` and `ctx`.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from lab.core import backoff, budgets, draws, quantiles, rpc_state
from lab.engines.compiled.expressions import MethodLifter
from lab.engines.compiled.kernel import memory
from lab.engines.compiled.lint import LiftError, Place, assigned_before_use, check_body
from lab.protocols.form import Field

HANDLERS: dict[str, int] = {"on_start": 0, "on_timer": 5, "on_message": 6, "on_operation": 2, "on_set": 2}
DIMENSIONS = {
    "updates": memory.SIZE_UPDATES,
    "keys": memory.SIZE_KEYS,
    "nodes": memory.SIZE_NODES,
    "samples": memory.SIZE_SAMPLES,
}
LIBRARY: dict[Callable[..., Any], str] = {
    draws.mix: "mix",
    draws.scale: "scale",
    draws.below: "below",
    quantiles.lookup: "lookup",
    backoff.backoff_ns: "backoff_ns",
    **{function: function.__name__ for function in (*budgets.LIFTED, *rpc_state.LIFTED)},
}


@dataclass(frozen=True, slots=True)
class Group:
    """Fields of one owner and one dimension, side by side in each element; scalars have size ""."""

    number: int
    owner: str
    size: str
    names: tuple[str, ...]
    durable: tuple[bool, ...]

    def rows(self) -> str:
        """Return the text of how many nodes have these fields."""
        return {"": "M[8]", "replica": "M[9]"}.get(self.owner, "1")

    def elements(self) -> str:
        """Return the text of how many elements a node has."""
        return f"M[{DIMENSIONS[self.size]}]" if self.size else "1"


@dataclass(frozen=True, slots=True)
class Site:
    """Where in the author's file a check stands, and what it checks."""

    line: int
    text: str


@dataclass(slots=True)
class Lifted:
    """A protocol as functions over the block, and what its callers must know."""

    name: str
    module: str
    file: str
    text: str
    groups: tuple[Group, ...]
    sites: tuple[Site, ...]
    parameters: tuple[str, ...]
    counters: tuple[str, ...]


@dataclass(slots=True)
class Subject:
    """The class being lifted, as the expression lifter needs it."""

    place: Place
    namespace: Mapping[str, Any]
    fields: Mapping[str, Field]
    group_of: Mapping[str, tuple[Group, int]]
    methods: Mapping[str, ast.FunctionDef]
    parameters: tuple[str, ...]
    counters: tuple[str, ...]
    dimensions: Mapping[str, int]
    library: Mapping[Callable[..., Any], str]
    sites: list[Site] = field(default_factory=list)
    constants: dict[str, int] = field(default_factory=dict)

    def call_count(self, name: str) -> int:
        """Return in how many places a method is called."""
        return sum(
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name
            for method in self.methods.values()
            for node in ast.walk(method)
        )

    def site(self, node: ast.AST, text: str) -> int:
        """Number a check."""
        self.sites.append(Site(getattr(node, "lineno", 0), text))
        return len(self.sites) - 1


def shown_path(file: str) -> str:
    """Return a path as errors name it: relative to the current folder where that is shorter."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return file


def _class_node(cls: Any) -> tuple[str, ast.ClassDef]:
    file = inspect.getsourcefile(cls)
    if file is None:
        raise LiftError(f"{cls.__name__}: its source file is not there")
    line = inspect.getsourcelines(cls)[1]
    for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__ and abs(node.lineno - line) <= 3:
            return file, node
    raise LiftError(f"{file}:{line}: the class {cls.__name__} is not there")


def _groups(
    place: Place, node: ast.ClassDef, fields: Mapping[str, Field], parameters: Sequence[str]
) -> tuple[Group, ...]:
    order: dict[tuple[str, str], list[str]] = {}
    for name, declared in fields.items():
        if declared.size and declared.size not in DIMENSIONS:
            raise place.error(node, f"{name}: {declared.size!r} is no dimension (dimensions: {', '.join(DIMENSIONS)})")
        if declared.size == "samples" and "window" not in parameters:
            raise place.error(node, f"{name}: samples are nodes x the parameter window: declare that parameter")
        order.setdefault((declared.on, declared.size), []).append(name)
    if len(order) > memory.GROUPS_MAX:
        raise place.error(node, f"more than {memory.GROUPS_MAX} combinations of owner and dimension")
    return tuple(
        Group(number, owner, size, tuple(names), tuple(fields[name].durable for name in names))
        for number, ((owner, size), names) in enumerate(order.items())
    )


def _lay_out(groups: tuple[Group, ...]) -> str:
    lines = [
        "@inlined",
        "def lay_out(M):",
        '    """Place the state; return its words."""',
        f"    at = M[{memory.STATE_AT}]",
    ]
    if any(group.size == "samples" for group in groups):
        lines.append(f"    M[{memory.SIZE_SAMPLES}] = M[{memory.SIZE_NODES}] * M[P_window]")
    for group in groups:
        lines.append(f"    M[{memory.GROUPS + group.number}] = at  # {group.owner or 'all'}: {', '.join(group.names)}")
        lines.append(f"    at += {group.rows()} * {group.elements()} * {len(group.names)}")
    return "\n".join([*lines, f"    return at - M[{memory.STATE_AT}]"])


def _wipe(groups: tuple[Group, ...]) -> str:
    lines = [
        "@called",
        "def wipe(M, me, everything):",
        '    """Set a node\'s volatile fields to 0, or all its fields."""',
    ]
    condition = {"": "me < M[8]", "replica": "me < M[9]", "leader": "me == 0", "client": "me == M[9]"}
    for group in groups:
        row = "me" if group.owner in ("", "replica") else "0"
        kept = sum(1 << index for index, durable in enumerate(group.durable) if durable)
        begin = f"M[{memory.GROUPS + group.number}]"
        lines.append(f"    if {condition[group.owner]}:  # {', '.join(group.names)}")
        lines.append(
            f"        clear_fields(M, {begin}, {row}, {group.elements()}, {len(group.names)}, {kept}, everything)"
        )
    return "\n".join(lines)


def _check_signatures(place: Place, node: ast.ClassDef, methods: Mapping[str, ast.FunctionDef]) -> None:
    for name, count in HANDLERS.items():
        if name not in methods:
            raise place.error(node, f"{node.name} has no {name}")
        found = len(methods[name].args.args) - 2
        if found != count:
            raise place.error(methods[name], f"{name} takes self, ctx and {count} more, here {found} more")
    for method in methods.values():
        arguments = method.args
        if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs:
            raise place.error(method, f"{method.name}: name every argument, without *, ** or /")
        if not arguments.args or arguments.args[0].arg != "self":
            raise place.error(method, f"{method.name}: the first argument must be self")


def _order(place: Place, methods: Mapping[str, ast.FunctionDef]) -> list[str]:
    """Return the method names so that each comes after those it calls; refuse recursion."""
    done: list[str] = []
    open_names: list[str] = []

    def visit(name: str) -> None:
        if name in done:
            return
        if name in open_names:
            raise place.error(methods[name], f"{name} calls itself, directly or through others: write a loop")
        open_names.append(name)
        for part in ast.walk(methods[name]):
            if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
                owner = part.func.value
                if isinstance(owner, ast.Name) and owner.id == "self" and part.func.attr in methods:
                    visit(part.func.attr)
        open_names.pop()
        done.append(name)

    for name in methods:
        visit(name)
    return done


def lift(cls: Any) -> Lifted:
    """Return a protocol class as text over the block; raise LiftError with one line for what cannot be lifted."""
    file, node = _class_node(cls)
    place = Place(shown_path(file))
    module: ModuleType = sys.modules[cls.__module__]
    methods = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
    _check_signatures(place, node, methods)
    if len(cls.parameters) > memory.PARAMETERS_MAX:
        raise place.error(node, f"more than {memory.PARAMETERS_MAX} parameters")
    groups = _groups(place, node, cls.fields, cls.parameters)
    group_of = {name: (group, index) for group in groups for index, name in enumerate(group.names)}
    subject = Subject(
        place,
        vars(module),
        cls.fields,
        group_of,
        methods,
        tuple(cls.parameters),
        tuple(cls.counters),
        DIMENSIONS,
        LIBRARY,
    )
    texts = []
    for name in _order(place, methods):
        check_body(place, methods[name])
        assigned_before_use(place, methods[name])
        texts.append(MethodLifter(subject, methods[name], name in HANDLERS).text())
    constants = "\n".join(f"K_{name} = {value}" for name, value in sorted(subject.constants.items()))
    parts = [constants, _lay_out(groups), _wipe(groups), *texts]
    return Lifted(
        name=cls.__name__,
        module=cls.__module__,
        file=place.file,
        text="\n\n\n".join(parts) + "\n",
        groups=groups,
        sites=tuple(subject.sites),
        parameters=tuple(cls.parameters),
        counters=tuple(cls.counters),
    )
