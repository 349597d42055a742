"""Sizes with their units: text such as `64KB` or `1MiB`, and rates such as `250KB/s`, to integers."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from lab.core.units import shown

BYTES_PER_UNIT = {
    "B": 1,
    "KB": 1_000,
    "MB": 1_000_000,
    "GB": 1_000_000_000,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
SIZE_MAX_BYTES = 1 << 40
MESSAGE_BYTES = 256  # of a message whose protocol does not say its size
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(B|KB|MB|GB|KiB|MiB|GiB)")


def parse_bytes(value: object) -> int:
    """Return bytes for text such as `512B`, `64KB` (1,000 bytes each) or `64KiB`; at most 1 TiB."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"{shown(value)} is not a size; write for example 512B, 64KB or 64KiB")
    size = Decimal(match.group(1)) * BYTES_PER_UNIT[match.group(2)]
    if size != int(size):
        raise ValueError(f"{shown(value)} is no whole number of bytes")
    if size > SIZE_MAX_BYTES:
        raise ValueError(f"{shown(value)} is over 1 TiB, the largest size")
    return int(size)


def parse_bytes_per_s(value: object) -> int:
    """Return bytes per second for text such as `250KB/s`."""
    if not isinstance(value, str) or not value.strip().endswith("/s"):
        raise ValueError(f"{shown(value)} is not a bandwidth; write for example 250KB/s")
    return parse_bytes(value.strip().removesuffix("/s"))


def bytes_text(size: int) -> str:
    """Return bytes as the shortest exact text that `parse_bytes` reads back."""
    for unit in ("GiB", "GB", "MiB", "MB", "KiB", "KB"):
        if size and size % BYTES_PER_UNIT[unit] == 0:
            return f"{size // BYTES_PER_UNIT[unit]}{unit}"
    return f"{size}B"


SizeBytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    PlainSerializer(bytes_text),
    WithJsonSchema({"type": "string", "pattern": f"^{_SIZE.pattern}$", "examples": ["64KB", "1MiB"]}),
]
BytesPerS = Annotated[
    int,
    BeforeValidator(parse_bytes_per_s),
    PlainSerializer(lambda rate: f"{bytes_text(rate)}/s"),
    WithJsonSchema({"type": "string", "pattern": f"^{_SIZE.pattern}/s$", "examples": ["250KB/s"]}),
]
