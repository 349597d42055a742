//! One update of the changelog, in memory, on the wire and on disk.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::hashes::payload_word;
use crate::wire::{Envelope, Kind};

pub const SCHEMA_VERSION: u32 = 1;

/// The one field of an update that a replica interprets. Reading no other field means that a
/// newer schema may change them freely.
#[derive(Clone, PartialEq, Message)]
struct KeyOnly {
    #[prost(string, tag = "1")]
    key: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub sequence: u64,
    /// By the clock of its origin, which may be wrong.
    pub timestamp_ns: i64,
    /// When the leader accepted it by the clock that never is; 0 where that is not known.
    pub clock_ns: i64,
    pub origin: String,
    pub token: String,
    pub correlation_id: String,
    /// The bytes as they came; they are never decoded and encoded again.
    pub payload: Bytes,
    pub key: Arc<str>,
    /// What stands for the payload in the prefix hash.
    pub word: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub enum EntryError {
    NoSequence,
    NoToken,
    Payload(String),
    Record(String),
}

impl fmt::Display for EntryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSequence => formatter.write_str("the entry has no sequence"),
            Self::NoToken => formatter.write_str("the entry has no token"),
            Self::Payload(reason) => write!(formatter, "the payload is not an update: {reason}"),
            Self::Record(reason) => write!(formatter, "the record is damaged: {reason}"),
        }
    }
}

impl std::error::Error for EntryError {}

impl Entry {
    /// Takes an envelope of kind UPDATE, REPAIR or, once it has a sequence, WRITE.
    pub fn from_envelope(envelope: Envelope) -> Result<Self, EntryError> {
        if envelope.sequence == 0 {
            return Err(EntryError::NoSequence);
        }
        if envelope.idempotency_token.is_empty() {
            return Err(EntryError::NoToken);
        }
        let decoded = KeyOnly::decode(envelope.payload.clone())
            .map_err(|error| EntryError::Payload(error.to_string()))?;
        Ok(Self {
            sequence: envelope.sequence,
            timestamp_ns: envelope.timestamp_ns,
            clock_ns: envelope.clock_ns,
            origin: envelope.origin,
            token: envelope.idempotency_token,
            correlation_id: envelope.correlation_id,
            // A copy of its own: a slice would keep the whole read buffer alive.
            payload: Bytes::copy_from_slice(&envelope.payload),
            key: Arc::from(decoded.key),
            word: payload_word(&envelope.payload),
        })
    }

    pub fn to_envelope(&self, kind: Kind, source: &str, attempt: u32) -> Envelope {
        Envelope {
            schema_version: SCHEMA_VERSION,
            kind: kind.into(),
            source: source.to_owned(),
            sequence: self.sequence,
            origin: self.origin.clone(),
            timestamp_ns: self.timestamp_ns,
            clock_ns: self.clock_ns,
            correlation_id: self.correlation_id.clone(),
            idempotency_token: self.token.clone(),
            attempt,
            payload: self.payload.clone(),
            ..Envelope::default()
        }
    }

    /// The bytes that the store keeps.
    pub fn to_record(&self) -> Vec<u8> {
        let record = Envelope {
            // It means nothing to a later start.
            clock_ns: 0,
            ..self.to_envelope(Kind::Update, "", 0)
        };
        record.encode_to_vec()
    }

    pub fn from_record(record: &[u8]) -> Result<Self, EntryError> {
        let envelope =
            Envelope::decode(record).map_err(|error| EntryError::Record(error.to_string()))?;
        Self::from_envelope(envelope)
    }
}
