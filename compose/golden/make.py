"""Write the golden vectors beside this file from the Python reference. Run: python compose/golden/make.py"""

from __future__ import annotations

import json
import random
from pathlib import Path

from lab.core import backoff, draws, fate, quantiles
from lab.core.changelog_state import apply_stream, update_payload

HERE = Path(__file__).parent


def draw_vectors() -> dict[str, object]:
    words = [0, 1, 2, 63, 1 << 40, (1 << 63) - 1, -1, -(1 << 63)]
    mixes = []
    key = 0
    for index in range(64):
        word = words[index % len(words)]
        value = draws.mix(key, word)
        mixes.append({"key": str(key), "word": str(word), "value": str(value)})
        key = value if index % 5 else index
    bounds = [1, 2, 1000, 50_000_000, (1 << 39) - 1]
    scales = [
        {"draw": row["value"], "bound": str(bound), "value": str(draws.scale(int(row["value"]), bound))}
        for row in mixes[:16]
        for bound in bounds
    ]
    belows = [
        {"draw": row["value"], "ppm": ppm, "value": draws.below(int(row["value"]), ppm)}
        for row in mixes[:32]
        for ppm in (0, 1, 200_000, 500_000, 999_999, 1_000_000)
    ]
    return {
        "about": "draws.mix, scale and below; 64-bit numbers as decimal strings; word is an int64",
        "mix": mixes,
        "scale": scales,
        "below": belows,
    }


def backoff_vectors() -> dict[str, object]:
    cases = []
    key = 7
    for backoff_name, kind in backoff.BACKOFFS.items():
        for jitter_name, jitter in backoff.JITTERS.items():
            for attempt in (1, 2, 3, 8, 40):
                key = draws.mix(key, attempt)
                base, cap, previous = 50_000_000, 2_000_000_000, 50_000_000 * attempt
                wait = backoff.backoff_ns(kind, jitter, base, cap, attempt, previous, key)
                cases.append(
                    {
                        "backoff": backoff_name,
                        "jitter": jitter_name,
                        "base_ns": base,
                        "cap_ns": cap,
                        "attempt": attempt,
                        "previous_ns": previous,
                        "draw": str(key),
                        "wait_ns": wait,
                    }
                )
    return {"about": "the wait after failed attempt `attempt`", "cases": cases}


def fate_vectors() -> dict[str, object]:
    tables = [quantiles.lognormal(20_000_000, 60_000_000), quantiles.uniform(0, 40_000_000)]
    empty = [0, 0, 0, 0, 0, -1, -1, -1, -1]
    rows = [
        empty,
        [1, 0, 0, 0, 0, 0, -1, -1, -1],
        [0, 200_000, 100_000, 150_000, 30_000_000, 0, 1, -1, -1],
        [0, 0, 1_000_000, 0, 0, 0, 0, 1, 1],
    ]
    cases = []
    for number in range(400):
        key = draws.chain(11, number)
        row = number % len(rows)
        first, second = fate.fate(rows[row], tables, key)
        cases.append({"key": str(key), "row": row, "first": first, "second": second})
    top = (1 << 63) - 1
    looked = [
        top - (1 << bits) - shift for bits in range(63) for shift in (0, -1, 1, 12_345) if (1 << bits) + shift <= top
    ]
    return {
        "about": "columns: cut, loss_ppm, duplicate_ppm, reorder_ppm, reorder_by_ns, four table indices (-1 unused). "
        "first, second: delay_ns of the message and of its duplicate; -1 lost, -2 cut off, -3 no copy",
        "tables": tables,
        "rows": rows,
        "cases": cases,
        "lookups": [
            {"table": table, "draw": str(draw), "value": quantiles.lookup(tables[table], draw)}
            for table in range(len(tables))
            for draw in [top, *(draw for draw in looked if draw >= 0)]
        ],
    }


def stream() -> list[dict[str, str]]:
    """Return updates with disorder, duplicates, 64-bit revisions, non-ASCII keys and a newer schema's field."""
    chooser = random.Random(20261123)
    keys = ["a", "ключ", "鍵", "🔑 with space", "", "z" * 200, "k1", "k2", "é", "e\u0301"]
    entries = []
    for sequence in range(1, 201):
        revision = chooser.choice([0, 1, (1 << 53) + 1, (1 << 64) - 1, sequence])
        payload = update_payload(keys[chooser.randrange(len(keys))], bytes([sequence % 256, 0, 255]), revision)
        if sequence % 3 == 0:
            payload += bytes([0xFA, 0x01, 0x04]) + b"next"  # field 31, length-delimited: unknown to this schema
        entries.append({"sequence": str(sequence), "token": f"t-{sequence}", "payload": payload.hex()})
    order = sorted(entries, key=lambda entry: int(entry["sequence"]) + chooser.randrange(12))
    for _ in range(40):
        order.insert(chooser.randrange(len(order)), order[chooser.randrange(len(order))])
    return order


def main() -> None:
    entries = stream()
    for name, data in (
        ("draws", draw_vectors()),
        ("backoff", backoff_vectors()),
        ("fate", fate_vectors()),
        ("expected", {ordering: apply_stream(entries, ordering) for ordering in ("sequence", "key")}),
    ):
        (HERE / f"{name}.json").write_text(json.dumps(data, separators=(",", ":"), ensure_ascii=False) + "\n")
    (HERE / "stream.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


if __name__ == "__main__":
    main()
