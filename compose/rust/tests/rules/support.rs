//! A replica on a bench: the test is its clock, its disk and its network.

use std::sync::Arc;

use bytes::Bytes;
use driftlab_replica::bugs::Bug;
use driftlab_replica::correction::RepairOutcome;
use driftlab_replica::entry::Entry;
use driftlab_replica::events::Fact;
use driftlab_replica::hashes::{extend_prefix_hash, payload_word};
use driftlab_replica::machine::{Command, Machine, Status, Timer};
use driftlab_replica::reading::Reading;
use driftlab_replica::settings::{Mode, Settings};
use driftlab_replica::trace::Span;
use driftlab_replica::wire::{Envelope, Kind, Update};
use prost::Message;
use serde_json::{Value, json};

pub const MILLISECOND_NS: u64 = 1_000_000;
pub const TIMEOUT_NS: u64 = 250 * MILLISECOND_NS;
pub const RECONCILE_NS: u64 = 1000 * MILLISECOND_NS;
pub const START_NS: i64 = 1_000_000_000_000;

/// Settings of three replicas; tests change what they are about.
pub fn settings_value(name: &str) -> Value {
    let names = ["leader", "f1", "f2"];
    let index = names.iter().position(|known| *known == name);
    let peers = if name == "leader" {
        json!({"f1": "127.0.0.1:9001", "f2": "127.0.0.1:9002"})
    } else {
        json!({"leader": "127.0.0.1:9000"})
    };
    json!({
        "schema": 1, "run_id": "test", "name": name, "index": index, "leader": "leader",
        "replicas": names, "peers": peers, "seed": 7, "mode": "quorum", "bound": 2,
        "ordering": "sequence",
        "policy": {"timeout_ns": TIMEOUT_NS, "attempts": 3, "backoff": "exponential",
                   "base_ns": 50 * MILLISECOND_NS, "cap_ns": 2000 * MILLISECOND_NS,
                   "jitter": "none", "budget_ppm": -1},
        "queue": {"limit": 4, "overflow": "reject"},
        "reconcile_every_ns": RECONCILE_NS, "reconcile_batch": 3,
        "data_dir": "/nowhere", "events": true, "log_level": "error",
        "listen": {"peer": ":7000", "client": ":7001", "control": ":8080"},
    })
}

pub struct Bench {
    pub machine: Machine,
    pub now_ns: i64,
    /// What came out since the last call of `take`.
    pub commands: Vec<Command>,
    /// Timers started and not yet fired, in the order they were started.
    pub timers: Vec<(i64, Timer)>,
    /// Appends that the disk has not confirmed.
    pub unconfirmed: Vec<Arc<Entry>>,
    pub stored: Vec<Entry>,
    pub settings: Arc<Settings>,
}

impl Bench {
    pub fn new(name: &str, change: impl Fn(&mut Value)) -> Self {
        let mut value = settings_value(name);
        change(&mut value);
        let settings = Settings::parse(&value.to_string()).expect("valid settings");
        let settings = Arc::new(settings);
        let mut bench = Self {
            machine: Machine::recover(settings.clone(), 1, Vec::new()).expect("an empty log"),
            now_ns: START_NS,
            commands: Vec::new(),
            timers: Vec::new(),
            unconfirmed: Vec::new(),
            stored: Vec::new(),
            settings,
        };
        bench.step(|machine, now_ns, out| machine.start(now_ns, out));
        bench.commands.clear();
        bench
    }

    pub fn leader(mode: &str) -> Self {
        Self::new("leader", |value| value["mode"] = json!(mode))
    }

    /// The same replica with a defect, empty.
    pub fn with_bug(self, bug: Option<Bug>) -> Self {
        let settings = Arc::new(Settings {
            bug,
            ..(*self.settings).clone()
        });
        let machine = Machine::recover(settings.clone(), 1, Vec::new()).expect("an empty log");
        Self {
            machine,
            settings,
            ..self
        }
    }

    pub fn follower(ordering: &str) -> Self {
        Self::new("f1", |value| value["ordering"] = json!(ordering))
    }

    /// The same replica after a crash: only what the disk confirmed is left.
    pub fn restart(mut self, incarnation: u64) -> Self {
        self.stored.sort_by_key(|entry| entry.sequence);
        let stored = self.stored.clone();
        let recovered = Machine::recover(self.settings.clone(), incarnation, stored);
        self.machine = recovered.expect("a gapless log");
        self.commands.clear();
        self.timers.clear();
        self.unconfirmed.clear();
        self.step(|machine, now_ns, out| machine.start(now_ns, out));
        self
    }

    fn step(&mut self, input: impl FnOnce(&mut Machine, i64, &mut Vec<Command>)) {
        let mut out = Vec::new();
        input(&mut self.machine, self.now_ns, &mut out);
        for command in &out {
            match command {
                Command::StartTimer { at_ns, timer } => self.timers.push((*at_ns, *timer)),
                Command::Append(entry) => self.unconfirmed.push(entry.clone()),
                _ => {}
            }
        }
        self.commands.append(&mut out);
    }

    pub fn peer(&mut self, envelope: Envelope) {
        self.step(|machine, now_ns, out| machine.on_peer(envelope, now_ns, now_ns, out));
    }

    pub fn client(&mut self, client: u64, envelope: Envelope) {
        self.step(|machine, now_ns, out| machine.on_client(client, envelope, now_ns, now_ns, out));
    }

    pub fn set_mode(&mut self, mode: Mode) {
        self.step(|machine, now_ns, out| machine.set_mode(mode, now_ns, out));
    }

    pub fn fire(&mut self, timer: Timer) {
        self.step(|machine, now_ns, out| machine.on_timer(timer, now_ns, out));
    }

    /// The disk confirms everything appended.
    pub fn commit(&mut self) {
        let confirmed = std::mem::take(&mut self.unconfirmed);
        let count = confirmed.len();
        self.stored
            .extend(confirmed.iter().map(|entry| (**entry).clone()));
        self.step(|machine, now_ns, out| machine.on_committed(count, now_ns, out));
    }

    /// Lets time pass and fires what falls due, in order.
    pub fn pass(&mut self, duration_ns: u64) {
        let end_ns = self.now_ns + duration_ns as i64;
        while let Some(position) = self.next_timer(end_ns) {
            let (at_ns, timer) = self.timers.remove(position);
            self.now_ns = at_ns;
            self.fire(timer);
        }
        self.now_ns = end_ns;
    }

    fn next_timer(&self, end_ns: i64) -> Option<usize> {
        let due = self.timers.iter().enumerate();
        let due = due.filter(|(_, (at_ns, _))| *at_ns <= end_ns);
        due.min_by_key(|(position, (at_ns, _))| (*at_ns, *position))
            .map(|(position, _)| position)
    }

    /// A write by client 1, durable when this returns.
    pub fn write(&mut self, token: &str) {
        self.client(1, write(token));
        self.commit();
    }

    pub fn acknowledge(&mut self, follower: &str, sequence: u64) {
        self.peer(Envelope {
            kind: Kind::UpdateAck.into(),
            source: follower.to_owned(),
            sequence,
            ..Envelope::default()
        });
    }

    pub fn read(&mut self, key: &str, max_staleness_ns: Option<u64>) -> Reading {
        self.machine.read(key, max_staleness_ns, self.now_ns)
    }

    pub fn correct(&mut self, entries: Vec<Entry>) -> Option<RepairOutcome> {
        let mut outcome = None;
        self.step(|machine, now_ns, out| outcome = machine.repair(entries, now_ns, out));
        outcome
    }

    /// The spans that have ended, in that order.
    pub fn spans(&self) -> Vec<Span> {
        let spans = self.commands.iter().filter_map(|command| match command {
            Command::Span(span) => Some((**span).clone()),
            _ => None,
        });
        spans.collect()
    }

    pub fn stop(&mut self) {
        self.step(|machine, now_ns, out| machine.on_stop(now_ns, out));
    }

    pub fn lose_client(&mut self, client: u64) {
        self.step(|machine, now_ns, out| machine.on_client_gone(client, now_ns, out));
    }

    pub fn status(&self) -> Status {
        self.machine.status()
    }

    pub fn forget(&mut self) {
        self.commands.clear();
    }

    pub fn facts(&self) -> Vec<Fact> {
        let facts = self.commands.iter().filter_map(|command| match command {
            Command::Event(event) => Some(event.fact.clone()),
            _ => None,
        });
        facts.collect()
    }

    /// Sequences of the `released` events.
    pub fn released(&self) -> Vec<u64> {
        let facts = self.facts().into_iter();
        facts
            .filter_map(|fact| match fact {
                Fact::Released { sequence, .. } => Some(sequence),
                _ => None,
            })
            .collect()
    }

    pub fn applied(&self) -> Vec<u64> {
        let facts = self.facts().into_iter();
        facts
            .filter_map(|fact| match fact {
                Fact::Applied { sequence, .. } => Some(sequence),
                _ => None,
            })
            .collect()
    }

    /// Target, sequence and attempt of every frame of a kind.
    pub fn sent(&self, kind: Kind) -> Vec<(usize, u64, u32)> {
        let frames = self.sent_envelopes(kind).into_iter();
        frames
            .map(|(target, envelope)| (target, envelope.sequence, envelope.attempt))
            .collect()
    }

    pub fn sent_envelopes(&self, kind: Kind) -> Vec<(usize, Envelope)> {
        let frames = self.commands.iter().filter_map(|command| match command {
            Command::Send { target, envelope } if envelope.kind() == kind => {
                Some((*target, envelope.clone()))
            }
            _ => None,
        });
        frames.collect()
    }

    /// Client, kind and token of every answer.
    pub fn replies(&self) -> Vec<(u64, Kind, String)> {
        let replies = self.commands.iter().filter_map(|command| match command {
            Command::Reply { client, envelope } => {
                let token = envelope.idempotency_token.clone();
                Some((*client, envelope.kind(), token))
            }
            _ => None,
        });
        replies.collect()
    }
}

pub fn payload(key: &str, value: &str) -> Bytes {
    let update = Update {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
        revision: u64::MAX,
    };
    update.encode_to_vec().into()
}

pub fn write(token: &str) -> Envelope {
    Envelope {
        schema_version: 1,
        kind: Kind::Write.into(),
        correlation_id: format!("c-{token}"),
        idempotency_token: token.to_owned(),
        payload: payload("k", token),
        ..Envelope::default()
    }
}

pub fn update(sequence: u64, key: &str) -> Envelope {
    Envelope {
        schema_version: 1,
        kind: Kind::Update.into(),
        source: "leader".to_owned(),
        sequence,
        origin: "leader".to_owned(),
        timestamp_ns: 5,
        correlation_id: format!("c-{sequence}"),
        idempotency_token: format!("t-{sequence}"),
        attempt: 1,
        payload: payload(key, &sequence.to_string()),
        ..Envelope::default()
    }
}

/// A digest that a follower with these writes of `Bench::write` would send.
pub fn digest(follower: &str, tokens: &[&str], incarnation: u64) -> Envelope {
    let mut prefix_hash = 0;
    for (position, token) in tokens.iter().enumerate() {
        let word = payload_word(&payload("k", token));
        prefix_hash = extend_prefix_hash(prefix_hash, position as u64 + 1, word);
    }
    Envelope {
        kind: Kind::Digest.into(),
        source: follower.to_owned(),
        sequence: tokens.len() as u64,
        prefix_hash,
        incarnation,
        ..Envelope::default()
    }
}
