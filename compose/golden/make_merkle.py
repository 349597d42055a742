"""Write the golden vectors of the Merkle tree and of sequences above 2^53. Run: python compose/golden/make_merkle.py"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path

from lab.core.changelog_state import ChangelogState, state_digest, update_payload

HERE = Path(__file__).parent
DEPTH = 4
DIGITS = "0123456789abcdef"
State = Mapping[str, tuple[int, bytes]]


def tree(state: State) -> dict[str, str]:
    """Return the hash (hex) of every node that is not empty of the tree over `{key: (sequence, payload)}`, by path."""
    buckets: dict[str, dict[str, tuple[int, bytes]]] = {}
    for key, row in state.items():
        buckets.setdefault(hashlib.sha256(key.encode()).hexdigest()[:DEPTH], {})[key] = row
    hashes = {path: state_digest(rows) for path, rows in buckets.items()}
    for length in range(DEPTH - 1, -1, -1):
        for path in {below[:length] for below in hashes if len(below) == length + 1}:
            texts = ",".join(hashes.get(path + digit, "") for digit in DIGITS)
            hashes[path] = hashlib.sha256(texts.encode()).hexdigest()
    return dict(sorted(hashes.items()))


def wide_stream() -> list[dict[str, str]]:
    """Return updates whose sequences lie around 2^53 and up to 2^63 - 1, as a follower by key takes them."""
    chooser = random.Random(20261124)
    sequences = [1, (1 << 53) - 1, 1 << 53, (1 << 53) + 1, (1 << 53) + 2, (1 << 53) + 3, (1 << 62) + 1, (1 << 63) - 1]
    sequences += [(1 << 53) + chooser.randrange(1 << 60) for _ in range(40)]
    keys = ["a", "ключ", "鍵", "🔑", "", "z" * 200, *(f"k{number}" for number in range(30))]
    return [
        {
            "sequence": str(sequence),
            "token": f"w-{number}",
            "payload": update_payload(keys[number % len(keys)], bytes([number]), (1 << 64) - 1 - number).hex(),
        }
        for number, sequence in enumerate(sequences)
    ]


def applied(entries: list[dict[str, str]]) -> ChangelogState:
    """Return what a follower by key makes of them."""
    made = ChangelogState("key")
    for entry in entries:
        made.store(int(entry["sequence"]), bytes.fromhex(entry["payload"]))
    return made


def rounded(state: State) -> dict[str, tuple[int, bytes]]:
    """Return the state with its sequences as a 64-bit float holds them: what must not happen."""
    return {key: (int(float(sequence)), payload) for key, (sequence, payload) in state.items()}


def main() -> None:
    wide = wide_stream()
    state = applied(wide).state
    stream = [json.loads(line) for line in (HERE / "stream.jsonl").read_text().splitlines()]
    data = {
        "about": "by stream, applied in the order of its lines with ordering key: the state digest, that with rounded "
        "sequences, and the hash of every node of the Merkle tree that is not empty, by path",
        "wide": {"digest": state_digest(state), "rounded": state_digest(rounded(state)), "nodes": tree(state)},
        "stream": {"digest": state_digest(applied(stream).state), "nodes": tree(applied(stream).state)},
    }
    (HERE / "merkle.json").write_text(json.dumps(data, separators=(",", ":"), ensure_ascii=False) + "\n")
    (HERE / "wide.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in wide))


if __name__ == "__main__":
    main()
