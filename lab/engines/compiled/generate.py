"""The generated module of a protocol: written once, named by the hash of everything it consists of, compiled by Numba,
kept.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from lab.core import backoff, budgets, draws, fate, nodes, quantiles, rpc_state, stateful
from lab.engines.compiled.kernel import (
    admit,
    bursts,
    effects,
    entry,
    frugal,
    holding,
    loop,
    measures,
    memory,
    network,
    not_holding,
    primitives,
    queue,
    services,
    stateful_links,
    transmit,
    true_clocks,
    workload,
    wrong_clocks,
)
from lab.engines.compiled.lift import Lifted, lift
from lab.engines.compiled.lint import LiftError
from lab.engines.compiled.recall import compiling

SHARED: tuple[Callable[..., Any], ...] = (
    draws.below, draws.scale, quantiles.tail_lookup, quantiles.lookup, fate.copy_delay_ns, fate.fate,
    backoff.backoff_ns, *budgets.LIFTED, *rpc_state.LIFTED,
)  # fmt: skip
# For links that remember alone.
STATEFUL: tuple[Callable[..., Any], ...] = (
    stateful.leaf_of, stateful.departure_ns, stateful.chain_takes, stateful.is_corrupt, stateful.redial_ns,
    stateful.stream_start_ns, stateful.transmission_ns, stateful.arrival_ns, stateful.repeat_ns, stateful.give_up,
)  # fmt: skip
# For disturbed replicas alone, and for wrong clocks alone.
HOLDING: tuple[Callable[..., Any], ...] = (nodes.slowed_ns, nodes.committed_ns, nodes.is_kept)
CLOCKS: tuple[Callable[..., Any], ...] = (nodes.skew_ns,)
# Too seldom reached, or too long, to stand in every caller.
RARE = (quantiles.tail_lookup, rpc_state.exponential_ns, rpc_state.lognormal_ns, *STATEFUL)
BEFORE_PROTOCOL = (effects,)
Announce = Callable[[str], None] | None


@dataclass(frozen=True, slots=True)
class Options:
    """What a scenario needs beyond what every module has. Each is other code, so that no scenario pays for what it does
    not use: links that remember, replicas that differ in service, that faults disturb, or whose clocks are wrong.
    """

    remembers: bool = False
    services: bool = False
    holds: bool = False
    clocks: bool = False

    def before(self) -> tuple[ModuleType, ...]:
        """Return the kernel files before the protocol, in order."""
        return (*BEFORE_PROTOCOL, wrong_clocks if self.clocks else true_clocks)

    def parts(self) -> tuple[ModuleType, ...]:
        """Return the kernel files behind the protocol, in order."""
        links, service = stateful_links if self.remembers else transmit, services if self.services else admit
        hold = holding if self.holds else not_holding
        return (queue, bursts, links, network, workload, service, hold, loop, entry)

    def shared(self) -> tuple[Callable[..., Any], ...]:
        """Return the functions that interpreted and compiled runs share."""
        stateful_too = STATEFUL if self.remembers else ()
        return (*SHARED, *stateful_too, *(HOLDING if self.holds else ()), *(CLOCKS if self.clocks else ()))


PLAIN = Options()


@dataclass(frozen=True, slots=True)
class Compiled:
    """A protocol's module, ready to run."""

    lifted: Lifted
    module: ModuleType
    path: Path
    was_cached: bool


def cache_folder() -> Path:
    """Return where generated modules are kept: $DRIFTLAB_CACHE, or .lab/cache in the current folder."""
    return Path(os.environ.get("DRIFTLAB_CACHE") or Path(".lab") / "cache").absolute()


def _body(module: ModuleType) -> str:
    """Return a kernel file's text behind its imports."""
    source = inspect.getsource(module)
    last = 0
    for node in ast.parse(source).body:
        is_guard = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, (ast.ImportFrom, ast.Import)) or is_guard or is_docstring:
            last = node.end_lineno or last
    return "\n".join(source.splitlines()[last:]).strip("\n") + "\n"


def _outside_imports(*modules: ModuleType) -> str:
    """Return the import statements of kernel files for what is not of this package."""
    found = []
    for module in modules:
        for node in ast.parse(inspect.getsource(module)).body:
            owner = node.module if isinstance(node, ast.ImportFrom) else None
            if owner and owner != "__future__" and not owner.startswith("lab."):
                found.append(ast.unparse(node))
    return "\n".join(dict.fromkeys(found))


def _imported_constants(module: ModuleType) -> dict[str, int]:
    """Return the integers that a kernel file imports for its text."""
    found: dict[str, int] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not isinstance(node, ast.ImportFrom) or not node.module or not node.module.startswith("lab."):
            continue
        owner = importlib.import_module(node.module)
        for alias in node.names:
            value = getattr(owner, alias.name, None)
            if alias.name != "*" and isinstance(value, int):
                found[alias.asname or alias.name] = value
    return found


class _Stripper(ast.NodeTransformer):
    """Take annotations off a shared function and prefix the constants it reads."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.namespace = function.__globals__
        self.is_rare = function in RARE
        self.constants: dict[str, int] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        for argument in node.args.args:
            argument.annotation = None
        node.decorator_list = [ast.Name("called" if self.is_rare else "inlined", ast.Load())]
        self.generic_visit(node)
        return node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        value = self.namespace.get(node.id)
        if isinstance(value, int):
            self.constants[f"F_{node.id}"] = value
            return ast.Name(f"F_{node.id}", node.ctx)
        return node


def _shared(functions: tuple[Callable[..., Any], ...]) -> str:
    """Return the text of the functions that interpreted and compiled runs share."""
    constants: dict[str, int] = {}
    texts = []
    for function in functions:
        stripper = _Stripper(function)
        tree = stripper.visit(ast.parse(inspect.getsource(function)).body[0])
        for name, value in stripper.constants.items():
            if constants.setdefault(name, value) != value:
                raise LiftError(f"{function.__name__}: the constant {name[2:]} has two meanings in shared functions")
        texts.append(ast.unparse(ast.fix_missing_locations(tree)))
    return (
        "\n".join(f"{name} = {value}" for name, value in sorted(constants.items()))
        + "\n\n\n"
        + "\n\n\n".join(texts)
        + "\n"
    )


def _module(title: str, root: str, *middle: str) -> str:
    """Return a generated module that begins with what all have and holds what its entry `root` reaches."""
    pieces = [
        f'"""{title}. Generated: edits are lost."""\n\nfrom __future__ import annotations\n\n'
        f"{_outside_imports(frugal, primitives)}\n\nWords = Tables = Any\n",
        _body(frugal),
        _body(primitives),
        _body(memory),
        *middle,
    ]
    return _without_unused("\n\n".join(pieces), root)


def _constants(*parts: ModuleType) -> str:
    """Return the constants that kernel files import, as text."""
    constants: dict[str, int] = {}
    for part in parts:
        constants.update(_imported_constants(part))
    return "\n".join(f"{name} = {value}" for name, value in sorted(constants.items())) + "\n"


def module_text(lifted: Lifted, options: Options = PLAIN) -> str:
    """Return the generated module of a lifted protocol."""
    parameters = "\n".join(f"P_{name} = {memory.PARAMETERS + index}" for index, name in enumerate(lifted.parameters))
    return _module(
        f"{lifted.name} of {lifted.module}, compiled together with the engine",
        "run_chunk",
        _constants(*options.before(), *options.parts()),
        _shared(options.shared()),
        *[_body(part) for part in options.before()],
        f"# The protocol: {lifted.name} of {lifted.module}\n\n{parameters}\n{lifted.text}",
        *[_body(part) for part in options.parts()],
    )


def _without_unused(text: str, root: str) -> str:
    """Return the module without the functions that its entry does not reach: each would cost time to compile."""
    tree = ast.parse(text)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    reached: set[str] = set()
    waiting = [root, "inlined", "called", "entry", "_reached"]
    while waiting:
        name = waiting.pop()
        if name in functions and name not in reached:
            reached.add(name)
            waiting += [node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name)]
    lines = text.splitlines()
    for name, node in functions.items():
        if name not in reached:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            for number in range(first - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines)) + "\n"


def text_hash(text: str) -> str:
    """Return the name of a generated module: its text and what compiles it."""
    import llvmlite
    import numba
    from llvmlite import binding

    processor = f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"
    versions = f"{sys.version_info[:2]} {numba.__version__} {llvmlite.__version__} {processor}"
    return hashlib.sha256(f"{versions}\n{text}".encode()).hexdigest()[:20]


def _write_once(path: Path, text: str) -> None:
    """Write a file unless it is there; Numba's cache looks at its time, so it is never written again."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(name, path)


def _import(path: Path) -> ModuleType:
    name = f"driftlab_generated_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Numba looks a function's module up by name
    spec.loader.exec_module(module)
    return module


def _ready(folder: Path, title: str, text: str, root: str, announce: Announce) -> tuple[ModuleType, Path, bool]:
    """Return the module with that text, its path, and whether its machine code was on disk."""
    path = folder / f"{title.lower()}_{text_hash(text)}.py"
    was_cached = path.exists() and any(path.parent.glob(f"__pycache__/{path.stem}.{root}-*.nbi"))
    if not was_cached and announce is not None:
        announce(f"compiling {title} (once, some seconds)")
    _write_once(path, text)
    with compiling():
        return _import(path), path, was_cached


@lru_cache(maxsize=32)
def _load(cls: Any, folder: Path, announce: Announce, options: Options) -> Compiled:
    lifted = lift(cls)
    return Compiled(lifted, *_ready(folder, lifted.name, module_text(lifted, options), "run_chunk", announce))


@lru_cache(maxsize=4)
def _load_measures(folder: Path, announce: Announce) -> ModuleType:
    text = _module("The measures of a run", "measure_run", _constants(measures), _body(measures))
    return _ready(folder, "measures", text, "measure_run", announce)[0]


def load(cls: Any, announce: Announce = None, options: Options = PLAIN) -> Compiled:
    """Return a protocol's compiled module for scenarios that need these options; compile it (some seconds) unless it is
    on disk.

    Raise LiftError for a class that cannot be lifted. `announce` gets one sentence before a compilation.
    """
    return _load(cls, cache_folder(), announce, options)


def load_measures(announce: Announce = None) -> ModuleType:
    """Return the compiled module that measures runs, the same for every protocol."""
    return _load_measures(cache_folder(), announce)
