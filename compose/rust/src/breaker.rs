//! The circuit breaker of a follower: attempts that it would not answer are not sent at all.

use serde::Serialize;

use crate::bugs::Bug;
use crate::settings::Settings;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    Closed,
    HalfOpen,
    Open,
}

impl BreakerState {
    /// The value of the gauge.
    pub fn number(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// Keeps attempts from a follower that has not answered for a while: they would only load it and
/// the link while it recovers. Reconciliation brings what it holds back.
#[derive(Debug)]
pub struct Breaker {
    failures_max: u64,
    open_ns: u64,
    state: BreakerState,
    /// Timeouts in a row while closed.
    failures: u64,
    opened_at_ns: i64,
    /// The sequence of the one attempt that was let through half-open.
    probe: u64,
    /// A seeded bug: the pause never ends.
    stuck: bool,
}

impl Breaker {
    pub fn new(settings: &Settings) -> Self {
        Self {
            failures_max: settings.policy.breaker_failures,
            open_ns: settings.policy.breaker_open_ns,
            state: BreakerState::Closed,
            failures: 0,
            opened_at_ns: 0,
            probe: 0,
            stuck: settings.has(Bug::BreakerStuck),
        }
    }

    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether an attempt may be sent now. The first one after the pause is the probe.
    pub fn lets(&mut self, now_ns: i64, sequence: u64) -> bool {
        let paused_ns = u64::try_from(now_ns.saturating_sub(self.opened_at_ns)).unwrap_or(0);
        if self.state == BreakerState::Open && paused_ns >= self.open_ns && !self.stuck {
            self.state = BreakerState::HalfOpen;
            self.probe = sequence;
            return true;
        }
        self.state == BreakerState::Closed
    }

    /// Notes a timeout; true means that it opened the breaker.
    pub fn failed(&mut self, now_ns: i64, sequence: u64) -> bool {
        if self.failures_max == 0 {
            return false;
        }
        let opens = match self.state {
            BreakerState::Closed => {
                self.failures += 1;
                self.failures >= self.failures_max
            }
            BreakerState::HalfOpen => sequence == self.probe,
            BreakerState::Open => false,
        };
        if opens {
            self.state = BreakerState::Open;
            self.failures = 0;
            self.opened_at_ns = now_ns;
        }
        opens
    }

    /// Notes an acknowledgement.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        if self.state == BreakerState::HalfOpen {
            self.state = BreakerState::Closed;
        }
    }
}
