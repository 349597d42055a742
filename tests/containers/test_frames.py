"""The frame codec, against streams split anywhere and bytes that are no frames."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.containers import generate
from lab.containers import wire_pb2 as wire
from lab.containers.frames import FRAME_MAX_BYTES, FrameError, Splitter, encode, write_frame


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_frames_survive_any_split(payloads: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(write_frame(number, data) for number, data in enumerate(payloads))
    splitter, found, at, turn = Splitter(), list[wire.Envelope](), 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        found += splitter.push(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert [(envelope.idempotency_token, envelope.payload) for envelope in found] == [
        (str(number), data) for number, data in enumerate(payloads)
    ]
    assert all(envelope.kind == wire.KIND_WRITE and envelope.schema_version == 1 for envelope in found)


def test_an_empty_frame_is_an_empty_envelope() -> None:
    assert Splitter().push(b"\0\0\0\0") == [wire.Envelope()]


def test_a_length_over_the_limit_is_refused_before_its_body_comes() -> None:
    with pytest.raises(FrameError, match="over 1048576"):
        Splitter().push((FRAME_MAX_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(FrameError):
        encode(wire.Envelope(payload=bytes(FRAME_MAX_BYTES)))


def test_a_body_that_is_no_envelope_is_refused() -> None:
    with pytest.raises(FrameError, match="not an Envelope"):
        Splitter().push(b"\0\0\0\x03\xff\xff\xff")


def test_the_generated_code_is_that_of_the_schema(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    generate.generate(tmp_path)
    for name in generate.GENERATED:
        assert (tmp_path / name).read_text() == (generate.HERE / name).read_text()
