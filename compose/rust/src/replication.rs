//! How the leader brings updates to its followers: attempts, retries and reconciliation.

use crate::attempts::{Attempt, Phase};
use crate::backoff::wait_draw;
use crate::breaker::BreakerState;
use crate::bugs::{Bug, reencode};
use crate::frames::frame_bytes;
use crate::leader::Leader;
use crate::machine::{Command, Timer, after};
use crate::settings::Overflow;
use crate::wire::{Envelope, Kind};

impl Leader {
    /// Starts the transmission of an update to a follower that has none under way.
    pub(crate) fn replicate(
        &mut self,
        follower: usize,
        sequence: u64,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        let queue = &self.settings.queue;
        let outstanding = self.followers[follower].outstanding();
        if queue.overflow == Overflow::Defer && outstanding >= queue.limit {
            self.counters.deferred += 1;
            return;
        }
        let breaker = &mut self.followers[follower].breaker;
        if !breaker.lets(now_ns, sequence) {
            self.counters.breaker_rejected += 1;
            return;
        }
        self.budget.earn();
        let attempt = Attempt {
            number: 1,
            phase: Phase::Sent,
            generation: 0,
            wait_ns_previous: self.settings.policy.base_ns,
        };
        self.followers[follower].attempts.insert(sequence, attempt);
        self.transmit(follower, sequence, now_ns, out);
    }

    /// Sends the attempt that the follower's record describes and starts its timeout.
    fn transmit(&mut self, follower: usize, sequence: u64, now_ns: i64, out: &mut Vec<Command>) {
        self.generation += 1;
        let generation = self.generation;
        let Some(attempt) = self.followers[follower].attempts.get_mut(&sequence) else {
            return;
        };
        attempt.phase = Phase::Sent;
        attempt.generation = generation;
        let number = attempt.number;
        self.send_entry(Kind::Update, follower, sequence, number, out);
        out.push(Command::StartTimer {
            at_ns: after(now_ns, self.settings.policy.timeout_ns),
            timer: Timer::Attempt {
                follower,
                sequence,
                generation,
            },
        });
    }

    fn send_entry(
        &mut self,
        kind: Kind,
        follower: usize,
        sequence: u64,
        attempt: u32,
        out: &mut Vec<Command>,
    ) {
        let Some(slot) = self.slot(sequence) else {
            return;
        };
        let mut envelope = slot.entry.to_envelope(kind, &self.settings.name, attempt);
        if self.settings.has(Bug::Reencodes) {
            envelope.payload = reencode(&envelope.payload);
        }
        self.counters.transmissions += 1;
        self.counters.bytes += frame_bytes(&envelope) as u64;
        out.push(Command::Send {
            target: self.followers[follower].index,
            envelope,
        });
    }

    /// A timeout or the end of a wait, or neither when the timer is stale.
    pub fn on_attempt_timer(
        &mut self,
        follower: usize,
        sequence: u64,
        generation: u64,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        let Some(view) = self.followers.get_mut(follower) else {
            return;
        };
        let Some(attempt) = view.attempt_of_timer(sequence, generation) else {
            return;
        };
        match attempt.phase {
            Phase::BackingOff => {
                attempt.number += 1;
                if view.breaker.lets(now_ns, sequence) {
                    self.transmit(follower, sequence, now_ns, out);
                } else {
                    self.counters.breaker_rejected += 1;
                    view.attempts.remove(&sequence);
                }
            }
            Phase::Sent => self.on_timeout(follower, sequence, now_ns, out),
        }
    }

    fn on_timeout(&mut self, follower: usize, sequence: u64, now_ns: i64, out: &mut Vec<Command>) {
        let policy = &self.settings.policy;
        let view = &mut self.followers[follower];
        let Some(attempt) = view.attempts.get_mut(&sequence) else {
            return;
        };
        if view.breaker.failed(now_ns, sequence) {
            self.counters.breaker_opened += 1;
            tracing::warn!(follower = view.name, sequence, "a breaker opened");
        }
        if attempt.number >= policy.attempts {
            self.counters.exhausted += 1;
            view.attempts.remove(&sequence);
            return;
        }
        if view.breaker.state() != BreakerState::Closed {
            self.counters.breaker_rejected += 1;
            view.attempts.remove(&sequence);
            return;
        }
        if self.settings.has(Bug::EagerRetries) {
            self.counters.retries += 1;
            attempt.number += 1;
            self.transmit(follower, sequence, now_ns, out);
            return;
        }
        if !self.budget.spend() {
            self.counters.budget_denied += 1;
            view.attempts.remove(&sequence);
            return;
        }
        self.counters.retries += 1;
        let seed = self.settings.seed;
        let draw = wait_draw(seed, sequence, view.index as u64, attempt.number);
        let wait_ns = policy.wait_ns(attempt.number, attempt.wait_ns_previous, draw);
        self.generation += 1;
        attempt.phase = Phase::BackingOff;
        attempt.generation = self.generation;
        attempt.wait_ns_previous = wait_ns;
        out.push(Command::StartTimer {
            at_ns: after(now_ns, wait_ns),
            timer: Timer::Attempt {
                follower,
                sequence,
                generation: self.generation,
            },
        });
    }

    pub(crate) fn mark_acknowledged(&mut self, follower: usize, sequence: u64) {
        if let Some(slot) = self.slot_mut(sequence) {
            slot.acknowledged |= 1 << follower;
        }
        self.followers[follower].attempts.remove(&sequence);
    }

    pub(crate) fn advance_prefix(&mut self, follower: usize) {
        let mut prefix = self.followers[follower].acknowledged_prefix;
        while let Some(slot) = self.slot(prefix + 1)
            && slot.acknowledged & (1 << follower) != 0
        {
            prefix += 1;
        }
        self.followers[follower].acknowledged_prefix = prefix;
    }

    pub(crate) fn on_digest(
        &mut self,
        follower: usize,
        digest: &Envelope,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        let view = &mut self.followers[follower];
        if digest.incarnation < view.incarnation || view.deaf {
            return;
        }
        let prefix = digest.sequence;
        let restarted = digest.incarnation > view.incarnation;
        view.incarnation = digest.incarnation;
        if restarted && prefix < view.acknowledged_prefix {
            self.forget_acknowledgements(follower, prefix);
        }
        let beyond = prefix > self.last_sequence();
        if beyond || self.prefix_hash(prefix) != digest.prefix_hash {
            self.counters.digest_mismatch += 1;
            self.followers[follower].deaf = self.settings.has(Bug::DeafToDigests);
            tracing::warn!(
                source = digest.source,
                sequence = prefix,
                "a digest contradicts the changelog"
            );
            return;
        }
        let first = self.followers[follower].acknowledged_prefix + 1;
        if prefix >= first {
            self.followers[follower].breaker.succeeded();
        }
        for sequence in first..=prefix {
            self.mark_acknowledged(follower, sequence);
        }
        self.advance_prefix(follower);
        self.release_all(now_ns, out);
        self.repair(follower, prefix, now_ns, out);
    }

    /// The follower came back with less than it had: what it acknowledged before may be gone.
    fn forget_acknowledgements(&mut self, follower: usize, prefix: u64) {
        let kept = usize::try_from(prefix).unwrap_or(usize::MAX);
        for slot in self.log.iter_mut().skip(kept) {
            slot.acknowledged &= !(1 << follower);
        }
        self.followers[follower].acknowledged_prefix = prefix;
    }

    fn repair(&mut self, follower: usize, prefix: u64, now_ns: i64, out: &mut Vec<Command>) {
        let timeout_ns = self.settings.policy.timeout_ns;
        let position = usize::try_from(prefix).unwrap_or(usize::MAX);
        let above = self.log.iter().skip(position);
        let missing: Vec<u64> = above
            .filter(|slot| slot.acknowledged & (1 << follower) == 0)
            .filter(|slot| is_old(slot.entry.timestamp_ns, now_ns, timeout_ns))
            .map(|slot| slot.entry.sequence)
            .take(self.settings.reconcile_batch)
            .collect();
        for sequence in missing {
            self.counters.repairs += 1;
            self.send_entry(Kind::Repair, follower, sequence, 0, out);
        }
    }
}

/// Whether an update was accepted at least `age_ns` ago. A time in the future was read before
/// the host started anew, when its clock began again.
fn is_old(timestamp_ns: i64, now_ns: i64, age_ns: u64) -> bool {
    match u64::try_from(now_ns.saturating_sub(timestamp_ns)) {
        Ok(elapsed_ns) => elapsed_ns >= age_ns,
        Err(_) => true,
    }
}
