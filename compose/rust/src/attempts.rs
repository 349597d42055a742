//! What a leader knows about one follower: acknowledgements and attempts under way.

use std::collections::HashMap;

use crate::breaker::Breaker;
use crate::settings::Settings;
use crate::trace::OpenSpan;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Sent; the timer is the timeout.
    Sent,
    /// Timed out; the timer is the wait before the next transmission.
    BackingOff,
}

/// The transmission of one update to one follower, from the first attempt until it is
/// acknowledged or given up; outstanding all that time, also while it waits to be repeated.
#[derive(Debug)]
pub struct Attempt {
    pub number: u32,
    pub phase: Phase,
    /// Of the one timer that counts; others are stale.
    pub generation: u64,
    pub wait_ns_previous: u64,
    /// The attempt under way.
    pub span: OpenSpan,
}

#[derive(Debug)]
pub struct FollowerView {
    /// Position in the settings' `replicas`.
    pub index: usize,
    pub name: String,
    /// The newest start of the follower that a digest told of; 0 before the first.
    pub incarnation: u64,
    /// All of `1..=acknowledged_prefix` is acknowledged.
    pub acknowledged_prefix: u64,
    pub attempts: HashMap<u64, Attempt>,
    pub breaker: Breaker,
    /// A seeded bug: its digests are no longer heard.
    pub deaf: bool,
    /// Repairs that are recorded and not yet acknowledged.
    pub repairs: HashMap<u64, OpenSpan>,
    /// Bytes that wait for the link, and those of the last entry sent to it.
    pub waiting_bytes: u64,
    pub frame_bytes_last: u64,
    /// Entries sent in this step, which the link has not been offered yet.
    pub unoffered: u64,
}

impl FollowerView {
    pub fn new(index: usize, name: String, settings: &Settings) -> Self {
        Self {
            index,
            name,
            incarnation: 0,
            acknowledged_prefix: 0,
            attempts: HashMap::new(),
            breaker: Breaker::new(settings),
            deaf: false,
            repairs: HashMap::new(),
            waiting_bytes: 0,
            frame_bytes_last: 0,
            unoffered: 0,
        }
    }

    pub fn outstanding(&self) -> usize {
        self.attempts.len()
    }

    /// Whether another entry like the last would not find room behind what waits and so many
    /// entries more; a limit of 0 is none.
    pub fn channel_is_full(&self, memory_bytes: u64, pending: usize) -> bool {
        let ahead = (self.unoffered + pending as u64).saturating_mul(self.frame_bytes_last);
        let waiting = self.waiting_bytes.saturating_add(ahead);
        let wanted = waiting.saturating_add(self.frame_bytes_last);
        memory_bytes > 0 && waiting > 0 && wanted > memory_bytes
    }

    /// The attempt that a timer belongs to, or `None` when the timer is stale.
    pub fn attempt_of_timer(&mut self, sequence: u64, generation: u64) -> Option<&mut Attempt> {
        let attempt = self.attempts.get_mut(&sequence)?;
        (attempt.generation == generation).then_some(attempt)
    }
}
