//! How a follower is put right by the leader's entries, without the live path.

use std::sync::Arc;

use serde::Serialize;

use crate::entry::Entry;
use crate::events::Fact;
use crate::follower::{Follower, Pending};
use crate::hashes::extend_prefix_hash;
use crate::leader::push_event;
use crate::machine::Command;
use crate::settings::Ordering;

/// What became of the entries of one repair.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RepairOutcome {
    pub stored: u64,
    pub corrected: u64,
    pub unchanged: u64,
}

impl Follower {
    /// Stores what is missing and puts right what differs; what has to be appended is under way
    /// when this returns.
    pub fn correct(
        &mut self,
        entries: Vec<Entry>,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) -> RepairOutcome {
        let mut outcome = RepairOutcome::default();
        for entry in entries {
            let sequence = entry.sequence;
            if sequence > self.prefix && !self.received.contains(sequence) {
                if self.is_beyond_window(sequence) {
                    outcome.unchanged += 1;
                } else {
                    self.receive(Arc::new(entry), Vec::new(), out);
                    outcome.stored += 1;
                }
                continue;
            }
            let awaits_its_turn = self.settings.ordering == Ordering::Sequence
                && self.waiting.contains_key(&sequence);
            match self.log.get(&sequence) {
                Some(stored) if !awaits_its_turn && self.state.lacks(&entry) => {
                    outcome.corrected += 1;
                    let entry = Arc::new(entry);
                    if stored.word == entry.word {
                        self.put_right(&entry, now_ns, out);
                    } else {
                        self.pending.push_back(Pending::Correction(entry.clone()));
                        out.push(Command::Append(entry));
                    }
                }
                _ => outcome.unchanged += 1,
            }
        }
        outcome
    }

    /// Takes corrections that are durable into the log.
    pub(crate) fn correct_log(
        &mut self,
        corrections: Vec<Arc<Entry>>,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        if corrections.is_empty() {
            return;
        }
        for entry in corrections {
            self.put_right(&entry, now_ns, out);
            if let Some(waiting) = self.waiting.get_mut(&entry.sequence) {
                *waiting = entry.clone();
            }
            self.log.insert(entry.sequence, entry);
        }
        let prefix = self.log.range(..=self.prefix);
        self.prefix_hash = prefix.fold(0, |before, (sequence, entry)| {
            extend_prefix_hash(before, *sequence, entry.word)
        });
    }

    /// Puts an entry into the read model, unless something newer has come meanwhile.
    fn put_right(&mut self, entry: &Entry, now_ns: i64, out: &mut Vec<Command>) {
        if self.state.lacks(entry) {
            self.state.put(entry);
        }
        self.counters.corrected += 1;
        let (sequence, token) = (entry.sequence, entry.token.clone());
        push_event(out, now_ns, Fact::Corrected { sequence, token });
    }
}
