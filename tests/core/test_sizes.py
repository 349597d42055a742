"""Sizes and bandwidths: text with units to bytes and back."""

from __future__ import annotations

import pytest

from lab.core.sizes import bytes_text, parse_bytes, parse_bytes_per_s


@pytest.mark.parametrize(
    ("text", "size"), [("0B", 0), ("512B", 512), ("64KB", 64_000), ("64KiB", 65_536), ("1.5MB", 1_500_000)]
)
def test_sizes_are_read_and_written_back(text: str, size: int) -> None:
    assert parse_bytes(text) == size
    assert parse_bytes(bytes_text(size)) == size


def test_bandwidths_name_their_second() -> None:
    assert parse_bytes_per_s("250KB/s") == 250_000
    with pytest.raises(ValueError, match="250KB/s"):
        parse_bytes_per_s("250KB")


@pytest.mark.parametrize("text", [64, "64", "64 kb", "-1B", "0.5B", "2000GiB", "1e3B", None])
def test_other_texts_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"size|bytes"):
        parse_bytes(text)
