"""What the lifter refuses, with the author's file and line; what it generates; when it generates anew."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.engines import compiled, reference
from lab.engines.compiled import LiftError, generate
from lab.engines.compiled.kernel import queue
from lab.engines.compiled.lift import lift
from lab.engines.context import ProtocolMistake
from lab.engines.scenario import bare
from lab.protocols.changelog import Changelog
from lab.protocols.gossip import Gossip
from lab.protocols.mesh import Mesh
from tests.engines.worlds import MS

TEMPLATE = '''"""A protocol with one line to be judged."""

from __future__ import annotations

import random
from typing import ClassVar

from lab.core.draws import scale
from lab.protocols.form import Context, Vector, durable, protocol, volatile

NAME = "text"
TICK = 1


@protocol
class Judged:
    parameters: ClassVar[tuple[str, ...]] = ("period",)
    counters: ClassVar[tuple[str, ...]] = ("ticks",)
    kinds: ClassVar[dict[int, str]] = {1: "note"}
    timers: ClassVar[dict[int, str]] = {1: "tick"}
    settings: ClassVar[dict[str, dict[str, int]]] = {}

    hi: int = volatile()
    v: Vector[int] = durable("nodes")
    w: Vector[int] = durable("nodes", on="leader")

    def on_start(self, ctx: Context) -> None:
        ctx.timer(10, TICK)

    def on_timer(self, ctx: Context, kind: int, a: int, b: int, c: int, d: int) -> None:
        {line}

    def on_message(self, ctx: Context, source: int, kind: int, a: int, b: int, c: int, d: int) -> None:
        pass

    def on_operation(self, ctx: Context, token: int, key: int) -> None:
        pass

    def on_set(self, ctx: Context, setting: int, value: int) -> None:
        pass

    def helper(self, ctx: Context, x: int, row: int = 0) -> int:
        {helper}
'''
LINE = TEMPLATE[: TEMPLATE.index("{line}")].count("\n") + 1


def judged(folder: Path, line: str, helper: str = "return x") -> Any:
    """Return the class with `line` in its on_timer."""
    path = folder / "judged.py"
    text = TEMPLATE.replace("{line}", line.replace("\n", "\n        ")).replace("{helper}", helper)
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("judged", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["judged"] = module
    spec.loader.exec_module(module)
    return module.Judged


REFUSED = [
    ("self.hi = 1.5", "floating-point literal 1.5: use integer nanoseconds or millionths"),
    ("self.hi = a / 2", "/ makes a floating-point number: use //"),
    ("self.hi = a ** 2", "** may leave 64 bits: multiply or shift"),
    ("self.hii = a", "self.hii is not a declared field (fields: hi, v, w)"),
    ("x = self.hii", "self.hii is not a declared field (fields: hi, v, w)"),
    ("self.v = a", "self.v is a vector: index it"),
    ("self.hi[0] = a", "self.hi is a scalar: it has no index"),
    ("self.hi = random.random()", "random.random() cannot be called in a transition"),
    ("self.hi = len(a)", "len() cannot be called in a transition (functions: range, min, max, abs, mix, scale, below, "
     "lookup, backoff_ns and those of lab.core.budgets and lab.core.rpc_state; methods: self.NAME)"),
    ("self.hi = missing", "missing is not known here: not a local name, not an integer constant of the module"),
    ("self.hi = NAME", "NAME is not an integer constant of the module"),
    ("d = {}", "a dict: declare a vector over a dimension"),
    ("d = [a]", "a list: declare a vector over a dimension"),
    ("self.hi = 'text'", "'text' is not an integer: transitions hold integers only"),
    ("self.hi = 1 << 3 if a in b else 2", "in: compare integers"),
    ("self.hi = 9223372036854775808", "9223372036854775808 is over 64 bits"),
    ("x = f'{a}'", "text: transitions hold integers only"),
    ("try:\n    pass\nexcept ValueError:\n    pass", "an exception handler: transitions cannot fail"),
    ("ctx.shout(a)", "ctx.shout() is not known (calls: send, timer, rand, observe, count)"),
    ("self.hi = ctx.you", "ctx.you is not known (values: me, now, clock, n, client, incarnation, p; calls: send, "
     "timer, rand, observe, count)"),
    ("self.hi = ctx.p.perod", "ctx.p.perod is not a declared parameter (parameters: period)"),
    ("ctx.now = 3", "ctx.now cannot be assigned"),
    ("ctx.send(a)", "ctx.send(): kind is missing"),
    ("ctx.send(a, 1, 2, 3, 4, 5, 6)", "ctx.send() takes 6 arguments, here 7"),
    ("self.hi = self.helper(ctx)", "self.helper(): x is missing"),
    ("self.hi = self.halper(ctx, a)", "self.halper() is not a helper method of the class (helpers: helper)"),
    ("for x in self.v:\n    pass", "a for loop goes over range() with one name"),
    ("if a:\n    x = 1\nself.hi = x", "x may be used before it is assigned"),
    ("return a", None),
    ("x = y = a", "a = b = …: assign one name after the other"),
    ("M = a", "M is a reserved name: choose another for it"),
    ("other = ctx", "ctx cannot be kept or passed on"),
    ("lambda: a", "a function inside a transition: write a method"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "sentence"), REFUSED)
def test_mistakes_are_one_line_with_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, sentence: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    cls = judged(tmp_path, line)
    if sentence is None:
        assert lift(cls).name == "Judged"
        return
    with pytest.raises(LiftError) as caught:
        lift(cls)
    assert re.fullmatch(r"judged\.py:(\d+): (.*)", str(caught.value)), str(caught.value)
    number, text = re.fullmatch(r"judged\.py:(\d+): (.*)", str(caught.value)).groups()  # type: ignore[union-attr]
    assert text == sentence
    offset = 2 if "x may be" in sentence else 0
    reserved = "reserved" in sentence
    assert int(number) == LINE - 1 if reserved else LINE + offset


def test_recursion_and_half_answers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LiftError, match="helper calls itself, directly or through others: write a loop"):
        lift(judged(tmp_path, "pass", "return self.helper(ctx, x - 1)"))
    with pytest.raises(LiftError, match="helper returns a number elsewhere: return one at its end too"):
        lift(judged(tmp_path, "pass", "\n        ".join(["if x:", "    return 1"])))


RUNTIME = [
    ("self.v[a - 1] = 1", r"self\.v\[-1\]: the index is out of range"),
    ("self.v[ctx.n + 1] = 1", r"self\.v\[3\]: the index is out of range"),
    ("self.w[0] = 1", r"self\.w\[0\]: the index is out of range, or on another node than the leader"),
    ("ctx.send(ctx.n + 1, 1)", r"ctx\.send: 3 is not a node or message kind"),
    ("ctx.timer(-1, 1)", r"ctx\.timer: -1 is not a delay or kind"),
    ("ctx.count(1)", r"counter 1 is not one of the 1 counters"),
    ("self.hi = 5 // a", r"division by zero"),
    ("self.hi = 5 << (a + 63)", r"shift by 63: outside 0\.\.62"),
]


def test_mistakes_at_run_time_name_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one protocol, chosen by its parameter, so that it is compiled once."""
    monkeypatch.chdir(tmp_path)
    cls = judged(
        tmp_path, "\n".join(f"if ctx.p.period == {number}:\n    {line}" for number, (line, _) in enumerate(RUNTIME))
    )
    for number, (_, sentence) in enumerate(RUNTIME):
        world = bare(cls, {"period": number}, nodes=2, horizon_ns=1000)
        where = LINE + 1 + 2 * number
        with pytest.raises(ProtocolMistake, match=rf"^judged\.py:{where}: {sentence} \(seed 7, 10 ns\)$"):
            compiled.run(world, 7)


def test_strict_reference_refuses_negative_indices(tmp_path: Path) -> None:
    world = bare(judged(tmp_path, "self.v[a - 1] = 1"), {"period": 1}, nodes=2, horizon_ns=1000)
    with pytest.raises(IndexError, match="index -1 is negative"):
        reference.run(world, 7, strict=True)
    wide = bare(judged(tmp_path, "self.hi = (1 << 62) + (1 << 62)"), {"period": 1}, nodes=2, horizon_ns=1000)
    with pytest.raises(ProtocolMistake, match="is over 64 bits"):
        reference.run(wide, 7, strict=True)


def test_integers_agree_where_languages_differ(tmp_path: Path) -> None:
    """Floor division and remainder of negative numbers, shifts, wrap-around of the hash, min and max."""
    line = (
        "x = -7 - a\nself.hi = (x // 2) * 1000 + x % 5 + (x >> 1) + (x // (a - 3)) + (x % (a - 3)) + abs(x)\n"
        "self.v[ctx.me] = scale(ctx.rand(3), 1000) + min(x, self.hi, 4) + max(x, 2) + (x & 255) + (x ^ 9) + (~x | 1)\n"
        "ctx.send(0, 1, -9223372036854775807 - 1, x, 9223372036854775807, -1)"
    )
    world = bare(judged(tmp_path, line), {"period": 1}, nodes=3, horizon_ns=1000)
    states: list[dict[str, Any]] = [{}, {}]
    histories = [
        executor.run(world, 7, states=found)
        for executor, found in zip((reference, compiled), states, strict=True)  # type: ignore[attr-defined]
    ]
    assert states[0] == states[1]
    assert histories[0].digest() == histories[1].digest()


def test_the_loop_has_no_reference_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLAB_CACHE", str(tmp_path))  # machine code from disk cannot be inspected
    run_chunk = compiled.load(Mesh).module.run_chunk
    (signature,) = run_chunk.signatures
    functions = re.split(r"\n(?=define )", run_chunk.inspect_llvm(signature))
    # What remains are the wrappers that Python calls; they free exceptions.
    bodies = [text for text in functions if not re.match(r"define [^\n]*@\"?(_ZN7cpython|cfunc\.)", text)]
    assert sum(len(text) for text in bodies) > 100_000, "the loop is among them"
    assert not {name for text in bodies for name in re.findall(r"@(NRT_\w+)", text)}
    wrappers = [text for text in functions if text not in bodies]
    assert any("@NRT_" in text for text in wrappers), "the pattern would find them"


def test_an_edited_helper_makes_a_new_module(monkeypatch: pytest.MonkeyPatch) -> None:
    before = generate.module_text(lift(Gossip))
    source = generate._body(queue)
    edited = source.replace("EVENTS_A_DAY = 6", "EVENTS_A_DAY = 7")
    assert edited != source
    body = generate._body
    monkeypatch.setattr(generate, "_body", lambda module: edited if module is queue else body(module))
    after = generate.module_text(lift(Gossip))
    assert generate.text_hash(after) != generate.text_hash(before)


def test_generated_modules_are_readable_python() -> None:
    made = compiled.load(Changelog)
    text = made.path.read_text(encoding="utf-8")
    compile(text, str(made.path), "exec")
    assert "def do_on_attempt_timeout(M, _me, _now, _key, sequence, follower, attempt, wait_ns):" in text
    assert made.path.name == f"changelog_{generate.text_hash(text)}.py"


def test_operations_agree_with_the_workload_model() -> None:
    """The block's arithmetic for arrivals and skewed keys gives the very integers of `lab.model.workload`."""
    from tests.engines.worlds import scenario

    for arrivals in ("poisson(700/s)", "constant(333/s)"):
        for skew in ("uniform", "zipf(1.2)"):
            spikes = [{"at": "100ms", "for": "500ms", "rate": "900/s"}, {"at": "900ms", "for": "900ms", "rate": "77/s"}]
            workload = {"arrivals": arrivals, "duration": "1s", "keys": 97, "skew": skew, "spikes": spikes}
            world = scenario(workload=workload)
            operations = compiled.run(world, 11).operations
            expected = world.operations(11)
            assert operations.intended_ns.tolist() == [operation.at_ns for operation in expected]
            assert operations.key.tolist() == [operation.key for operation in expected]


def test_tiny_horizons_end(tmp_path: Path) -> None:
    world = bare(Gossip, {"updates": 1, "every_ns": MS, "period_ns": MS, "pull": 1}, nodes=3, horizon_ns=1)
    assert compiled.run(world, 1).digest() == reference.run(world, 1).digest()
