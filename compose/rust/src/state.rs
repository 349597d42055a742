//! The state that the changelog builds: for each key the update with the highest sequence.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::bugs::Bug;
use crate::entry::Entry;
use crate::hex::to_hex;

/// What is left of a number that passed through a 64-bit float.
pub fn rounded(number: u64) -> u64 {
    number as f64 as u64
}

/// What a key holds.
#[derive(Debug, Clone)]
pub struct Row {
    pub sequence: u64,
    pub payload: Bytes,
    timestamp_ns: i64,
}

/// Cloning copies references, not keys or payloads, so that a digest can be computed elsewhere.
#[derive(Debug, Clone, Default)]
pub struct KeyState {
    rows: BTreeMap<Arc<str>, Row>,
    /// A seeded bug: the newer timestamp wins, not the higher sequence.
    by_clock: bool,
    /// A seeded bug: sequences pass through a 64-bit float.
    rounds: bool,
}

impl KeyState {
    pub fn new(bug: Option<Bug>) -> Self {
        Self {
            by_clock: bug == Some(Bug::ClockWins),
            rounds: bug == Some(Bug::FloatNumbers),
            ..Self::default()
        }
    }

    /// Applies an entry; false means that its key already holds a higher sequence.
    pub fn apply(&mut self, entry: &Entry) -> bool {
        if let Some(row) = self.rows.get(&entry.key) {
            let is_older = self.by_clock && row.timestamp_ns >= entry.timestamp_ns;
            if row.sequence > entry.sequence || is_older {
                return false;
            }
        }
        self.put(entry);
        true
    }

    /// Makes an entry what its key holds, whatever that was.
    pub fn put(&mut self, entry: &Entry) {
        let row = Row {
            sequence: entry.sequence,
            payload: entry.payload.clone(),
            timestamp_ns: entry.timestamp_ns,
        };
        self.rows.insert(entry.key.clone(), row);
    }

    /// Whether the key's row is missing, older than the entry, or a different one of its sequence.
    pub fn lacks(&self, entry: &Entry) -> bool {
        match self.rows.get(&entry.key) {
            None => true,
            Some(row) if row.sequence == entry.sequence => row.payload != entry.payload,
            Some(row) => row.sequence < entry.sequence,
        }
    }

    /// Takes a key out, as if nothing had been applied to it.
    pub fn forget(&mut self, key: &str) {
        self.rows.remove(key);
    }

    pub fn get(&self, key: &str) -> Option<&Row> {
        self.rows.get(key)
    }

    /// Keys and rows in the order of the keys' UTF-8 bytes.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.rows.iter().map(|(key, row)| (&**key, row))
    }

    pub fn key_count(&self) -> usize {
        self.rows.len()
    }

    /// A row's sequence as hashes and trees show it.
    pub fn shown(&self, sequence: u64) -> u64 {
        if self.rounds {
            return rounded(sequence);
        }
        sequence
    }

    /// Adds a row to a hash in the form that all implementations share.
    pub fn hash_row(&self, hasher: &mut Sha256, key: &str, row: &Row) {
        hasher.update((key.len() as u32).to_be_bytes());
        hasher.update(key.as_bytes());
        hasher.update(self.shown(row.sequence).to_be_bytes());
        hasher.update((row.payload.len() as u32).to_be_bytes());
        hasher.update(&row.payload);
    }

    /// SHA-256 in lower-case hex over all keys in the order of their UTF-8 bytes.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for (key, row) in self.rows() {
            self.hash_row(&mut hasher, key, row);
        }
        to_hex(&hasher.finalize())
    }
}
