//! The follower's decisions: store, acknowledge, apply, and say how far it has come.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::bugs::Bug;
use crate::counters::Counters;
use crate::entry::Entry;
use crate::events::Fact;
use crate::faults::Faults;
use crate::hashes::{extend_prefix_hash, mix};
use crate::leader::{log_malformed, push_event};
use crate::machine::{ClientId, Command, Status, Timer, after};
use crate::measures::{Measures, observe};
use crate::reading::Freshness;
use crate::settings::{Mode, Ordering, Settings};
use crate::snapshot::Snapshot;
use crate::state::KeyState;
use crate::trace::{OpenSpan, SpanContext, SpanKind, Tracer, end, trace_text};
use crate::wire::{Envelope, Kind};

/// Which sequences have come, durable or not yet.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// All of `1..=prefix` has come.
    prefix: u64,
    above: BTreeSet<u64>,
}

impl Received {
    pub(crate) fn contains(&self, sequence: u64) -> bool {
        sequence <= self.prefix || self.above.contains(&sequence)
    }

    fn highest(&self) -> u64 {
        self.above.last().copied().unwrap_or(self.prefix)
    }

    fn insert(&mut self, sequence: u64) {
        self.above.insert(sequence);
        while self.above.remove(&(self.prefix + 1)) {
            self.prefix += 1;
        }
    }
}

/// What is on its way to the disk.
#[derive(Debug)]
pub(crate) enum Pending {
    Entry(Arc<Entry>),
    /// Takes the place of an entry that is stored already.
    Correction(Arc<Entry>),
}

/// A frame that is owed an acknowledgement: when it was read, and its span.
#[derive(Debug)]
pub(crate) struct Receipt {
    read_ns: i64,
    span: OpenSpan,
}

#[derive(Debug)]
pub struct Follower {
    pub(crate) settings: Arc<Settings>,
    incarnation: u64,
    mode: Mode,
    pub(crate) received: Received,
    /// In the order they came.
    pub(crate) pending: VecDeque<Pending>,
    /// The acknowledgements to send once a pending entry is durable.
    owed: HashMap<u64, Vec<Receipt>>,
    /// The durable entries.
    pub(crate) log: BTreeMap<u64, Arc<Entry>>,
    /// The durable gapless prefix and its hash.
    pub(crate) prefix: u64,
    pub(crate) prefix_hash: u64,
    /// Durable entries behind a gap.
    pub(crate) waiting: BTreeMap<u64, Arc<Entry>>,
    pub(crate) state: KeyState,
    freshness: Freshness,
    tracer: Tracer,
    pub(crate) measures: Measures,
    digest_due_ns: i64,
    /// Entries whose key held a higher sequence already.
    superseded: u64,
    pub(crate) counters: Counters,
}

impl Follower {
    pub fn recover(settings: Arc<Settings>, incarnation: u64, stored: Vec<Entry>) -> Self {
        let mut follower = Self {
            incarnation,
            mode: settings.mode,
            received: Received::default(),
            pending: VecDeque::new(),
            owed: HashMap::new(),
            log: BTreeMap::new(),
            prefix: 0,
            prefix_hash: 0,
            waiting: BTreeMap::new(),
            state: KeyState::new(settings.bug),
            freshness: Freshness::default(),
            tracer: Tracer::new(&settings, incarnation),
            measures: Measures::default(),
            digest_due_ns: 0,
            superseded: 0,
            counters: Counters::default(),
            settings,
        };
        // What was applied in an earlier life is no event of this one.
        let mut unheard = Vec::new();
        for entry in stored {
            follower.received.insert(entry.sequence);
            follower.store(Arc::new(entry), 0, &mut unheard);
        }
        follower.superseded = 0;
        follower
    }

    pub fn start(&mut self, now_ns: i64, out: &mut Vec<Command>) {
        let fact = Fact::Start {
            incarnation: self.incarnation,
            prefix: self.prefix,
        };
        push_event(out, now_ns, fact);
        self.digest_due_ns = now_ns;
        if let Some(phase_ns) = self.digest_phase_ns() {
            self.digest_due_ns = after(now_ns, phase_ns);
            self.push_digest_timer(out);
        }
    }

    /// How long after its start this follower sends its first digest: followers are out of step with each other.
    fn digest_phase_ns(&self) -> Option<u64> {
        let index = self.settings.index as u64;
        mix(mix(self.settings.seed, 0), index)
            .checked_rem(self.settings.reconcile_every_ns)
            .map(|phase_ns| phase_ns + 1)
    }

    pub fn on_peer(
        &mut self,
        envelope: Envelope,
        read_ns: i64,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        let is_known = matches!(
            envelope.kind(),
            Kind::Update | Kind::Repair | Kind::Progress
        );
        if !is_known || envelope.source != self.settings.leader {
            self.count_malformed(&envelope, "a peer sent what a follower does not take");
            return;
        }
        let (sequence, clock_ns) = (envelope.sequence, envelope.clock_ns);
        if envelope.kind() == Kind::Progress {
            self.freshness
                .hear_progress(sequence, clock_ns, self.prefix);
            return;
        }
        let parent = SpanContext::parse(&envelope.traceparent);
        let mut span = self
            .tracer
            .begin("store", SpanKind::Consumer, parent, read_ns);
        if let Some(span) = &mut span {
            span.number("driftlab.sequence", envelope.sequence);
        }
        match Entry::from_envelope(envelope.clone()) {
            Ok(entry) => self.on_entry(entry, Receipt { read_ns, span }, now_ns, out),
            Err(_) => {
                self.count_malformed(&envelope, "an update cannot be understood");
                end(span, now_ns, out);
            }
        }
    }

    fn on_entry(&mut self, entry: Entry, receipt: Receipt, now_ns: i64, out: &mut Vec<Command>) {
        let sequence = entry.sequence;
        if !self.is_beyond_window(sequence) {
            self.freshness
                .hear_entry(sequence, entry.clock_ns, self.prefix);
        }
        if self.received.contains(sequence) {
            self.counters.duplicates += 1;
            if self.settings.has(Bug::DuplicateMerged) && sequence <= self.prefix {
                self.prefix += 1;
                self.prefix_hash = extend_prefix_hash(self.prefix_hash, self.prefix, entry.word);
            }
            match self.owed.get_mut(&sequence) {
                // Still on its way to the disk: this answer waits with the first one.
                Some(owed) => owed.push(receipt),
                None => self.acknowledge(&entry, receipt, now_ns, out),
            }
            return;
        }
        if self.is_beyond_window(sequence) {
            self.counters.reorder_full += 1;
            end(receipt.span, now_ns, out);
            return;
        }
        let entry = Arc::new(entry);
        if self.settings.has(Bug::EarlyAcknowledgement) {
            let early = Receipt {
                read_ns: receipt.read_ns,
                span: None,
            };
            self.acknowledge(&entry, early, now_ns, out);
        }
        self.receive(entry, vec![receipt], out);
    }

    pub(crate) fn is_beyond_window(&self, sequence: u64) -> bool {
        let limit = self.settings.queue.limit as u64;
        sequence > self.received.prefix.saturating_add(limit)
    }

    /// Sends an entry that has not come before on its way to the disk.
    pub(crate) fn receive(
        &mut self,
        entry: Arc<Entry>,
        owed: Vec<Receipt>,
        out: &mut Vec<Command>,
    ) {
        let sequence = entry.sequence;
        if sequence - 1 != self.received.highest() {
            self.counters.out_of_order += 1;
        }
        self.received.insert(sequence);
        self.owed.insert(sequence, owed);
        self.pending.push_back(Pending::Entry(entry.clone()));
        out.push(Command::Append(entry));
    }

    pub fn on_committed(&mut self, count: usize, now_ns: i64, out: &mut Vec<Command>) {
        let mut corrections = Vec::new();
        for _ in 0..count {
            match self.pending.pop_front() {
                Some(Pending::Entry(entry)) => {
                    for receipt in self.owed.remove(&entry.sequence).unwrap_or_default() {
                        self.acknowledge(&entry, receipt, now_ns, out);
                    }
                    self.store(entry, now_ns, out);
                }
                Some(Pending::Correction(entry)) => corrections.push(entry),
                None => break,
            }
        }
        self.correct_log(corrections, now_ns, out);
    }

    /// Takes a durable entry into the log and applies what can be applied.
    fn store(&mut self, entry: Arc<Entry>, now_ns: i64, out: &mut Vec<Command>) {
        let applies_at_once =
            self.settings.ordering == Ordering::Key || self.settings.has(Bug::AnyOrder);
        if applies_at_once {
            self.apply(&entry, now_ns, out);
        }
        self.log.insert(entry.sequence, entry.clone());
        self.waiting.insert(entry.sequence, entry);
        while let Some(next) = self.waiting.remove(&(self.prefix + 1)) {
            self.prefix += 1;
            self.prefix_hash = extend_prefix_hash(self.prefix_hash, self.prefix, next.word);
            if !applies_at_once {
                self.apply(&next, now_ns, out);
            }
        }
        self.freshness.advance(self.prefix);
    }

    fn apply(&mut self, entry: &Entry, now_ns: i64, out: &mut Vec<Command>) {
        let (sequence, token) = (entry.sequence, entry.token.clone());
        if self.settings.has(Bug::AnyOrder) {
            self.state.forget(&entry.key);
        }
        let fact = if self.state.apply(entry) {
            Fact::Applied { sequence, token }
        } else {
            self.superseded += 1;
            Fact::Superseded { sequence, token }
        };
        push_event(out, now_ns, fact);
    }

    /// A follower stores nothing for clients, and says so.
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
        self.counters.rejected += 1;
        let token = envelope.idempotency_token.clone();
        push_event(out, now_ns, Fact::Rejected { token });
        let envelope = Envelope {
            correlation_id: envelope.correlation_id,
            idempotency_token: envelope.idempotency_token,
            ..self.settings.envelope(Kind::WriteReject, now_ns)
        };
        out.push(Command::Reply { client, envelope });
    }

    pub fn on_digest_timer(&mut self, now_ns: i64, out: &mut Vec<Command>) {
        self.counters.digests_sent += 1;
        out.push(Command::Send {
            target: self.settings.leader_index(),
            envelope: Envelope {
                sequence: self.prefix,
                prefix_hash: self.prefix_hash,
                incarnation: self.incarnation,
                ..self.settings.envelope(Kind::Digest, now_ns)
            },
        });
        self.start_digest_timer(now_ns, out);
    }

    fn start_digest_timer(&mut self, now_ns: i64, out: &mut Vec<Command>) {
        let every_ns = self.settings.reconcile_every_ns;
        if every_ns == 0 {
            return;
        }
        // Digests missed in a long pause are not made up for; the next one is in phase again.
        let late_ns = u64::try_from(now_ns.saturating_sub(self.digest_due_ns)).unwrap_or(0);
        let missed_ns = late_ns - late_ns % every_ns;
        self.digest_due_ns = after(after(self.digest_due_ns, missed_ns), every_ns);
        self.push_digest_timer(out);
    }

    fn push_digest_timer(&self, out: &mut Vec<Command>) {
        out.push(Command::StartTimer {
            at_ns: self.digest_due_ns,
            timer: Timer::Digest,
        });
    }

    pub fn set_mode(&mut self, mode: Mode, now_ns: i64, out: &mut Vec<Command>) {
        self.mode = mode;
        push_event(out, now_ns, Fact::Mode { mode });
    }

    pub fn status(&self) -> Status {
        let highest_waiting = self.waiting.last_key_value().map(|(sequence, _)| *sequence);
        Status {
            mode: self.mode,
            last_sequence: highest_waiting.unwrap_or(self.prefix),
            prefix: self.prefix,
            prefix_hash: self.prefix_hash,
            waiting: self.waiting.len(),
            outstanding: 0,
            breakers: BTreeMap::new(),
            lags: BTreeMap::new(),
            as_of_ns: self.freshness.as_of_ns(),
            commits: 0,
            faults: Faults::default(),
            incarnation: self.incarnation,
            counters: self.counters.clone(),
            state: self.state.clone(),
        }
    }

    pub fn superseded(&self) -> u64 {
        self.superseded
    }

    /// How far the read model reaches, and up to which moment it is known to be complete.
    pub fn position(&self) -> (u64, i64) {
        (self.prefix, self.freshness.as_of_ns())
    }

    pub fn snapshot(&self) -> Snapshot {
        let entries = self.log.range(..=self.prefix);
        Snapshot {
            prefix: self.prefix,
            prefix_hash: self.prefix_hash,
            entries: entries.map(|(_, entry)| entry.clone()).collect(),
        }
    }

    pub fn entry(&self, sequence: u64) -> Option<Arc<Entry>> {
        self.log.get(&sequence).cloned()
    }

    fn acknowledge(
        &mut self,
        entry: &Entry,
        receipt: Receipt,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        self.counters.acks_sent += 1;
        out.push(Command::Send {
            target: self.settings.leader_index(),
            envelope: Envelope {
                sequence: entry.sequence,
                correlation_id: entry.correlation_id.clone(),
                idempotency_token: entry.token.clone(),
                ..self.settings.envelope(Kind::UpdateAck, now_ns)
            },
        });
        observe(&self.measures.processing, receipt.read_ns, now_ns);
        tracing::debug!(
            correlation_id = entry.correlation_id,
            trace_id = trace_text(&receipt.span),
            sequence = entry.sequence,
            "an entry is durable"
        );
        end(receipt.span, now_ns, out);
    }

    fn count_malformed(&mut self, envelope: &Envelope, message: &'static str) {
        self.counters.malformed += 1;
        log_malformed(envelope, message);
    }
}
