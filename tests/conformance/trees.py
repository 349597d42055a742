"""The reference of the Merkle tree, which lies with the golden vectors that it makes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from typing import Any

from lab.containers.build import COMPOSE
from lab.core.changelog_state import payload_key

GOLDEN = COMPOSE / "golden"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("make_merkle", GOLDEN / "make_merkle.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_MAKER = _load()


def tree(payloads: Mapping[int, bytes]) -> dict[str, str]:
    """Return the hash of every node that is not empty, by path, of the state that a changelog gives."""
    state = {payload_key(payloads[sequence]): (sequence, payloads[sequence]) for sequence in sorted(payloads)}
    return dict(_MAKER.tree(state))


def golden_merkle() -> dict[str, Any]:
    """Return the golden vectors: by stream its digest and the nodes of its tree."""
    return dict(json.loads((GOLDEN / "merkle.json").read_text()))


def wide_stream() -> list[tuple[int, bytes]]:
    """Return the sequences, up to 2^63 - 1, and the payloads of the golden stream of wide numbers."""
    lines = map(json.loads, (GOLDEN / "wide.jsonl").read_text().splitlines())
    return [(int(line["sequence"]), bytes.fromhex(line["payload"])) for line in lines]
