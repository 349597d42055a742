"""Frames: a 4-byte big-endian length, then that many bytes of one Envelope."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from lab.containers import wire_pb2 as wire

HEADER_BYTES = 4
FRAME_MAX_BYTES = 1 << 20
SCHEMA_VERSION = 1


class FrameError(ValueError):
    """The bytes are not frames; the connection that brought them must be closed."""


def encode(envelope: wire.Envelope) -> bytes:
    """Return the frame of an envelope. Raise FrameError over 1 MiB."""
    body = envelope.SerializeToString()
    if len(body) > FRAME_MAX_BYTES:
        raise FrameError(f"a frame of {len(body)} bytes is over {FRAME_MAX_BYTES}")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def write_frame(token: int, payload: bytes) -> bytes:
    """Return the frame with which a client asks for one write; `token` makes repeating it harmless."""
    text = str(token)
    return encode(
        wire.Envelope(
            schema_version=SCHEMA_VERSION,
            kind=wire.KIND_WRITE,
            correlation_id=f"op-{text}",
            idempotency_token=text,
            payload=payload,
        )
    )


class Splitter:
    """Cuts a byte stream into envelopes, wherever the stream was split."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def push(self, data: bytes) -> list[wire.Envelope]:
        """Return the envelopes that `data` completes. Raise FrameError for a length over 1 MiB or a body that is
        none.
        """
        self._rest += data
        rest, at, found = self._rest, 0, []
        while len(rest) - at >= HEADER_BYTES:
            length = int.from_bytes(rest[at : at + HEADER_BYTES], "big")
            if length > FRAME_MAX_BYTES:
                raise FrameError(f"a frame of {length} bytes is over {FRAME_MAX_BYTES}")
            end = at + HEADER_BYTES + length
            if len(rest) < end:
                break
            try:
                found.append(wire.Envelope.FromString(bytes(rest[at + HEADER_BYTES : end])))
            except DecodeError as error:
                raise FrameError("a frame is not an Envelope") from error
            at = end
        del rest[:at]
        return found
