//! The leader's decisions: accept, replicate, release, reconcile.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::attempts::FollowerView;
use crate::backoff::Budget;
use crate::bugs::Bug;
use crate::counters::Counters;
use crate::entry::{Entry, SCHEMA_VERSION};
use crate::events::{Event, Fact};
use crate::frames::{BODY_BYTES_MAX, PREFIX_BYTES, frame_bytes};
use crate::hashes::extend_prefix_hash;
use crate::machine::{ClientId, Command, Status};
use crate::settings::{Mode, Overflow, Settings};
use crate::state::KeyState;
use crate::wire::{Envelope, Kind};

/// One update of the leader's changelog.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) entry: Arc<Entry>,
    /// Bit n: follower n has it.
    pub(crate) acknowledged: u64,
    pub(crate) released: bool,
    /// Hash of the prefix that ends here.
    pub(crate) prefix_hash: u64,
}

/// A client that waits for the release of an update.
#[derive(Debug)]
struct Waiter {
    client: ClientId,
    correlation_id: String,
}

/// A client that asks for one update more often than this is answered for its latest requests.
const WAITERS_MAX: usize = 64;

#[derive(Debug)]
pub struct Leader {
    pub(crate) settings: Arc<Settings>,
    incarnation: u64,
    mode: Mode,
    /// Durable updates; sequence s is at s - 1.
    pub(crate) log: Vec<Slot>,
    /// Updates that have a sequence and are not durable yet, in the order of sequences.
    pending: VecDeque<Arc<Entry>>,
    state: KeyState,
    tokens: HashMap<String, u64>,
    waiters: HashMap<u64, Vec<Waiter>>,
    unreleased: BTreeSet<u64>,
    /// Recovered updates have not been looked at yet: the next occasion looks at all.
    release_unseen: bool,
    pub(crate) followers: Vec<FollowerView>,
    pub(crate) budget: Budget,
    pub(crate) generation: u64,
    pub(crate) counters: Counters,
}

impl Leader {
    /// Takes the stored log, which has no gap.
    pub fn recover(settings: Arc<Settings>, incarnation: u64, stored: Vec<Entry>) -> Self {
        let names = settings.replicas.iter().enumerate();
        let followers = names
            .filter(|(_, name)| **name != settings.name)
            .map(|(index, name)| FollowerView::new(index, name.clone(), &settings))
            .collect();
        let mut leader = Self {
            incarnation,
            mode: settings.mode,
            log: Vec::new(),
            pending: VecDeque::new(),
            state: KeyState::default(),
            tokens: HashMap::new(),
            waiters: HashMap::new(),
            unreleased: BTreeSet::new(),
            release_unseen: !stored.is_empty(),
            followers,
            budget: Budget::new(settings.policy.budget_ppm),
            generation: 0,
            counters: Counters::default(),
            settings,
        };
        for entry in stored {
            leader.tokens.insert(entry.token.clone(), entry.sequence);
            leader.store(Arc::new(entry));
        }
        leader
    }

    pub fn start(&mut self, now_ns: i64, out: &mut Vec<Command>) {
        let fact = Fact::Start {
            incarnation: self.incarnation,
            prefix: self.last_sequence(),
        };
        push_event(out, now_ns, fact);
    }

    pub fn on_client(
        &mut self,
        client: ClientId,
        envelope: Envelope,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        if envelope.kind() != Kind::Write {
            self.count_malformed(&envelope, "a client sent something else than a write");
            return;
        }
        let waiter = Waiter {
            client,
            correlation_id: envelope.correlation_id.clone(),
        };
        let known = self.tokens.get(&envelope.idempotency_token).copied();
        if let Some(sequence) = known.filter(|_| !self.settings.has(Bug::TokenIgnored)) {
            self.on_known_token(sequence, waiter, now_ns, out);
        } else {
            self.on_new_token(envelope, waiter, now_ns, out);
        }
    }

    fn on_known_token(
        &mut self,
        sequence: u64,
        waiter: Waiter,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        self.counters.duplicate_requests += 1;
        let Some(slot) = self.slot(sequence) else {
            // Not durable yet: it will be replicated and released as if asked for once.
            self.wait_for_release(sequence, waiter);
            return;
        };
        if slot.released {
            let entry = slot.entry.clone();
            self.acknowledge(&entry, waiter, out);
            return;
        }
        let acknowledged = slot.acknowledged;
        self.wait_for_release(sequence, waiter);
        for follower in 0..self.followers.len() {
            let outstanding = self.followers[follower].attempts.contains_key(&sequence);
            if acknowledged & (1 << follower) == 0 && !outstanding {
                self.replicate(follower, sequence, now_ns, out);
            }
        }
        self.release_after_acknowledgement(sequence, now_ns, out);
    }

    fn on_new_token(
        &mut self,
        mut envelope: Envelope,
        waiter: Waiter,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        let token = envelope.idempotency_token.clone();
        envelope.sequence = self.last_sequence() + self.pending.len() as u64 + 1;
        envelope.timestamp_ns = now_ns;
        envelope.origin = self.settings.name.clone();
        let entry = match Entry::from_envelope(envelope.clone()) {
            Ok(entry) if self.fits_frame(&entry) => entry,
            _ => {
                self.count_malformed(&envelope, "a write is not an update under a token");
                return;
            }
        };
        if self.queues_are_full() {
            self.counters.rejected += 1;
            let fact = Fact::Rejected {
                token: token.clone(),
            };
            push_event(out, now_ns, fact);
            self.answer(Kind::WriteReject, None, token, waiter, out);
            return;
        }
        let entry = Arc::new(entry);
        if self.settings.has(Bug::EarlyAcknowledgement) {
            let correlation_id = waiter.correlation_id.clone();
            let client = waiter.client;
            let early = Waiter {
                client,
                correlation_id,
            };
            self.acknowledge(&entry, early, out);
        }
        self.tokens.insert(token, entry.sequence);
        self.wait_for_release(entry.sequence, waiter);
        self.pending.push_back(entry.clone());
        out.push(Command::Append(entry));
    }

    pub fn on_committed(&mut self, count: usize, now_ns: i64, out: &mut Vec<Command>) {
        for _ in 0..count {
            let Some(entry) = self.pending.pop_front() else {
                return;
            };
            let (sequence, token) = (entry.sequence, entry.token.clone());
            self.store(entry);
            let accepted = Fact::Accepted {
                sequence,
                token: token.clone(),
            };
            push_event(out, now_ns, accepted);
            push_event(out, now_ns, Fact::Applied { sequence, token });
            for follower in 0..self.followers.len() {
                self.replicate(follower, sequence, now_ns, out);
            }
            if self.is_releasable(sequence) {
                self.release(sequence, now_ns, out);
            }
        }
    }

    pub fn on_peer(&mut self, envelope: Envelope, now_ns: i64, out: &mut Vec<Command>) {
        let mut followers = self.followers.iter();
        let source = followers.position(|follower| follower.name == envelope.source);
        match (source, envelope.kind()) {
            (Some(follower), Kind::UpdateAck) if self.slot(envelope.sequence).is_some() => {
                self.followers[follower].breaker.succeeded();
                self.mark_acknowledged(follower, envelope.sequence);
                self.advance_prefix(follower);
                self.release_after_acknowledgement(envelope.sequence, now_ns, out);
            }
            (Some(follower), Kind::Digest) => self.on_digest(follower, &envelope, now_ns, out),
            _ => self.count_malformed(&envelope, "a peer sent what a leader does not take"),
        }
    }

    pub fn set_mode(&mut self, mode: Mode, now_ns: i64, out: &mut Vec<Command>) {
        self.mode = mode;
        push_event(out, now_ns, Fact::Mode { mode });
        self.release_all(now_ns, out);
    }

    pub fn status(&self) -> Status {
        let outstanding = self.followers.iter().map(FollowerView::outstanding).sum();
        let breakers = self.followers.iter();
        let breakers = breakers.map(|view| (view.name.clone(), view.breaker.state()));
        Status {
            mode: self.mode,
            last_sequence: self.last_sequence(),
            prefix: self.last_sequence(),
            prefix_hash: self.prefix_hash(self.last_sequence()),
            waiting: 0,
            outstanding,
            breakers: breakers.collect(),
            incarnation: self.incarnation,
            counters: self.counters.clone(),
            state: self.state.clone(),
        }
    }

    /// Adds a durable entry to the log and applies it. Entries come without a gap.
    fn store(&mut self, entry: Arc<Entry>) {
        let sequence = entry.sequence;
        assert_eq!(sequence, self.last_sequence() + 1, "the log has a gap");
        let before = self.prefix_hash(sequence - 1);
        self.state.apply(&entry);
        self.unreleased.insert(sequence);
        self.log.push(Slot {
            prefix_hash: extend_prefix_hash(before, sequence, entry.word),
            entry,
            acknowledged: 0,
            released: false,
        });
    }

    pub(crate) fn last_sequence(&self) -> u64 {
        self.log.len() as u64
    }

    pub(crate) fn slot(&self, sequence: u64) -> Option<&Slot> {
        let position = usize::try_from(sequence.checked_sub(1)?).ok()?;
        self.log.get(position)
    }

    pub(crate) fn slot_mut(&mut self, sequence: u64) -> Option<&mut Slot> {
        let position = usize::try_from(sequence.checked_sub(1)?).ok()?;
        self.log.get_mut(position)
    }

    /// The hash of a prefix within the log; that of the empty prefix is 0.
    pub(crate) fn prefix_hash(&self, prefix: u64) -> u64 {
        self.slot(prefix).map_or(0, |slot| slot.prefix_hash)
    }

    /// Updates that are not durable yet count: each will take a place in every queue.
    fn queues_are_full(&self) -> bool {
        let queue = &self.settings.queue;
        let is_full =
            |follower: &FollowerView| follower.outstanding() + self.pending.len() >= queue.limit;
        queue.overflow == Overflow::Reject && self.followers.iter().any(is_full)
    }

    /// Whether followers will take this entry's frame, whatever its attempt number.
    fn fits_frame(&self, entry: &Entry) -> bool {
        let envelope = entry.to_envelope(Kind::Repair, &self.settings.name, u32::MAX);
        frame_bytes(&envelope) <= PREFIX_BYTES + BODY_BYTES_MAX
    }

    fn wait_for_release(&mut self, sequence: u64, waiter: Waiter) {
        let waiters = self.waiters.entry(sequence).or_default();
        if waiters.len() == WAITERS_MAX {
            waiters.remove(0);
        }
        waiters.push(waiter);
    }

    /// Re-evaluates what an acknowledgement of `sequence` can have changed.
    fn release_after_acknowledgement(
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

    fn is_releasable(&self, sequence: u64) -> bool {
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

    fn release(&mut self, sequence: u64, now_ns: i64, out: &mut Vec<Command>) {
        let Some(slot) = self.slot_mut(sequence) else {
            return;
        };
        slot.released = true;
        let entry = slot.entry.clone();
        self.unreleased.remove(&sequence);
        let token = entry.token.clone();
        push_event(out, now_ns, Fact::Released { sequence, token });
        for waiter in self.waiters.remove(&sequence).unwrap_or_default() {
            self.acknowledge(&entry, waiter, out);
        }
    }

    fn acknowledge(&self, entry: &Entry, waiter: Waiter, out: &mut Vec<Command>) {
        let token = entry.token.clone();
        self.answer(Kind::WriteAck, Some(entry), token, waiter, out);
    }

    fn answer(
        &self,
        kind: Kind,
        entry: Option<&Entry>,
        token: String,
        waiter: Waiter,
        out: &mut Vec<Command>,
    ) {
        let envelope = Envelope {
            schema_version: SCHEMA_VERSION,
            kind: kind.into(),
            source: self.settings.name.clone(),
            sequence: entry.map_or(0, |entry| entry.sequence),
            origin: entry.map_or(String::new(), |entry| entry.origin.clone()),
            timestamp_ns: entry.map_or(0, |entry| entry.timestamp_ns),
            correlation_id: waiter.correlation_id,
            idempotency_token: token,
            ..Envelope::default()
        };
        out.push(Command::Reply {
            client: waiter.client,
            envelope,
        });
    }

    fn count_malformed(&mut self, envelope: &Envelope, message: &'static str) {
        self.counters.malformed += 1;
        log_malformed(envelope, message);
    }
}

pub(crate) fn log_malformed(envelope: &Envelope, message: &'static str) {
    tracing::warn!(
        correlation_id = envelope.correlation_id,
        kind = envelope.kind,
        source = envelope.source,
        sequence = envelope.sequence,
        "{message}"
    );
}

pub(crate) fn push_event(out: &mut Vec<Command>, time_ns: i64, fact: Fact) {
    out.push(Command::Event(Event { time_ns, fact }));
}
