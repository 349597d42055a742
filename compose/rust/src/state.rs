//! The state that the changelog builds: for each key the update with the highest sequence.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::entry::Entry;

#[derive(Debug, Clone)]
struct Held {
    sequence: u64,
    payload: Bytes,
}

/// Cloning copies references, not keys or payloads, so that a digest can be computed elsewhere.
#[derive(Debug, Clone, Default)]
pub struct KeyState {
    held: BTreeMap<Arc<str>, Held>,
}

impl KeyState {
    /// Applies an entry; false means that its key already holds a higher sequence.
    pub fn apply(&mut self, entry: &Entry) -> bool {
        if let Some(held) = self.held.get(&entry.key)
            && held.sequence > entry.sequence
        {
            return false;
        }
        let held = Held {
            sequence: entry.sequence,
            payload: entry.payload.clone(),
        };
        self.held.insert(entry.key.clone(), held);
        true
    }

    /// Takes a key out, as if nothing had been applied to it.
    pub fn forget(&mut self, key: &str) {
        self.held.remove(key);
    }

    pub fn key_count(&self) -> usize {
        self.held.len()
    }

    /// SHA-256 in lower-case hex over all keys in the order of their UTF-8 bytes.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for (key, held) in &self.held {
            hasher.update((key.len() as u32).to_be_bytes());
            hasher.update(key.as_bytes());
            hasher.update(held.sequence.to_be_bytes());
            hasher.update((held.payload.len() as u32).to_be_bytes());
            hasher.update(&held.payload);
        }
        let mut text = String::with_capacity(64);
        for byte in hasher.finalize() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}
