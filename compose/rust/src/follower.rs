//! The follower's decisions: store, acknowledge, apply, and say how far it has come.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::bugs::Bug;
use crate::counters::Counters;
use crate::entry::{Entry, SCHEMA_VERSION};
use crate::events::Fact;
use crate::hashes::{extend_prefix_hash, mix};
use crate::leader::{log_malformed, push_event};
use crate::machine::{ClientId, Command, Status, Timer, after};
use crate::settings::{Mode, Ordering, Settings};
use crate::state::KeyState;
use crate::wire::{Envelope, Kind};

/// Which sequences have come, durable or not yet.
#[derive(Debug, Default)]
struct Received {
    /// All of `1..=prefix` has come.
    prefix: u64,
    above: BTreeSet<u64>,
}

impl Received {
    fn contains(&self, sequence: u64) -> bool {
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

#[derive(Debug)]
pub struct Follower {
    settings: Arc<Settings>,
    incarnation: u64,
    mode: Mode,
    received: Received,
    /// Entries that came and are not durable yet, in the order they came.
    pending: VecDeque<Arc<Entry>>,
    /// How many acknowledgements to send once a pending entry is durable.
    owed: HashMap<u64, usize>,
    /// The durable gapless prefix and its hash.
    prefix: u64,
    prefix_hash: u64,
    /// Durable entries behind a gap.
    waiting: BTreeMap<u64, Arc<Entry>>,
    state: KeyState,
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
            prefix: 0,
            prefix_hash: 0,
            waiting: BTreeMap::new(),
            state: KeyState::default(),
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

    pub fn on_peer(&mut self, envelope: Envelope, out: &mut Vec<Command>) {
        let is_entry = matches!(envelope.kind(), Kind::Update | Kind::Repair);
        if !is_entry || envelope.source != self.settings.leader {
            self.count_malformed(&envelope, "a peer sent what a follower does not take");
            return;
        }
        match Entry::from_envelope(envelope.clone()) {
            Ok(entry) => self.on_entry(entry, out),
            Err(_) => self.count_malformed(&envelope, "an update cannot be understood"),
        }
    }

    fn on_entry(&mut self, entry: Entry, out: &mut Vec<Command>) {
        let sequence = entry.sequence;
        if self.received.contains(sequence) {
            self.counters.duplicates += 1;
            match self.owed.get_mut(&sequence) {
                // Still on its way to the disk: this answer waits with the first one.
                Some(owed) => *owed += 1,
                None => self.acknowledge(&entry, out),
            }
            return;
        }
        let window_end = self.received.prefix + self.settings.queue.limit as u64;
        if sequence > window_end {
            self.counters.reorder_full += 1;
            return;
        }
        if sequence - 1 != self.received.highest() {
            self.counters.out_of_order += 1;
        }
        self.received.insert(sequence);
        self.owed.insert(sequence, 1);
        let entry = Arc::new(entry);
        self.pending.push_back(entry.clone());
        if self.settings.has(Bug::EarlyAcknowledgement) {
            self.acknowledge(&entry, out);
        }
        out.push(Command::Append(entry));
    }

    pub fn on_committed(&mut self, count: usize, now_ns: i64, out: &mut Vec<Command>) {
        for _ in 0..count {
            let Some(entry) = self.pending.pop_front() else {
                return;
            };
            for _ in 0..self.owed.remove(&entry.sequence).unwrap_or(0) {
                self.acknowledge(&entry, out);
            }
            self.store(entry, now_ns, out);
        }
    }

    /// Takes a durable entry into the log and applies what can be applied.
    fn store(&mut self, entry: Arc<Entry>, now_ns: i64, out: &mut Vec<Command>) {
        let applies_at_once =
            self.settings.ordering == Ordering::Key || self.settings.has(Bug::AnyOrder);
        if applies_at_once {
            self.apply(&entry, now_ns, out);
        }
        self.waiting.insert(entry.sequence, entry);
        while let Some(next) = self.waiting.remove(&(self.prefix + 1)) {
            self.prefix += 1;
            self.prefix_hash = extend_prefix_hash(self.prefix_hash, self.prefix, next.word);
            if !applies_at_once {
                self.apply(&next, now_ns, out);
            }
        }
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
            schema_version: SCHEMA_VERSION,
            kind: Kind::WriteReject.into(),
            source: self.settings.name.clone(),
            correlation_id: envelope.correlation_id,
            idempotency_token: envelope.idempotency_token,
            ..Envelope::default()
        };
        out.push(Command::Reply { client, envelope });
    }

    pub fn on_digest_timer(&mut self, now_ns: i64, out: &mut Vec<Command>) {
        self.counters.digests_sent += 1;
        out.push(Command::Send {
            target: self.settings.leader_index(),
            envelope: Envelope {
                schema_version: SCHEMA_VERSION,
                kind: Kind::Digest.into(),
                source: self.settings.name.clone(),
                sequence: self.prefix,
                prefix_hash: self.prefix_hash,
                incarnation: self.incarnation,
                ..Envelope::default()
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
            incarnation: self.incarnation,
            counters: self.counters.clone(),
            state: self.state.clone(),
        }
    }

    pub fn superseded(&self) -> u64 {
        self.superseded
    }

    fn acknowledge(&mut self, entry: &Entry, out: &mut Vec<Command>) {
        self.counters.acks_sent += 1;
        out.push(Command::Send {
            target: self.settings.leader_index(),
            envelope: Envelope {
                schema_version: SCHEMA_VERSION,
                kind: Kind::UpdateAck.into(),
                source: self.settings.name.clone(),
                sequence: entry.sequence,
                correlation_id: entry.correlation_id.clone(),
                idempotency_token: entry.token.clone(),
                ..Envelope::default()
            },
        });
    }

    fn count_malformed(&mut self, envelope: &Envelope, message: &'static str) {
        self.counters.malformed += 1;
        log_malformed(envelope, message);
    }
}
