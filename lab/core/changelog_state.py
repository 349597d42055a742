"""The state a changelog builds, on real payload bytes: the Python side of the replica contract's hashes.

The simulator handles updates as integers; this module handles them as the services do, so that Python, Go and Rust
can be
shown to build the same state from the same bytes. It decodes the key (field 1) alone and never re-encodes a payload.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from lab.core.draws import mix


class PayloadError(ValueError):
    """The payload is not a serialised Update."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise PayloadError(f"varint cut short at byte {at}")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def payload_key(payload: bytes) -> str:
    """Return the key (field 1, a UTF-8 string, "" if absent) of a serialised Update; skip every other field."""
    key, at = "", 0
    while at < len(payload):
        tag, at = _varint(payload, at)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            _, at = _varint(payload, at)
            continue
        if wire == 2:
            length, at = _varint(payload, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise PayloadError(f"wire type {wire} of field {field} is not in use")
        if at + length > len(payload):
            raise PayloadError(f"field {field} runs past the end")
        if field == 1 and wire == 2:
            try:
                key = payload[at : at + length].decode()
            except UnicodeDecodeError as error:
                raise PayloadError("the key is not UTF-8") from error
        at += length
    return key


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def update_payload(key: str, value: bytes, revision: int) -> bytes:
    """Return a serialised Update; `revision` is an unsigned 64-bit number. Default values are left out, as proto3
    does.
    """
    encoded = key.encode()
    parts = [b"\x0a" + _encode_varint(len(encoded)) + encoded] if encoded else []
    if value:
        parts.append(b"\x12" + _encode_varint(len(value)) + value)
    if revision:
        parts.append(b"\x18" + _encode_varint(revision))
    return b"".join(parts)


def payload_word(payload: bytes) -> int:
    """Return the 63-bit word that stands for a payload in the prefix hash."""
    return int.from_bytes(hashlib.sha256(payload).digest()[:8], "big") >> 1


def extend_prefix_hash(prefix_hash: int, sequence: int, payload: bytes) -> int:
    """Return the hash of the prefix that ends with `sequence`."""
    return mix(mix(prefix_hash, sequence), payload_word(payload))


def state_digest(state: Mapping[str, tuple[int, bytes]]) -> str:
    """Return the SHA-256 (hex) of `{key: (sequence, payload)}` in the contract's canonical form."""
    digest = hashlib.sha256()
    for key in sorted(state, key=str.encode):
        sequence, payload = state[key]
        encoded = key.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded + sequence.to_bytes(8, "big"))
        digest.update(len(payload).to_bytes(4, "big") + payload)
    return digest.hexdigest()


class ChangelogState:
    """A follower's log and read state.

    `ordering` is "sequence" (apply the gapless prefix, in order) or "key" (apply at once unless the key is newer
    already).
    """

    def __init__(self, ordering: str) -> None:
        if ordering not in ("sequence", "key"):
            raise ValueError(f"ordering {ordering!r} is neither 'sequence' nor 'key'")
        self.ordering = ordering
        self.log: dict[int, bytes] = {}
        self.state: dict[str, tuple[int, bytes]] = {}
        self.prefix = 0
        self.prefix_hash = 0
        self.duplicates = 0
        self.out_of_order = 0
        self.superseded = 0

    def store(self, sequence: int, payload: bytes) -> None:
        """Take one update as a follower takes it."""
        if sequence in self.log:
            self.duplicates += 1
            return
        if sequence != max(self.log, default=0) + 1:
            self.out_of_order += 1
        self.log[sequence] = payload
        if self.ordering == "key":
            self._apply(sequence, payload)
        while self.prefix + 1 in self.log:
            self.prefix += 1
            reached = self.log[self.prefix]
            self.prefix_hash = extend_prefix_hash(self.prefix_hash, self.prefix, reached)
            if self.ordering == "sequence":
                self._apply(self.prefix, reached)

    def _apply(self, sequence: int, payload: bytes) -> None:
        key = payload_key(payload)
        if self.state.get(key, (0, b""))[0] > sequence:
            self.superseded += 1
        else:
            self.state[key] = (sequence, payload)


def apply_stream(entries: Iterable[Mapping[str, str]], ordering: str) -> dict[str, Any]:
    """Apply golden-stream entries in their order; return the numbers that all languages must agree on."""
    replica = ChangelogState(ordering)
    for entry in entries:
        replica.store(int(entry["sequence"]), bytes.fromhex(entry["payload"]))
    return {
        "digest": state_digest(replica.state),
        "prefix": replica.prefix,
        "prefix_hash": str(replica.prefix_hash),
        "keys": len(replica.state),
        "duplicates": replica.duplicates,
        "out_of_order": replica.out_of_order,
        "superseded": replica.superseded,
        "waiting": len(replica.log) - replica.prefix,
    }
