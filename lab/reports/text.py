"""Text from experiment files and logs, made safe to show: no control bytes, no invisible direction changes."""

from __future__ import annotations

_KEPT = frozenset({0x09, 0x0A})
# C0, DEL, C1; marks that change the direction of text or have no width; separators taken as newlines; byte-order mark.
_DROPPED = (
    *(code for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in _KEPT),
    *(0x061C, 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x206A),
)
_TABLE: dict[int, str | None] = dict.fromkeys(_DROPPED)
_TABLE |= dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}")  # lone surrogates cannot be encoded
_TABLE |= {0xFFFE: None, 0xFFFF: None}  # not allowed in XML, so a figure with one would not open


def clean(text: object) -> str:
    """Return `text` without control characters; newlines and tabs stay."""
    return str(text).translate(_TABLE)


def one_line(text: object, limit: int = 0) -> str:
    """Return `text` cleaned, on one line, cut to `limit` characters (0: not cut) with an ellipsis."""
    line = " ".join(clean(text).split())
    return line if not limit or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def plural(count: int, noun: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def ranges(numbers: list[int]) -> str:
    """Return sorted whole numbers compactly: `1–20, 31`."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}–{high}" for low, high in parts)
