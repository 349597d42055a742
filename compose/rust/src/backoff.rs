//! How long to wait before an update is sent again, and whether it may be.

use serde::Deserialize;

use crate::hashes::{mix, scale};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    Fixed,
    Exponential,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Jitter {
    None,
    Full,
    Equal,
    Decorrelated,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub timeout_ns: u64,
    pub attempts: u32,
    pub backoff: Backoff,
    pub base_ns: u64,
    pub cap_ns: u64,
    pub jitter: Jitter,
    /// Millionths of a retry that each first transmission earns; negative means no budget.
    pub budget_ppm: i64,
    /// Timeouts in a row that open a follower's breaker; 0 means no breaker.
    #[serde(default)]
    pub breaker_failures: u64,
    /// How long an open breaker lets nothing through.
    #[serde(default = "breaker_open_ns")]
    pub breaker_open_ns: u64,
}

fn breaker_open_ns() -> u64 {
    1_000_000_000
}

impl Policy {
    /// The wait after failed attempt `attempt` (1 is the first). `previous_ns` is the last wait
    /// of the same update, `base_ns` at first; only decorrelated jitter looks at it.
    pub fn wait_ns(&self, attempt: u32, previous_ns: u64, draw: u64) -> u64 {
        if self.jitter == Jitter::Decorrelated {
            let spread = 3 * i128::from(previous_ns) - i128::from(self.base_ns) + 1;
            let spread = u64::try_from(spread.max(1)).unwrap_or(u64::MAX);
            let wait_ns = self.base_ns.saturating_add(scale(draw, spread));
            return wait_ns.min(self.cap_ns);
        }
        let window_ns = self.window_ns(attempt);
        match self.jitter {
            Jitter::None | Jitter::Decorrelated => window_ns,
            Jitter::Full => scale(draw, window_ns.saturating_add(1)),
            Jitter::Equal => {
                let half_ns = window_ns / 2;
                half_ns + scale(draw, (window_ns - half_ns).saturating_add(1))
            }
        }
    }

    fn window_ns(&self, attempt: u32) -> u64 {
        match self.backoff {
            Backoff::Fixed => self.base_ns,
            Backoff::Exponential => {
                // A shift beyond 63 bits is above any cap already.
                let shift = attempt.saturating_sub(1).min(63);
                let window_ns = u128::from(self.base_ns) << shift;
                window_ns.min(u128::from(self.cap_ns)) as u64
            }
        }
    }
}

/// The draw for one wait: a function of what is waited for, so that a run can be repeated.
pub fn wait_draw(seed: u64, sequence: u64, follower_index: u64, attempt: u32) -> u64 {
    mix(mix(mix(seed, sequence), follower_index), u64::from(attempt))
}

const RETRY_COST: u64 = 1_000_000;
const BUDGET_START: u64 = 10 * RETRY_COST;
const BUDGET_MAX: u64 = 100 * RETRY_COST;

/// A token bucket that keeps retries a fraction of first transmissions.
#[derive(Debug)]
pub struct Budget {
    level: u64,
    earned: Option<u64>,
}

impl Budget {
    pub fn new(budget_ppm: i64) -> Self {
        Self {
            level: BUDGET_START,
            earned: u64::try_from(budget_ppm).ok(),
        }
    }

    pub fn earn(&mut self) {
        let earned = self.earned.unwrap_or(0);
        self.level = self.level.saturating_add(earned).min(BUDGET_MAX);
    }

    /// Pays for one retry, or returns false when there is too little left.
    pub fn spend(&mut self) -> bool {
        if self.earned.is_none() {
            return true;
        }
        match self.level.checked_sub(RETRY_COST) {
            Some(level) => {
                self.level = level;
                true
            }
            None => false,
        }
    }
}
