//! How fresh a follower's read model is known to be.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Statements of progress that are kept until their prefix is applied, at most.
const PROGRESS_MAX: usize = 1024;

/// Pairs (sequence, time) say that the changelog reached no further than that sequence at that
/// time of the leader's clock. One tells something once all of its sequences are applied.
#[derive(Debug, Default)]
pub struct Freshness {
    as_of_ns: i64,
    progress: BTreeMap<u64, i64>,
    /// No more than the window of entries that are taken.
    entries: BTreeMap<u64, i64>,
}

impl Freshness {
    /// Takes what the leader tells of its progress; a time of 0 is unknown.
    pub fn hear_progress(&mut self, sequence: u64, time_ns: i64, prefix: u64) {
        let has_room = self.progress.len() < PROGRESS_MAX;
        if sequence <= prefix {
            self.as_of_ns = self.as_of_ns.max(time_ns);
        } else if has_room || self.progress.contains_key(&sequence) {
            note(&mut self.progress, sequence, time_ns);
        }
    }

    /// Takes what an entry within the window tells.
    pub fn hear_entry(&mut self, sequence: u64, time_ns: i64, prefix: u64) {
        if sequence <= prefix {
            self.as_of_ns = self.as_of_ns.max(time_ns);
        } else if time_ns != 0 {
            note(&mut self.entries, sequence, time_ns);
        }
    }

    /// Everything up to `prefix` is applied.
    pub fn advance(&mut self, prefix: u64) {
        for ahead in [&mut self.progress, &mut self.entries] {
            while let Some(first) = ahead.first_entry()
                && *first.key() <= prefix
            {
                self.as_of_ns = self.as_of_ns.max(first.remove());
            }
        }
    }

    /// The latest moment up to which all is known to be applied; 0 at the start.
    pub fn as_of_ns(&self) -> i64 {
        self.as_of_ns
    }
}

fn note(ahead: &mut BTreeMap<u64, i64>, sequence: u64, time_ns: i64) {
    let known_ns = ahead.entry(sequence).or_insert(time_ns);
    *known_ns = time_ns.max(*known_ns);
}

/// What a reader is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Sequence and payload of what the key holds.
    pub found: Option<(u64, Bytes)>,
    /// Older than the reader wanted; then nothing is told of the key.
    pub is_stale: bool,
    pub staleness_ns: u64,
    pub as_of_ns: i64,
    pub prefix: u64,
}

/// How long before `now_ns` that moment was.
pub fn staleness_ns(now_ns: i64, as_of_ns: i64) -> u64 {
    u64::try_from(now_ns.saturating_sub(as_of_ns)).unwrap_or(0)
}
