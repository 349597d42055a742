//! When the leader acknowledges an update to the clients that wait for it.

use crate::entry::Entry;
use crate::events::Fact;
use crate::leader::{Leader, push_event};
use crate::machine::{ClientId, Command};
use crate::measures::observe;
use crate::settings::Mode;
use crate::trace::{OpenSpan, end, trace_text};
use crate::wire::{Envelope, Kind};

/// A client that waits for the release of an update.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) client: ClientId,
    pub(crate) correlation_id: String,
    /// The write, until it is answered.
    pub(crate) span: OpenSpan,
}

/// A client that asks for one update more often than this is answered for its latest requests.
const WAITERS_MAX: usize = 64;

/// Ends the span of a write; sequence 0 is that of an update that was not stored.
pub(crate) fn end_write(
    mut span: OpenSpan,
    sequence: u64,
    outcome: &str,
    now_ns: i64,
    out: &mut Vec<Command>,
) {
    if let Some(span) = &mut span {
        if sequence > 0 {
            span.number("driftlab.sequence", sequence);
        }
        span.text("driftlab.outcome", outcome);
    }
    end(span, now_ns, out);
}

impl Leader {
    pub(crate) fn wait_for_release(
        &mut self,
        sequence: u64,
        waiter: Waiter,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        let waiters = self.waiters.entry(sequence).or_default();
        if waiters.len() == WAITERS_MAX {
            let first = waiters.remove(0);
            end_write(first.span, sequence, "dropped", now_ns, out);
        }
        waiters.push(waiter);
    }

    /// Re-evaluates what an acknowledgement of `sequence` can have changed.
    pub(crate) fn release_after_acknowledgement(
        &mut self,
        sequence: u64,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        if self.release_unseen || self.mode == Mode::Bounded {
            self.release_all(now_ns, out);
        } else if self.unreleased.contains(&sequence) && self.is_releasable(sequence) {
            self.release(sequence, now_ns, out);
        }
    }

    /// Re-evaluates every unreleased update, in the order of sequences.
    pub(crate) fn release_all(&mut self, now_ns: i64, out: &mut Vec<Command>) {
        self.release_unseen = false;
        let last = match self.mode {
            Mode::Bounded => self.bounded_limit(),
            Mode::Async | Mode::Quorum | Mode::Sync => u64::MAX,
        };
        let candidates = self.unreleased.range(..=last).copied();
        let releasable: Vec<u64> = candidates
            .filter(|sequence| self.is_releasable(*sequence))
            .collect();
        for sequence in releasable {
            self.release(sequence, now_ns, out);
        }
    }

    pub(crate) fn is_releasable(&self, sequence: u64) -> bool {
        let Some(slot) = self.slot(sequence) else {
            return false;
        };
        let holders = slot.acknowledged.count_ones() as usize + 1;
        match self.mode {
            Mode::Async => true,
            Mode::Quorum => holders * 2 > self.followers.len() + 1,
            Mode::Sync => holders == self.followers.len() + 1,
            Mode::Bounded => sequence <= self.bounded_limit(),
        }
    }

    /// How far the log may run ahead of the slowest follower.
    fn bounded_limit(&self) -> u64 {
        let prefixes = self.followers.iter().map(|view| view.acknowledged_prefix);
        let slowest = prefixes.min().unwrap_or(u64::MAX);
        slowest.saturating_add(self.settings.bound)
    }

    pub(crate) fn release(&mut self, sequence: u64, now_ns: i64, out: &mut Vec<Command>) {
        let Some(slot) = self.slot_mut(sequence) else {
            return;
        };
        slot.released = true;
        let entry = slot.entry.clone();
        self.unreleased.remove(&sequence);
        self.commits += 1;
        if entry.clock_ns != 0 {
            observe(&self.measures.commit, entry.clock_ns, now_ns);
        }
        let token = entry.token.clone();
        push_event(out, now_ns, Fact::Released { sequence, token });
        for waiter in self.waiters.remove(&sequence).unwrap_or_default() {
            self.acknowledge(&entry, waiter, now_ns, out);
        }
    }

    pub(crate) fn acknowledge(
        &self,
        entry: &Entry,
        waiter: Waiter,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        let token = entry.token.clone();
        self.answer(Kind::WriteAck, Some(entry), token, waiter, now_ns, out);
    }

    pub(crate) fn answer(
        &self,
        kind: Kind,
        entry: Option<&Entry>,
        token: String,
        waiter: Waiter,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        let envelope = Envelope {
            sequence: entry.map_or(0, |entry| entry.sequence),
            origin: entry.map_or(String::new(), |entry| entry.origin.clone()),
            timestamp_ns: entry.map_or(0, |entry| entry.timestamp_ns),
            correlation_id: waiter.correlation_id,
            idempotency_token: token,
            ..self.settings.envelope(kind, now_ns)
        };
        let outcome = match kind {
            Kind::WriteAck => "acknowledged",
            _ => "rejected",
        };
        tracing::debug!(
            correlation_id = envelope.correlation_id,
            trace_id = trace_text(&waiter.span),
            sequence = envelope.sequence,
            outcome,
            "a write is answered"
        );
        end_write(waiter.span, envelope.sequence, outcome, now_ns, out);
        out.push(Command::Reply {
            client: waiter.client,
            envelope,
        });
    }

    /// The client's requests are not answered any more. Its waiters stay: what they wait for may
    /// be asked for again.
    pub fn forget_client(&mut self, client: ClientId, now_ns: i64, out: &mut Vec<Command>) {
        if self.settings.traces.is_empty() {
            return;
        }
        self.end_writes(|waiter| waiter.client == client, now_ns, out);
    }

    /// Ends the spans of the writes that some waiters wait for: they will not be answered.
    pub(crate) fn end_writes(
        &mut self,
        gone: impl Fn(&Waiter) -> bool,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        for (sequence, waiters) in &mut self.waiters {
            for waiter in waiters.iter_mut().filter(|waiter| gone(waiter)) {
                end_write(waiter.span.take(), *sequence, "dropped", now_ns, out);
            }
        }
    }
}
