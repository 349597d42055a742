//! Defects that a replica is given on purpose, to show that the tests which must notice them do.

use bytes::Bytes;
use prost::Message;

use crate::wire::Update;

/// The names are those of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    EarlyAcknowledgement,
    TokenIgnored,
    AnyOrder,
    EagerRetries,
    DeafToDigests,
    Reencodes,
    UnboundedQueue,
    BreakerStuck,
    LossOverlooked,
    ClockWins,
    DuplicateMerged,
    TokenForgotten,
    SnapshotMisses,
    FloatNumbers,
}

const NAMES: [(&str, Bug); 14] = [
    ("B1", Bug::EarlyAcknowledgement),
    ("B2", Bug::TokenIgnored),
    ("B3", Bug::AnyOrder),
    ("B9", Bug::EagerRetries),
    ("B12", Bug::DeafToDigests),
    ("B15", Bug::Reencodes),
    ("B17", Bug::UnboundedQueue),
    ("B18", Bug::BreakerStuck),
    ("B19", Bug::LossOverlooked),
    ("B4", Bug::ClockWins),
    ("B5", Bug::DuplicateMerged),
    ("B6", Bug::TokenForgotten),
    ("B13", Bug::SnapshotMisses),
    ("B16", Bug::FloatNumbers),
];

impl Bug {
    pub fn named(name: &str) -> Option<Self> {
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, bug)| *bug)
    }

    pub fn name(self) -> &'static str {
        let known = NAMES.iter().find(|(_, bug)| *bug == self);
        known.map_or("", |(name, _)| name)
    }
}

/// What a relay does to a payload that it decodes by its own schema.
pub fn reencode(payload: &Bytes) -> Bytes {
    match Update::decode(payload.clone()) {
        Ok(update) => update.encode_to_vec().into(),
        Err(_) => payload.clone(),
    }
}
