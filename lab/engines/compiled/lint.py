"""What a transition may contain, and the one-line errors for everything else."""

from __future__ import annotations

import ast
from dataclasses import dataclass

STATEMENTS = (
    ast.Assign, ast.AugAssign, ast.If, ast.While, ast.For, ast.Return, ast.Expr, ast.Pass, ast.Break, ast.Continue,
)  # fmt: skip
EXPRESSIONS = (
    ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.Attribute, ast.Subscript, ast.Name,
    ast.Constant,
)  # fmt: skip
OPERATORS = (
    ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.LShift, ast.RShift, ast.BitAnd, ast.BitOr, ast.BitXor,
    ast.USub, ast.UAdd, ast.Invert, ast.Not, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.And, ast.Or,
)  # fmt: skip
BUILTINS = ("range", "min", "max", "abs")
WORD_MIN = -(1 << 63)
WORD_MAX = (1 << 63) - 1

# What is refused by name, so that the error says what to write instead.
REFUSED: dict[type[ast.AST], str] = {
    ast.Dict: "a dict: declare a vector over a dimension",
    ast.DictComp: "a dict: declare a vector over a dimension",
    ast.Set: "a set: use the bits of an integer",
    ast.SetComp: "a set: use the bits of an integer",
    ast.List: "a list: declare a vector over a dimension",
    ast.ListComp: "a list: declare a vector over a dimension",
    ast.GeneratorExp: "a generator: write a loop",
    ast.Tuple: "a tuple: assign one name after the other",
    ast.JoinedStr: "text: transitions hold integers only",
    ast.Lambda: "a function inside a transition: write a method",
    ast.FunctionDef: "a function inside a transition: write a method",
    ast.Try: "an exception handler: transitions cannot fail",
    ast.Raise: "an exception: transitions cannot fail",
    ast.Assert: "an assertion: transitions cannot fail; count it with ctx.count",
    ast.With: "a with block: transitions hold no resources",
    ast.Yield: "a generator: use ctx.timer and timer kinds",
    ast.Await: "await: use ctx.timer and timer kinds",
    ast.Import: "an import: import at the top of the module",
    ast.ImportFrom: "an import: import at the top of the module",
    ast.Delete: "del: set fields to 0",
    ast.Global: "a global: declare a field",
    ast.NamedExpr: "an assignment inside an expression: write it before",
    ast.Starred: "a starred argument: name every argument",
    ast.Slice: "a slice: index one element",
    ast.Match: "match: write if and elif",
    ast.Div: "/ makes a floating-point number: use // ",
    ast.Pow: "** may leave 64 bits: multiply or shift",
    ast.MatMult: "@: transitions hold integers only",
    ast.Is: "is: compare integers with ==",
    ast.IsNot: "is not: compare integers with !=",
    ast.In: "in: compare integers",
    ast.NotIn: "not in: compare integers",
}


class LiftError(Exception):
    """A protocol that cannot be compiled; the text is one line `file:line: what is wrong and what to write`."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where an author's code stands."""

    file: str

    def error(self, node: ast.AST, text: str) -> LiftError:
        """Return the error for a node of the file."""
        return LiftError(f"{self.file}:{getattr(node, 'lineno', 0)}: {text}")


def check_constant(place: Place, node: ast.Constant) -> None:
    """Refuse everything but integers of 64 bits and booleans."""
    value = node.value
    if isinstance(value, bool):
        return
    if isinstance(value, float):
        raise place.error(node, f"floating-point literal {value!r}: use integer nanoseconds or millionths")
    if not isinstance(value, int):
        raise place.error(node, f"{value!r} is not an integer: transitions hold integers only")
    if value > WORD_MAX:
        raise place.error(node, f"{value} is over 64 bits")


def check_node(place: Place, node: ast.AST) -> None:
    """Refuse a node that no transition may contain."""
    if isinstance(node, ast.Constant):
        check_constant(place, node)
    for kind, sentence in REFUSED.items():
        if isinstance(node, kind):
            raise place.error(node, sentence.rstrip())
    if not isinstance(node, STATEMENTS + EXPRESSIONS + OPERATORS + (ast.expr_context, ast.keyword)):
        raise place.error(node, f"{type(node).__name__} is not allowed in a transition")


def check_body(place: Place, function: ast.FunctionDef) -> None:
    """Refuse what no transition may contain, wherever it stands in a method."""
    statements = function.body[1:] if ast.get_docstring(function) else function.body
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, (ast.BinOp, ast.UnaryOp, ast.AugAssign)):
                _check_operator(place, node, node.op)
            elif isinstance(node, ast.Compare):
                for operator in node.ops:
                    _check_operator(place, node, operator)
            elif isinstance(node, (ast.operator, ast.cmpop, ast.unaryop, ast.boolop)):
                continue
            check_node(place, node)
    _check_returns(place, function)


def _check_operator(place: Place, node: ast.AST, operator: ast.AST) -> None:
    for kind, sentence in REFUSED.items():
        if isinstance(operator, kind):
            raise place.error(node, sentence.rstrip())


def _check_returns(place: Place, function: ast.FunctionDef) -> None:
    """Refuse a method that returns a number on some paths alone: compiled code has one kind of answer."""
    returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
    with_value = [node for node in returns if node.value is not None]
    if not with_value:
        return
    for node in returns:
        if node.value is None:
            raise place.error(node, f"{function.name} returns a number elsewhere: return one here too")
    if not _always_returns(function.body):
        raise place.error(function.body[-1], f"{function.name} returns a number elsewhere: return one at its end too")


def _always_returns(body: list[ast.stmt]) -> bool:
    for statement in body:
        if isinstance(statement, ast.Return):
            return True
        if isinstance(statement, ast.If) and _always_returns(statement.body) and _always_returns(statement.orelse):
            return True
        if isinstance(statement, ast.While) and isinstance(statement.test, ast.Constant) and statement.test.value:
            return not any(isinstance(node, ast.Break) for node in ast.walk(statement))
    return False


def assigned_before_use(place: Place, function: ast.FunctionDef) -> None:
    """Refuse a local name that may be read before it was assigned: compiled code would read whatever is there."""
    known = {argument.arg for argument in function.args.args}
    local = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    _flow(place, function.body, known, local)


def _flow(place: Place, body: list[ast.stmt], known: set[str], local: set[str]) -> set[str] | None:
    """Return the names that are assigned behind `body`, None if nothing is behind it."""
    for statement in body:
        if isinstance(statement, ast.If):
            _reads(place, statement.test, known, local)
            branches = [_flow(place, part, set(known), local) for part in (statement.body, statement.orelse)]
            reached = [names for names in branches if names is not None]
            if not reached:
                return None
            known = set.intersection(*reached)
        elif isinstance(statement, (ast.While, ast.For)):
            _reads(place, statement.test if isinstance(statement, ast.While) else statement.iter, known, local)
            inner = set(known)
            if isinstance(statement, ast.For) and isinstance(statement.target, ast.Name):
                inner.add(statement.target.id)
            _flow(place, statement.body, inner, local)
        elif isinstance(statement, (ast.Break, ast.Continue, ast.Return)):
            _reads(place, statement, known, local)
            return None
        else:
            _reads(place, statement, known, local)
            if isinstance(statement, ast.Assign):
                known |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return known


def _reads(place: Place, node: ast.AST, known: set[str], local: set[str]) -> None:
    for part in ast.walk(node):
        if not isinstance(part, ast.Name) or part.id in known or part.id not in local:
            continue
        if isinstance(part.ctx, ast.Load) or isinstance(node, ast.AugAssign):
            raise place.error(part, f"{part.id} may be used before it is assigned")
