//! What a leader knows about one follower: acknowledgements and attempts under way.

use std::collections::HashMap;

use crate::breaker::Breaker;
use crate::settings::Settings;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Sent; the timer is the timeout.
    Sent,
    /// Timed out; the timer is the wait before the next transmission.
    BackingOff,
}

/// The transmission of one update to one follower, from the first attempt until it is
/// acknowledged or given up; outstanding all that time, also while it waits to be repeated.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub number: u32,
    pub phase: Phase,
    /// Of the one timer that counts; others are stale.
    pub generation: u64,
    pub wait_ns_previous: u64,
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
        }
    }

    pub fn outstanding(&self) -> usize {
        self.attempts.len()
    }

    /// The attempt that a timer belongs to, or `None` when the timer is stale.
    pub fn attempt_of_timer(&mut self, sequence: u64, generation: u64) -> Option<&mut Attempt> {
        let attempt = self.attempts.get_mut(&sequence)?;
        (attempt.generation == generation).then_some(attempt)
    }
}
