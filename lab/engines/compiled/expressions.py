"""One method of a protocol, lifted: every name, attribute and call is resolved or refused with the author's line."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from lab.core import budgets, rpc_state
from lab.engines.compiled.kernel import memory
from lab.engines.compiled.lint import BUILTINS
from lab.protocols.form import Field

if TYPE_CHECKING:
    from lab.engines.compiled.lift import Subject

CONTEXT_VALUES = {
    "me": "_me",
    "now": "_now",
    "clock": "clock_of(M, _me, _now)",
    "n": f"M[{memory.REPLICAS}]",
    "client": f"M[{memory.REPLICAS}]",
    "incarnation": "incarnation_of(M, _me)",
}
# Parameters of the calls of ctx in order, with defaults.
CONTEXT_CALLS: dict[str, tuple[tuple[str, int | None], ...]] = {
    "send": (("target", None), ("kind", None), ("a", 0), ("b", 0), ("c", 0), ("d", 0)),
    "timer": (("delay_ns", None), ("kind", None), ("a", 0), ("b", 0), ("c", 0), ("d", 0)),
    "rand": (("purpose", None),),
    "observe": (("what", None), ("a", 0), ("b", 0)),
    "count": (("counter", None), ("amount", 1)),
}
CALLS = (*budgets.LIFTED, *rpc_state.LIFTED)  # for protocols of remote calls
COPIED_MAX = 200  # nodes of syntax trees that inlining may copy
OWNS = {"replica": f"_me < M[{memory.REPLICAS}]", "leader": "_me == 0", "client": f"_me == M[{memory.REPLICAS}]"}
OWNER_NODE = {"leader": "0", "client": f"M[{memory.REPLICAS}]"}
RESERVED = frozenset(
    (
        "M", "self", "ctx", *BUILTINS, "mix", "scale", "below", "lookup", "backoff_ns",
        *(function.__name__ for function in CALLS),
        "inside", "same_node", "floor_divide", "modulo", "shift_left", "shift_right",
        "emit_send", "emit_timer", "emit_fact", "add_count", "draw_of", "incarnation_of", "clock_of",
    )
)  # fmt: skip


def _parse(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


class MethodLifter(ast.NodeTransformer):
    """Turn one checked method into a function over the block."""

    def __init__(self, subject: Subject, method: ast.FunctionDef, is_handler: bool) -> None:
        self.subject = subject
        self.method = method
        self.is_handler = is_handler
        self.arguments = [argument.arg for argument in method.args.args[1:]]
        self.context = self.arguments[0] if self.arguments and self._takes_context() else ""
        self.local = {
            node.id for node in ast.walk(method) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        } | set(self.arguments)

    def _takes_context(self) -> bool:
        return self.is_handler or self.arguments[0] == "ctx"

    def error(self, node: ast.AST, text: str) -> Exception:
        """Return the author's error."""
        return self.subject.place.error(node, text)

    def text(self) -> str:
        """Return the lifted function's source."""
        for name in sorted(self.local - {self.context}):
            if name in RESERVED or name.startswith(("_", "K_", "do_")):
                raise self.error(self.method, f"{name} is a reserved name: choose another for it")
        own = [name for name in self.arguments if name != self.context]
        body: list[ast.stmt] = []
        for statement in self.method.body:
            is_docstring = statement is self.method.body[0] and ast.get_docstring(self.method)
            body.append(statement if is_docstring else self.visit(statement))
        arguments = ast.arguments(
            [], [ast.arg(name) for name in ("M", "_me", "_now", "_key", *own)], None, [], [], None, []
        )
        name = self.method.name if self.is_handler else f"do_{self.method.name}"
        function = ast.FunctionDef(name, arguments, body, [ast.Name(self._mark(), ast.Load())], None)
        return ast.unparse(ast.fix_missing_locations(function))

    def _mark(self) -> str:
        """Return how to compile the method: into its callers, unless the copies would be much code."""
        copies = self.subject.call_count(self.method.name) - 1
        size = sum(1 for _ in ast.walk(self.method))
        return "called" if not self.is_handler and copies * size > COPIED_MAX else "inlined"

    # Names and attributes

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id == "self" or (self.context and node.id == self.context):
            raise self.error(node, f"{node.id} cannot be kept or passed on")
        if node.id in self.local or isinstance(node.ctx, ast.Store):
            return node
        value = self.subject.namespace.get(node.id)
        if isinstance(value, int) and not isinstance(value, bool):
            self.subject.constants[node.id] = value
            return ast.Name(f"K_{node.id}", ast.Load())
        if node.id in self.subject.namespace:
            raise self.error(node, f"{node.id} is not an integer constant of the module")
        raise self.error(node, f"{node.id} is not known here: not a local name, not an integer constant of the module")

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        owner = node.value
        if isinstance(owner, ast.Name) and owner.id == "self":
            declared = self._field(node)
            if declared.size:
                raise self.error(node, f"self.{node.attr} is a vector: index it")
            return self._place(node, None)
        if isinstance(owner, ast.Name) and owner.id == self.context and self.context:
            if isinstance(node.ctx, ast.Store):
                raise self.error(node, f"ctx.{node.attr} cannot be assigned")
            if node.attr in CONTEXT_VALUES:
                return _parse(CONTEXT_VALUES[node.attr])
            known = ", ".join([*CONTEXT_VALUES, "p"])
            raise self.error(node, f"ctx.{node.attr} is not known (values: {known}; calls: {', '.join(CONTEXT_CALLS)})")
        inner = owner.value if isinstance(owner, ast.Attribute) else None
        if (
            isinstance(inner, ast.Name)
            and self.context
            and inner.id == self.context
            and getattr(owner, "attr", "") == "p"
        ):
            return self._parameter(node)
        raise self.error(node, f"{ast.unparse(node)} is not known here: only self, ctx and local names are")

    def _parameter(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.ctx, ast.Store):
            raise self.error(node, f"ctx.p.{node.attr} cannot be assigned")
        if node.attr not in self.subject.parameters:
            known = ", ".join(self.subject.parameters)
            raise self.error(node, f"ctx.p.{node.attr} is not a declared parameter (parameters: {known})")
        return _parse(f"M[P_{node.attr}]")

    def _field(self, node: ast.Attribute) -> Field:
        if node.attr not in self.subject.fields:
            known = ", ".join(self.subject.fields)
            raise self.error(node, f"self.{node.attr} is not a declared field (fields: {known})")
        return self.subject.fields[node.attr]

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        owner = node.value
        if not (isinstance(owner, ast.Attribute) and isinstance(owner.value, ast.Name) and owner.value.id == "self"):
            raise self.error(node, f"{ast.unparse(owner)} has no index: only vector fields have")
        if not self._field(owner).size:
            raise self.error(node, f"self.{owner.attr} is a scalar: it has no index")
        return self._place(owner, node.slice, node.ctx)

    def _place(self, node: ast.Attribute, index: ast.expr | None, ctx: ast.expr_context | None = None) -> ast.expr:
        """Return `M[...]` of a field: begin of the group, row of the node, element, position in the element."""
        group, position = self.subject.group_of[node.attr]
        base = f"M[{memory.GROUPS + group.number}]"
        if index is None:
            element = _parse(self._row(node, group.owner))
        else:
            size = f"M[{self.subject.dimensions[group.size]}]"
            # A node that does not own the field has none of its elements, so one check covers both.
            owned = f"{size} * ({OWNS[group.owner]})" if group.owner else size
            elsewhere = f", or on another node than the {group.owner}" if group.owner else ""
            site = self.subject.site(node, f"self.{node.attr}[{{value}}]: the index is out of range{elsewhere}")
            element = _call("inside", _parse("M"), self.visit(index), _parse(owned), ast.Constant(site))
            if group.owner in ("", "replica"):
                element = ast.BinOp(_parse(f"_me * {size}"), ast.Add(), element)
        width = len(group.names)
        place = element if width == 1 else ast.BinOp(element, ast.Mult(), ast.Constant(width))
        place = ast.BinOp(_parse(base), ast.Add(), place)
        if position:
            place = ast.BinOp(place, ast.Add(), ast.Constant(position))
        return ast.Subscript(ast.Name("M", ast.Load()), place, ctx or node.ctx)

    def _row(self, node: ast.Attribute, owner: str) -> str:
        """Return the text of the row of a scalar field, checked where only some nodes have it."""
        if not owner:
            return "_me"
        site = self.subject.site(node, f"self.{node.attr} is a field of the {owner}, read on node {{value}}")
        if owner == "replica":
            return f"inside(M, _me, M[{memory.REPLICAS}], {site})"
        return f"same_node(M, _me, {OWNER_NODE[owner]}, {site})"

    # Calls

    def visit_Call(self, node: ast.Call) -> ast.expr:
        function = node.func
        if isinstance(function, ast.Name):
            return self._plain_call(node, function.id)
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            if function.value.id == "self":
                return self._method_call(node, function.attr)
            if self.context and function.value.id == self.context:
                return self._context_call(node, function.attr)
        raise self.error(node, f"{ast.unparse(function)}() cannot be called in a transition")

    def _plain_call(self, node: ast.Call, name: str) -> ast.expr:
        if name in BUILTINS and name not in self.local:
            if name == "range":
                raise self.error(node, "range() stands in a for loop only")
            if node.keywords or (name != "abs" and len(node.args) < 2):
                raise self.error(node, f"{name}() takes numbers here, two or more of them")
            return _call(name, *[self.visit(argument) for argument in node.args])
        value = self.subject.namespace.get(name)
        if name in self.local or not callable(value) or value not in self.subject.library:
            listed = [text for function, text in self.subject.library.items() if function not in CALLS]
            known = ", ".join([*BUILTINS, *listed]) + " and those of lab.core.budgets and lab.core.rpc_state"
            raise self.error(
                node, f"{name}() cannot be called in a transition (functions: {known}; methods: self.NAME)"
            )
        if node.keywords:
            raise self.error(node, f"{name}(): give the arguments in order, without names")
        return _call(self.subject.library[value], *[self.visit(argument) for argument in node.args])

    def _method_call(self, node: ast.Call, name: str) -> ast.expr:
        method = self.subject.methods.get(name)
        if method is None or (
            name.startswith("on_") and name in ("on_start", "on_timer", "on_message", "on_operation", "on_set")
        ):
            known = ", ".join(other for other in self.subject.methods if not other.startswith("on_"))
            raise self.error(node, f"self.{name}() is not a helper method of the class (helpers: {known})")
        parameters = [argument.arg for argument in method.args.args[1:]]
        given = list(node.args)
        if parameters and parameters[0] == "ctx":
            first = given.pop(0) if given else None
            if not (isinstance(first, ast.Name) and first.id == self.context and self.context):
                raise self.error(node, f"self.{name}(): the first argument must be ctx")
            parameters.pop(0)
        defaults = self._defaults(method, parameters)
        bound = self._bind(node, f"self.{name}", [(name, defaults.get(name)) for name in parameters], given)
        return _call(f"do_{name}", *[_parse(text) for text in ("M", "_me", "_now", "_key")], *bound)

    def _defaults(self, method: ast.FunctionDef, parameters: list[str]) -> dict[str, int | None]:
        values: dict[str, int | None] = {}
        for name, default in zip(reversed(parameters), reversed(method.args.defaults), strict=False):
            if not isinstance(default, ast.Constant) or not isinstance(default.value, int):
                raise self.error(default, f"{method.name}: a default must be an integer literal")
            values[name] = default.value
        return values

    def _context_call(self, node: ast.Call, name: str) -> ast.expr:
        if name not in CONTEXT_CALLS:
            raise self.error(node, f"ctx.{name}() is not known (calls: {', '.join(CONTEXT_CALLS)})")
        bound = self._bind(node, f"ctx.{name}", CONTEXT_CALLS[name], node.args)
        block = _parse("M")
        if name == "rand":
            return _call("draw_of", _parse("_key"), *bound)
        if name == "observe":
            return _call("emit_fact", block, _parse("_now"), _parse("_me"), *bound)
        if name == "count":
            site = self.subject.site(node, f"counter {{value}} is not one of the {len(self.subject.counters)} counters")
            return _call("add_count", block, *bound, ast.Constant(site))
        if name == "timer":
            site = self.subject.site(node, "ctx.timer: {value} is not a delay or kind")
            return _call("emit_timer", block, _parse("_me"), *bound, ast.Constant(site))
        site = self.subject.site(node, "ctx.send: {value} is not a node or message kind")
        return _call("emit_send", block, *bound, ast.Constant(site))

    def _bind(
        self, node: ast.Call, name: str, parameters: tuple[tuple[str, int | None], ...] | list[tuple[str, int | None]],
        given: list[ast.expr],
    ) -> list[ast.expr]:  # fmt: skip
        """Return the call's arguments in order of the parameters, defaults filled in."""
        if len(given) > len(parameters):
            raise self.error(node, f"{name}() takes {len(parameters)} arguments, here {len(given)}")
        by_name = {keyword.arg: keyword.value for keyword in node.keywords}
        bound: list[ast.expr] = []
        for index, (parameter, default) in enumerate(parameters):
            if index < len(given):
                bound.append(self.visit(given[index]))
            elif parameter in by_name:
                bound.append(self.visit(by_name.pop(parameter)))
            elif default is not None:
                bound.append(ast.Constant(default))
            else:
                raise self.error(node, f"{name}(): {parameter} is missing")
        if by_name:
            raise self.error(node, f"{name}() has no argument {next(iter(by_name))}")
        return bound

    # Statements and operators

    def visit_For(self, node: ast.For) -> ast.For:
        loop = node.iter
        is_range = isinstance(loop, ast.Call) and isinstance(loop.func, ast.Name) and loop.func.id == "range"
        if not is_range or not isinstance(node.target, ast.Name):
            raise self.error(node, "a for loop goes over range() with one name")
        assert isinstance(loop, ast.Call)
        if node.orelse:
            raise self.error(node, "for ... else: write the condition out")
        if loop.keywords or not 1 <= len(loop.args) <= 3:
            raise self.error(node, "range() takes one to three numbers")
        node.iter = _call("range", *[self.visit(argument) for argument in loop.args])
        node.body = [self.visit(statement) for statement in node.body]
        return node

    def visit_While(self, node: ast.While) -> ast.While:
        if node.orelse:
            raise self.error(node, "while ... else: write the condition out")
        self.generic_visit(node)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        if len(node.targets) != 1:
            raise self.error(node, "a = b = …: assign one name after the other")
        node.value = self.visit(node.value)
        node.targets = [self.visit(node.targets[0])]
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        if isinstance(node.op, (ast.FloorDiv, ast.Mod, ast.LShift, ast.RShift)):
            if not isinstance(node.target, ast.Name):
                raise self.error(node, "write this assignment out: target = target … value")
            read = ast.copy_location(ast.Name(node.target.id, ast.Load()), node)
            value = ast.copy_location(ast.BinOp(read, node.op, node.value), node)
            return ast.Assign([node.target], self.visit(value))
        node.value = self.visit(node.value)
        node.target = self.visit(node.target)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        left, right = self.visit(node.left), self.visit(node.right)
        literal = node.right.value if isinstance(node.right, ast.Constant) else None
        names = {ast.FloorDiv: "floor_divide", ast.Mod: "modulo", ast.LShift: "shift_left", ast.RShift: "shift_right"}
        name = names.get(type(node.op))
        if name is None:
            return ast.BinOp(left, node.op, right)
        is_shift = name.startswith("shift")
        if isinstance(literal, int) and (0 <= literal < 63 if is_shift else literal > 0):
            return ast.BinOp(left, node.op, right)
        text = "shift by {value}: outside 0..62" if is_shift else "division by zero"
        return _call(name, _parse("M"), left, right, ast.Constant(self.subject.site(node, text)))
