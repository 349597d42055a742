from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    KIND_WRITE: _ClassVar[Kind]
    KIND_WRITE_ACK: _ClassVar[Kind]
    KIND_WRITE_REJECT: _ClassVar[Kind]
    KIND_UPDATE: _ClassVar[Kind]
    KIND_UPDATE_ACK: _ClassVar[Kind]
    KIND_DIGEST: _ClassVar[Kind]
    KIND_REPAIR: _ClassVar[Kind]
    KIND_PROGRESS: _ClassVar[Kind]
KIND_UNSPECIFIED: Kind
KIND_WRITE: Kind
KIND_WRITE_ACK: Kind
KIND_WRITE_REJECT: Kind
KIND_UPDATE: Kind
KIND_UPDATE_ACK: Kind
KIND_DIGEST: Kind
KIND_REPAIR: Kind
KIND_PROGRESS: Kind

class Envelope(_message.Message):
    __slots__ = ("schema_version", "kind", "source", "sequence", "origin", "timestamp_ns", "correlation_id", "idempotency_token", "attempt", "payload", "prefix_hash", "incarnation", "clock_ns", "traceparent", "enqueued_ns")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_NS_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PREFIX_HASH_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    CLOCK_NS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    ENQUEUED_NS_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    kind: Kind
    source: str
    sequence: int
    origin: str
    timestamp_ns: int
    correlation_id: str
    idempotency_token: str
    attempt: int
    payload: bytes
    prefix_hash: int
    incarnation: int
    clock_ns: int
    traceparent: str
    enqueued_ns: int
    def __init__(self, schema_version: _Optional[int] = ..., kind: _Optional[_Union[Kind, str]] = ..., source: _Optional[str] = ..., sequence: _Optional[int] = ..., origin: _Optional[str] = ..., timestamp_ns: _Optional[int] = ..., correlation_id: _Optional[str] = ..., idempotency_token: _Optional[str] = ..., attempt: _Optional[int] = ..., payload: _Optional[bytes] = ..., prefix_hash: _Optional[int] = ..., incarnation: _Optional[int] = ..., clock_ns: _Optional[int] = ..., traceparent: _Optional[str] = ..., enqueued_ns: _Optional[int] = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("key", "value", "revision")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: bytes
    revision: int
    def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ..., revision: _Optional[int] = ...) -> None: ...
