"""The one wire schema: linted, guarded against breaking changes, and the same in all generated code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.containers import generate
from lab.containers.build import COMPOSE

PROTO = COMPOSE / "proto"
SCHEMA = PROTO / "driftlab.proto"
GENERATOR = "protoc-gen-go"
Buf = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def buf(tmp_path: Path) -> Buf:
    """Run buf, with a cache of its own and no network to want."""
    binary = Path(sys.executable).with_name("buf")
    found = str(binary) if binary.is_file() else shutil.which("buf")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("buf is not installed: it comes with the dev packages")
    assert found is not None
    environment = {**os.environ, "BUF_CACHE_DIR": str(tmp_path / "cache")}
    return lambda *words, cwd=PROTO: subprocess.run(
        [found, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_schema_is_linted_and_formatted(buf: Buf) -> None:
    linted = buf("lint")
    assert linted.returncode == 0, linted.stdout + linted.stderr
    formatted = buf("format", "--diff", "--exit-code")
    assert formatted.returncode == 0, formatted.stdout


def test_the_linter_would_speak_up(buf: Buf, tmp_path: Path) -> None:
    broken = _copy(
        tmp_path, lambda text: text.replace("KIND_WRITE_ACK", "WriteAck").replace("  // Not a frame", "  //")
    )
    linted = buf("lint", cwd=broken)
    assert linted.returncode != 0
    assert "WriteAck" in linted.stdout


def test_the_schema_breaks_nothing_of_the_baseline(buf: Buf) -> None:
    compared = buf("breaking", "--against", "baseline")
    assert compared.returncode == 0, compared.stdout


def _edit(pattern: str, replacement: str) -> Callable[[str], str]:
    def edited(text: str) -> str:
        changed, count = re.subn(pattern, replacement, text, count=1)
        assert count == 1, pattern
        return changed

    return edited


BREAKING = {
    "a field is renumbered": _edit(r"bytes payload = 10;", "bytes payload = 16;"),
    "a field changes its type": _edit(r"int64 timestamp_ns = 6;", "sint64 timestamp_ns = 6;"),
    "a field goes": _edit(r"  uint64 prefix_hash = 11;\n", ""),
    "a field is renamed": _edit(r"string origin = 5;", "string accepted_by = 5;"),
    "a field becomes repeated": _edit(r"bytes value = 2;", "repeated bytes value = 2;"),
    "a kind is renumbered": _edit(r"KIND_REPAIR = 7;", "KIND_REPAIR = 9;"),
    "a kind goes": _edit(r"  KIND_DIGEST = 6;\n", ""),
    "the package is renamed": _edit(r"package driftlab\.v1;", "package driftlab.v2;"),
    "a message goes": _edit(r"(?s)message Update \{.*?\n\}\n", ""),
}
COMPATIBLE = {
    "a field is added": _edit(r"(uint64 revision = 3;)", r"\1\n  // When it ends.\n  uint64 expires_ns = 4;"),
    "a kind is added": _edit(r"(KIND_PROGRESS = 8;)", r"\1\n  // New.\n  KIND_SNAPSHOT = 9;"),
    "a message is added": lambda text: (
        text + "\n// New.\nmessage Snapshot {\n  // How far.\n  uint64 sequence = 1;\n}\n"
    ),
    "a comment changes": _edit(r"// What a client writes\.", "// What clients write."),
}


@pytest.mark.parametrize("change", BREAKING)
def test_a_breaking_change_is_caught(change: str, buf: Buf, tmp_path: Path) -> None:
    compared = buf("breaking", "--against", str(PROTO / "baseline"), cwd=_copy(tmp_path, BREAKING[change]))
    assert compared.returncode != 0
    assert "driftlab.proto" in compared.stdout


@pytest.mark.parametrize("change", COMPATIBLE)
def test_a_compatible_change_is_not(change: str, buf: Buf, tmp_path: Path) -> None:
    changed = _copy(tmp_path, COMPATIBLE[change])
    assert (changed / SCHEMA.name).read_text() != SCHEMA.read_text()
    compared = buf("breaking", "--against", str(PROTO / "baseline"), cwd=changed)
    assert compared.returncode == 0, compared.stdout
    linted = buf("lint", cwd=changed)
    assert linted.returncode == 0, linted.stdout


def _copy(tmp_path: Path, change: Callable[[str], str]) -> Path:
    folder = tmp_path / "changed"
    folder.mkdir()
    shutil.copy(PROTO / "buf.yaml", folder)
    (folder / SCHEMA.name).write_text(change(SCHEMA.read_text()))
    return folder


def test_the_python_code_is_that_of_the_schema(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    generate.generate(tmp_path)
    for name in generate.GENERATED:
        assert (tmp_path / name).read_text() == (generate.HERE / name).read_text()


def _go_generator() -> str | None:
    """Return where the Go generator is: on PATH, or where `go install` puts it."""
    found = shutil.which(GENERATOR)
    if found is None and shutil.which("go"):
        folder = subprocess.run(["go", "env", "GOPATH"], capture_output=True, text=True, check=True, timeout=60).stdout
        found = shutil.which(GENERATOR, path=str(Path(folder.strip()) / "bin"))
    return found


def test_the_go_code_is_that_of_the_schema(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    generator = _go_generator()
    if generator is None:
        pytest.skip(f"{GENERATOR} is not installed (compose/go/generate.sh says how)")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO}", f"--go_out={tmp_path}"]
    command += [f"--plugin={generator}", "--go_opt=module=driftlab/replica", SCHEMA.name]
    subprocess.run(command, check=True, timeout=60)
    made = (tmp_path / "wire" / "driftlab.pb.go").read_text()
    kept = (COMPOSE / "go" / "wire" / "driftlab.pb.go").read_text()
    assert _without_versions(made) == _without_versions(kept)


def _without_versions(text: str) -> str:
    """Drop the lines that name the generators' versions: they may differ from one host to the next."""
    return re.sub(r"(?m)^// \t?protoc(-gen-go)? +.*\n", "", text)


def test_the_descriptor_in_the_go_code_is_that_of_the_schema() -> None:
    """What every host can check: all names of the schema are in the generated Go, with their numbers."""
    kept = (COMPOSE / "go" / "wire" / "driftlab.pb.go").read_text()
    schema = SCHEMA.read_text()
    for name, number in re.findall(r"^  (KIND_\w+) = (\d+);", schema, re.M):
        assert re.search(rf"Kind_{name} +Kind = {number}\b", kept), name
    fields = re.findall(r"^  (\w+) (\w+) = (\d+);", schema, re.M)
    assert len(fields) == 18
    for _, name, number in fields:
        assert re.search(rf'protobuf:"\w+,{number},opt,name={name}\b', kept), name
