//! How the leader brings updates to its followers: attempts, retries and reconciliation.

use crate::attempts::{Attempt, Phase};
use crate::backoff::wait_draw;
use crate::breaker::BreakerState;
use crate::bugs::{Bug, reencode};
use crate::frames::frame_bytes;
use crate::leader::Leader;
use crate::machine::{Command, Timer, after};
use crate::settings::Overflow;
use crate::trace::{OpenSpan, SpanKind, context_of, end, trace_text};
use crate::wire::{Envelope, Kind};

/// Repairs of one follower that are recorded at a time; those beyond count as given up.
const RECORDED_REPAIRS_MAX: usize = 2048;

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
        let memory_bytes = self.settings.channel.memory_bytes;
        let is_full =
            outstanding >= queue.limit || self.followers[follower].channel_is_full(memory_bytes, 0);
        if queue.overflow == Overflow::Defer && is_full {
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
            span: None,
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
        let span = self.begin_replicate(follower, sequence, number, now_ns);
        self.send_entry(Kind::Update, follower, sequence, number, &span, now_ns, out);
        if let Some(attempt) = self.followers[follower].attempts.get_mut(&sequence) {
            attempt.span = span;
        }
        out.push(Command::StartTimer {
            at_ns: after(now_ns, self.settings.policy.timeout_ns),
            timer: Timer::Attempt {
                follower,
                sequence,
                generation,
            },
        });
    }

    fn begin_replicate(
        &mut self,
        follower: usize,
        sequence: u64,
        attempt: u32,
        now_ns: i64,
    ) -> OpenSpan {
        let parent = self.slot(sequence).and_then(|slot| slot.trace);
        let mut span = self
            .tracer
            .begin("replicate", SpanKind::Producer, parent, now_ns)?;
        span.text("driftlab.follower", &self.followers[follower].name);
        span.number("driftlab.attempt", u64::from(attempt));
        span.number("driftlab.sequence", sequence);
        Some(span)
    }

    #[expect(clippy::too_many_arguments, reason = "a frame has that many parts")]
    fn send_entry(
        &mut self,
        kind: Kind,
        follower: usize,
        sequence: u64,
        attempt: u32,
        span: &OpenSpan,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        let Some(slot) = self.slot(sequence) else {
            return;
        };
        let frame = self.settings.envelope(kind, now_ns);
        let mut envelope = Envelope {
            schema_version: frame.schema_version,
            enqueued_ns: frame.enqueued_ns,
            traceparent: context_of(span).map_or(String::new(), |context| context.to_string()),
            ..slot.entry.to_envelope(kind, &self.settings.name, attempt)
        };
        if self.settings.has(Bug::Reencodes) {
            envelope.payload = reencode(&envelope.payload);
        }
        self.counters.transmissions += 1;
        let sent_bytes = frame_bytes(&envelope) as u64;
        self.counters.bytes += sent_bytes;
        self.followers[follower].frame_bytes_last = sent_bytes;
        self.followers[follower].unoffered += 1;
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
            let trace_id = trace_text(&attempt.span);
            tracing::warn!(follower = view.name, sequence, trace_id, "a breaker opened");
        }
        let span = attempt.span.take();
        end_replicate(span, "timed_out", now_ns, out);
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

    pub(crate) fn mark_acknowledged(
        &mut self,
        follower: usize,
        sequence: u64,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        if let Some(slot) = self.slot_mut(sequence) {
            slot.acknowledged |= 1 << follower;
        }
        let view = &mut self.followers[follower];
        if let Some(attempt) = view.attempts.remove(&sequence) {
            end_replicate(attempt.span, "acknowledged", now_ns, out);
        }
        if let Some(span) = view.repairs.remove(&sequence) {
            end_replicate(span, "acknowledged", now_ns, out);
        }
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
            self.mark_acknowledged(follower, sequence, now_ns, out);
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
            .filter(|slot| is_old(slot.entry.clock_ns, now_ns, timeout_ns))
            .map(|slot| slot.entry.sequence)
            .take(self.settings.reconcile_batch)
            .collect();
        for sequence in missing {
            self.counters.repairs += 1;
            let span = self.begin_replicate(follower, sequence, 0, now_ns);
            self.send_entry(Kind::Repair, follower, sequence, 0, &span, now_ns, out);
            self.keep_repair(follower, sequence, span, now_ns, out);
        }
    }

    /// Remembers a recorded repair until its acknowledgement; one sent before is given up.
    fn keep_repair(
        &mut self,
        follower: usize,
        sequence: u64,
        span: OpenSpan,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        if span.is_none() {
            return;
        }
        let repairs = &mut self.followers[follower].repairs;
        if let Some(before) = repairs.remove(&sequence) {
            end_replicate(before, "given_up", now_ns, out);
        }
        if repairs.len() < RECORDED_REPAIRS_MAX {
            repairs.insert(sequence, span);
        } else {
            end_replicate(span, "given_up", now_ns, out);
        }
    }
}

/// Whether an update was accepted at least `age_ns` ago; one from before this start is.
fn is_old(clock_ns: i64, now_ns: i64, age_ns: u64) -> bool {
    let elapsed_ns = u64::try_from(now_ns.saturating_sub(clock_ns)).unwrap_or(0);
    clock_ns == 0 || elapsed_ns >= age_ns
}

fn end_replicate(mut span: OpenSpan, outcome: &str, now_ns: i64, out: &mut Vec<Command>) {
    if let Some(span) = &mut span {
        span.text("driftlab.outcome", outcome);
        span.failed = outcome != "acknowledged";
    }
    end(span, now_ns, out);
}
