"""Files that want to cost time, memory or secrets are answered quickly, and cheaply, and run nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from lab.spec.load import SpecErrors, load_experiment

from .helpers import SMALL, errors_of, load, message_of

MIB = 1 << 20
SECONDS_MAX = 5.0
ALIAS_BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 13)
)
BOMBS = {
    "aliases": (ALIAS_BOMB, "more than 100,000 nodes"),
    "lists": ("[" * 20_000, "deeper than 64"),
    "mappings": ("{a: " * 20_000, "deeper than 64"),
    "dashes": ("- " * 20_000, "deeper than 64"),
    "deep aliases": ("a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 90)), "deeper than 64"),
    "self": ("a: &a [*a]", "inside what it names"),
    "big": ("a" * (MIB + 1), "over 1 MiB"),
    "wide": ("[" + "1," * 30_000 + "]", "more than 20,000 keys and values"),
    "lines": ("\n" * MIB, "more than 20,000 lines"),
    "words": ("a " * (MIB // 2), "holds a single value"),
    "digits": (SMALL + "seeds: " + "9" * 900_000, "900000 digits"),
    "duration": (SMALL + "drain: " + "9" * 900_000 + "s", "too long for a duration"),
    "skew": (SMALL.replace("20s }", "20s, skew: zipf(" + "9" * 900_000 + ") }"), "not a skew"),
    "unknown keys": (SMALL + "".join(f"k{number}{'x' * 40}: 1\n" for number in range(9_000)), "unknown key"),
    "directive": ("%YAML 1." + "1" * 900_000 + "\n---\na: 1", "cannot be read as YAML"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_answered_in_time_and_memory(name: str) -> None:
    text, expected = BOMBS[name]
    started = time.process_time()
    errors = errors_of(text)
    spent = time.process_time() - started
    assert expected in errors.errors[0].message
    assert spent < SECONDS_MAX
    assert len(errors.errors) <= 100
    assert len(errors.render()) < 100_000


@pytest.mark.parametrize("name", ["aliases", "lists", "wide", "unknown keys"])
def test_bombs_take_little_memory(name: str) -> None:
    tracemalloc.start()
    try:
        errors_of(BOMBS[name][0])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * MIB


def test_control_modest_aliases_and_depth_are_read() -> None:
    text = SMALL + "network:\n  links:\n    default: &slow { delay: 5ms }\n    leader->f1: *slow\n"
    assert load(text).network.links["leader->f1"].delay == load(text).network.links["default"].delay
    deep = "[" * 60 + "]" * 60
    assert "deeper" not in errors_of(SMALL + f"extra: {deep}").render()


def test_a_file_of_fifty_mebibytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(50 * MIB)
    tracemalloc.start()
    try:
        with pytest.raises(SpecErrors, match="over 1 MiB"):
            load_experiment(path)
        assert tracemalloc.get_traced_memory()[1] < 10 * MIB
    finally:
        tracemalloc.stop()


def test_files_that_are_no_files(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, part in (
        (tmp_path / "absent.yaml", "does not exist"),
        (tmp_path, "this is a folder"),
        (fifo, "not an ordinary file"),
        (Path("a\0b"), "not a path"),
        (Path("x" * 5000), "cannot be read"),
    ):
        with pytest.raises(SpecErrors) as caught:
            load_experiment(path)
        (error,) = caught.value.errors
        assert part in error.message and error.line == 0


def test_bytes_that_are_no_text() -> None:
    assert message_of(b"title: \xff\n").startswith("the byte 0xff here is not UTF-8")
    assert errors_of(b"title: ab\nx: \xff\n").errors[0].line == 2
    assert message_of("title: x".encode("utf-16")).startswith("the byte 0xff here is not UTF-8")
    assert message_of(b"title: a\0b\n") == "a NUL byte is not allowed in YAML; remove it"
    assert message_of("title: \x1b[31m") == "the control character U+001B is not allowed in YAML; remove it"
    assert load(b"\xef\xbb\xbf" + SMALL.encode()).title == "small"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_places_hold_for_all_line_ends(newline: str) -> None:
    (error,) = errors_of((SMALL + "seeds: 0\n").replace("\n", newline)).errors
    assert (error.line, error.column, error.source_line) == (4, 8, "seeds: 0")


def test_errors_show_no_control_characters_and_keep_the_caret_in_place() -> None:
    rendered = errors_of(SMALL + '"\\e[2J\\u202e": 1\n').render()
    assert rendered.replace("\n", "").isprintable()
    wide = errors_of(SMALL + "question: {日本: 1}\nseeds: 0\n").errors[0]
    assert wide.render().splitlines()[2].index("^") == 4 + len("question: ")
    long = errors_of(SMALL + f"policy: {{ timeout: 5ms{' ' * 300}, bound: x }}").render().splitlines()
    assert max(map(len, long[1:])) <= 124 and long[1][long[2].index("^")] == "x"


def test_sample_files_stay_inside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    folder.mkdir()
    (tmp_path / "secret.csv").write_text("delay_ns\n1\n2\n")
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    (folder / "loop.csv").symlink_to(folder / "loop.csv")
    (folder / "good.csv").write_text("delay_ns\n1\n2\n")
    (folder / "inner.csv").symlink_to(folder / "good.csv")
    (folder / "few.csv").write_text("delay_ns\n1\n")
    (folder / "minus.csv").write_text("delay_ns\n1\n-2\n")
    (folder / "late.csv").write_text("delay_ns\n1\n999999999999\n")
    (folder / "nul.csv").write_bytes(b"delay_ns\n1\n\0\n")
    (folder / "latin.csv").write_bytes(b"delay_ns,who\n1,\xe9\n")
    (folder / "empty.csv").write_text("")
    os.mkfifo(folder / "fifo.csv")
    with (folder / "huge.csv").open("wb") as file:
        file.truncate(17 * MIB)

    def text(path: str) -> str:
        return SMALL + f"network: {{ links: {{ default: {{ delay: 'samples({path})' }} }} }}\n"

    for path, part in (
        ("link.csv", "outside"), ("../secret.csv", "outside"), (str(tmp_path / "secret.csv"), "outside"),
        ("loop.csv", "cannot be found"), (".", "is a folder"), ("fifo.csv", "not an ordinary file"),
        ("few.csv", "1 rows"), ("minus.csv", "line 3: '-2'"), ("late.csv", "over the largest delay"),
        ("nul.csv", "line 3"), ("latin.csv", "not UTF-8"), ("empty.csv", "no column delay_ns"), ("huge.csv", "16 MiB"),
    ):  # fmt: skip
        assert part in message_of(text(path), folder), path
    for path in ("good.csv", "inner.csv"):
        assert load(text(path), folder).network.links["default"].delay.values_ns == (1, 2)


def test_loading_imports_nothing_heavy() -> None:
    code = (
        "import sys; import lab.spec.load; "
        "print([m for m in ('numpy','pandas','scipy','matplotlib','docker','numba','simpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    control = subprocess.run(
        [sys.executable, "-c", code.replace("lab.spec.load", "numpy")], capture_output=True, text=True, check=True
    )
    assert control.stdout.strip() == "['numpy']"
