"""Stored results: atomic, checked, refused when damaged."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from lab import store


def make(root: Path) -> store.Results:
    results = store.create(root, "suite")
    results.write("a.txt", b"first")
    results.write_json("summary.json", {"x": 1})
    return results


def test_results_are_complete_only_with_their_manifest(tmp_path: Path) -> None:
    results = make(tmp_path)
    with pytest.raises(store.StoreError, match="cannot be read"):
        store.read(results.folder)
    results.finish({"suite": "suite"})
    stored = store.read(results.folder)
    assert stored.json("summary.json") == {"x": 1}
    assert set(stored.manifest["files"]) == {"a.txt", "summary.json"}
    assert (tmp_path / "latest").resolve() == results.folder.resolve()


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "newer"])
def test_damaged_results_are_refused_with_code_5(tmp_path: Path, damage: str) -> None:
    results = make(tmp_path)
    results.finish({})
    assert store.read(results.folder).has("a.txt")
    path = results.folder / "a.txt"
    if damage == "truncate":
        path.write_bytes(b"fir")
    elif damage == "flip":
        path.write_bytes(b"fjrst")
    elif damage == "remove":
        path.unlink()
    else:
        manifest = results.folder / store.MANIFEST
        manifest.write_text(manifest.read_text().replace("driftlab.results/1", "driftlab.results/2"))
    with pytest.raises(store.StoreError) as caught:
        store.read(results.folder)
    assert caught.value.exit_code == 5


def test_results_are_found_by_folder_suite_and_latest(tmp_path: Path) -> None:
    first, second = make(tmp_path), make(tmp_path)
    first.finish({})
    second.finish({})
    assert store.find(tmp_path, "latest") == second.folder.resolve()
    assert store.find(tmp_path, str(first.folder)) == first.folder.resolve()
    assert store.find(tmp_path, "suite") in (first.folder.resolve(), second.folder.resolve())
    with pytest.raises(store.StoreError, match="no results at 'nothing'"):
        store.find(tmp_path, "nothing")


@pytest.mark.parametrize("name", ["../x", "/abs", "UPPER", "a" * 64, "new\nline", "<script>", ""])
def test_names_are_not_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(store.StoreError):
        store.create(tmp_path / "results", name)
    assert not (tmp_path / "results").exists()


def test_results_are_not_written_through_links(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "suite").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(store.StoreError, match="is a link"):
        store.create(tmp_path / "results", "suite")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    store.write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(store.StoreError, match="No space left") as caught:
        store.write_atomically(path, b"new")
    assert caught.value.exit_code == 6
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_canonical_json_is_one_text_and_refuses_nan() -> None:
    assert store.canonical_json({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.canonical_json(float("nan"))


def test_rewriting_one_file_keeps_results_valid(tmp_path: Path) -> None:
    results = make(tmp_path)
    results.finish({"suite": "suite"})
    store.rewrite(store.read(results.folder), "a.txt", b"second")
    again = store.read(results.folder)
    assert (again.folder / "a.txt").read_bytes() == b"second"
    assert json.loads((again.folder / store.MANIFEST).read_text())["suite"] == "suite"
