//! The leader's decisions: accept, replicate, release, reconcile.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::attempts::FollowerView;
use crate::backoff::Budget;
use crate::bugs::Bug;
use crate::counters::Counters;
use crate::entry::Entry;
use crate::events::{Event, Fact};
use crate::faults::{Faults, WallClock};
use crate::frames::{BODY_BYTES_MAX, PREFIX_BYTES, frame_bytes};
use crate::hashes::extend_prefix_hash;
use crate::machine::{ClientId, Command, Status, Timer, after};
use crate::measures::Measures;
use crate::release::{Waiter, end_write};
use crate::settings::{Mode, Overflow, Settings};
use crate::snapshot::Snapshot;
use crate::state::KeyState;
use crate::trace::{OpenSpan, SpanContext, SpanKind, Tracer, context_of, trace_id_of};
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
    /// The first write that asked for it.
    pub(crate) trace: Option<SpanContext>,
}

/// An update that has a sequence and is not durable yet.
#[derive(Debug)]
struct Pending {
    entry: Arc<Entry>,
    trace: Option<SpanContext>,
}

/// The seeded bug knows a token for this long.
const TOKEN_NS_BUG: i64 = 300_000_000;
/// As long as any that a frame carries.
const TRACEPARENT_LONGEST: &str = "00-00000000000000000000000000000000-0000000000000000-00";

#[derive(Debug)]
pub struct Leader {
    pub(crate) settings: Arc<Settings>,
    incarnation: u64,
    pub(crate) mode: Mode,
    /// Durable updates; sequence s is at s - 1.
    pub(crate) log: Vec<Slot>,
    /// In the order of sequences.
    pending: VecDeque<Pending>,
    pub(crate) state: KeyState,
    tokens: HashMap<String, u64>,
    pub(crate) waiters: HashMap<u64, Vec<Waiter>>,
    pub(crate) unreleased: BTreeSet<u64>,
    /// Recovered updates have not been looked at yet: the next occasion looks at all.
    pub(crate) release_unseen: bool,
    pub(crate) followers: Vec<FollowerView>,
    pub(crate) budget: Budget,
    pub(crate) generation: u64,
    pub(crate) counters: Counters,
    /// Updates released.
    pub(crate) commits: u64,
    pub(crate) clock: WallClock,
    pub(crate) tracer: Tracer,
    pub(crate) measures: Measures,
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
            state: KeyState::new(settings.bug),
            tokens: HashMap::new(),
            waiters: HashMap::new(),
            unreleased: BTreeSet::new(),
            release_unseen: !stored.is_empty(),
            followers,
            budget: Budget::new(settings.policy.budget_ppm),
            generation: 0,
            counters: Counters::default(),
            commits: 0,
            clock: WallClock::default(),
            tracer: Tracer::new(&settings, incarnation),
            measures: Measures::default(),
            settings,
        };
        for entry in stored {
            leader.tokens.insert(entry.token.clone(), entry.sequence);
            leader.store(Arc::new(entry), None);
        }
        leader
    }

    pub fn start(&mut self, now_ns: i64, out: &mut Vec<Command>) {
        let fact = Fact::Start {
            incarnation: self.incarnation,
            prefix: self.last_sequence(),
        };
        push_event(out, now_ns, fact);
        self.start_progress_timer(now_ns, out);
    }

    fn start_progress_timer(&self, now_ns: i64, out: &mut Vec<Command>) {
        let every_ns = self.settings.progress_every_ns;
        if every_ns > 0 {
            out.push(Command::StartTimer {
                at_ns: after(now_ns, every_ns),
                timer: Timer::Progress,
            });
        }
    }

    /// Tells every follower how far the log reaches now.
    pub fn on_progress_timer(&mut self, now_ns: i64, out: &mut Vec<Command>) {
        for view in &self.followers {
            let envelope = Envelope {
                sequence: self.last_sequence(),
                clock_ns: now_ns,
                ..self.settings.envelope(Kind::Progress, now_ns)
            };
            out.push(Command::Send {
                target: view.index,
                envelope,
            });
        }
        self.start_progress_timer(now_ns, out);
    }

    /// How far the read model reaches, and at which moment.
    pub fn position(&self, now_ns: i64) -> (u64, i64) {
        (self.last_sequence(), now_ns)
    }

    pub fn snapshot(&self) -> Snapshot {
        let prefix = self.last_sequence();
        Snapshot {
            prefix,
            prefix_hash: self.prefix_hash(prefix),
            entries: self.log.iter().map(|slot| slot.entry.clone()).collect(),
        }
    }

    pub fn note_waiting(&mut self, target: usize, bytes: u64) {
        let mut followers = self.followers.iter_mut();
        if let Some(view) = followers.find(|view| view.index == target) {
            view.waiting_bytes = bytes;
            view.unoffered = 0;
        }
    }

    pub fn on_client(
        &mut self,
        client: ClientId,
        envelope: Envelope,
        read_ns: i64,
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
            span: self.begin_write(&envelope, read_ns),
        };
        let known = self.tokens.get(&envelope.idempotency_token).copied();
        if let Some(sequence) = known.filter(|sequence| self.recognises(*sequence, now_ns)) {
            self.on_known_token(sequence, waiter, now_ns, out);
        } else {
            self.on_new_token(envelope, waiter, now_ns, out);
        }
    }

    fn begin_write(&mut self, envelope: &Envelope, read_ns: i64) -> OpenSpan {
        let parent = SpanContext::parse(&envelope.traceparent);
        let mut span = self
            .tracer
            .begin("write", SpanKind::Server, parent, read_ns)?;
        span.text("driftlab.token", &envelope.idempotency_token);
        Some(span)
    }

    /// Whether the token of an update is still known; it always is, but for seeded bugs.
    fn recognises(&self, sequence: u64, now_ns: i64) -> bool {
        if self.settings.has(Bug::TokenForgotten)
            && let Some(slot) = self.slot(sequence)
        {
            let clock_ns = slot.entry.clock_ns;
            return clock_ns != 0 && now_ns - clock_ns < TOKEN_NS_BUG;
        }
        !self.settings.has(Bug::TokenIgnored)
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
            self.wait_for_release(sequence, waiter, now_ns, out);
            return;
        };
        if slot.released {
            let entry = slot.entry.clone();
            self.acknowledge(&entry, waiter, now_ns, out);
            return;
        }
        let acknowledged = slot.acknowledged;
        self.wait_for_release(sequence, waiter, now_ns, out);
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
        envelope.timestamp_ns = self.clock.read(now_ns);
        envelope.clock_ns = now_ns;
        envelope.origin = self.settings.name.clone();
        let entry = match Entry::from_envelope(envelope.clone()) {
            Ok(entry) if self.fits_frame(&entry) => entry,
            _ => {
                self.count_malformed(&envelope, "a write is not an update under a token");
                end_write(waiter.span, 0, "malformed", now_ns, out);
                return;
            }
        };
        if self.queues_are_full() {
            self.counters.rejected += 1;
            let fact = Fact::Rejected {
                token: token.clone(),
            };
            push_event(out, now_ns, fact);
            self.answer(Kind::WriteReject, None, token, waiter, now_ns, out);
            return;
        }
        if self.clock.is_skewed() {
            self.counters.skewed += 1;
        }
        let entry = Arc::new(entry);
        if self.settings.has(Bug::EarlyAcknowledgement) {
            let early = Waiter {
                client: waiter.client,
                correlation_id: waiter.correlation_id.clone(),
                span: None,
            };
            self.acknowledge(&entry, early, now_ns, out);
        }
        self.tokens.insert(token, entry.sequence);
        let trace = context_of(&waiter.span);
        self.wait_for_release(entry.sequence, waiter, now_ns, out);
        self.pending.push_back(Pending {
            entry: entry.clone(),
            trace,
        });
        out.push(Command::Append(entry));
    }

    pub fn on_committed(&mut self, count: usize, now_ns: i64, out: &mut Vec<Command>) {
        for _ in 0..count {
            let Some(Pending { entry, trace }) = self.pending.pop_front() else {
                return;
            };
            let (sequence, token) = (entry.sequence, entry.token.clone());
            self.store(entry, trace);
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
                self.mark_acknowledged(follower, envelope.sequence, now_ns, out);
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
        let lag = |view: &FollowerView| self.last_sequence() - view.acknowledged_prefix;
        let lags = self.followers.iter();
        let lags = lags.map(|view| (view.name.clone(), lag(view)));
        Status {
            mode: self.mode,
            last_sequence: self.last_sequence(),
            prefix: self.last_sequence(),
            prefix_hash: self.prefix_hash(self.last_sequence()),
            waiting: 0,
            outstanding,
            breakers: breakers.collect(),
            lags: lags.collect(),
            as_of_ns: 0,
            commits: self.commits,
            faults: Faults::default(),
            incarnation: self.incarnation,
            counters: self.counters.clone(),
            state: self.state.clone(),
        }
    }

    /// Adds a durable entry to the log and applies it. Entries come without a gap.
    fn store(&mut self, entry: Arc<Entry>, trace: Option<SpanContext>) {
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
            trace,
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
        let memory_bytes = self.settings.channel.memory_bytes;
        let is_full = |follower: &FollowerView| {
            follower.outstanding() + self.pending.len() >= queue.limit
                || follower.channel_is_full(memory_bytes, self.pending.len())
        };
        queue.overflow == Overflow::Reject && self.followers.iter().any(is_full)
    }

    /// Whether followers will take this entry's frame, whatever its attempt number.
    fn fits_frame(&self, entry: &Entry) -> bool {
        let envelope = Envelope {
            schema_version: u32::MAX,
            traceparent: TRACEPARENT_LONGEST.to_owned(),
            enqueued_ns: i64::MAX,
            ..entry.to_envelope(Kind::Repair, &self.settings.name, u32::MAX)
        };
        frame_bytes(&envelope) <= PREFIX_BYTES + BODY_BYTES_MAX
    }

    fn count_malformed(&mut self, envelope: &Envelope, message: &'static str) {
        self.counters.malformed += 1;
        log_malformed(envelope, message);
    }
}

pub(crate) fn log_malformed(envelope: &Envelope, message: &'static str) {
    tracing::warn!(
        correlation_id = envelope.correlation_id,
        trace_id = trace_id_of(&envelope.traceparent),
        kind = envelope.kind,
        source = envelope.source,
        sequence = envelope.sequence,
        "{message}"
    );
}

pub(crate) fn push_event(out: &mut Vec<Command>, time_ns: i64, fact: Fact) {
    out.push(Command::Event(Event { time_ns, fact }));
}
