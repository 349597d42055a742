//! The decisions of a replica: inputs and the time go in, commands come out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::breaker::BreakerState;
use crate::correction::RepairOutcome;
use crate::counters::Counters;
use crate::entry::Entry;
use crate::events::Event;
use crate::faults::{Faults, WallClock};
use crate::follower::Follower;
use crate::leader::Leader;
use crate::measures::Measures;
use crate::reading::{Reading, staleness_ns};
use crate::settings::{Mode, Settings};
use crate::snapshot::Snapshot;
use crate::state::KeyState;
use crate::trace::Span;
use crate::wire::Envelope;

/// One client connection; never used twice.
pub type ClientId = u64;

/// What a timer was started for. A generation is never used twice, so a timer whose purpose has
/// gone matches nothing when it fires and needs no cancelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    Attempt {
        follower: usize,
        sequence: u64,
        generation: u64,
    },
    Digest,
    Progress,
}

/// What the owner has to do. Appends become durable in the order of these commands and are
/// reported back, in that order, through `Machine::on_committed`.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Append(Arc<Entry>),
    /// `target` is a position in the settings' `replicas`.
    Send {
        target: usize,
        envelope: Envelope,
    },
    Reply {
        client: ClientId,
        envelope: Envelope,
    },
    StartTimer {
        at_ns: i64,
        timer: Timer,
    },
    Event(Event),
    /// A span that has ended.
    Span(Box<Span>),
}

/// A picture of the replica for those who ask.
#[derive(Debug, Clone)]
pub struct Status {
    pub mode: Mode,
    pub last_sequence: u64,
    pub prefix: u64,
    pub prefix_hash: u64,
    pub waiting: usize,
    pub outstanding: usize,
    /// By follower; a follower itself has none.
    pub breakers: BTreeMap<String, BreakerState>,
    /// By follower, how many entries it is known to lack; a follower itself has none.
    pub lags: BTreeMap<String, u64>,
    /// The moment up to which the read model is known to be complete; 0 is not known.
    pub as_of_ns: i64,
    /// Updates released.
    pub commits: u64,
    pub faults: Faults,
    pub incarnation: u64,
    pub counters: Counters,
    pub state: KeyState,
}

/// A leader assigns sequences without gaps, so this store was written under another role.
#[derive(Debug, PartialEq, Eq)]
pub struct LogGap {
    pub missing: u64,
}

impl fmt::Display for LogGap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.missing;
        write!(
            formatter,
            "store: the log of a leader lacks entry {missing}"
        )
    }
}

impl std::error::Error for LogGap {}

#[derive(Debug)]
pub enum Machine {
    Leader(Leader),
    Follower(Follower),
}

impl Machine {
    /// Takes what the store held, in the order of sequences.
    pub fn recover(
        settings: Arc<Settings>,
        incarnation: u64,
        stored: Vec<Entry>,
    ) -> Result<Self, LogGap> {
        if !settings.is_leader() {
            let follower = Follower::recover(settings, incarnation, stored);
            return Ok(Self::Follower(follower));
        }
        for (entry, expected) in stored.iter().zip(1..) {
            if entry.sequence != expected {
                return Err(LogGap { missing: expected });
            }
        }
        let leader = Leader::recover(settings, incarnation, stored);
        Ok(Self::Leader(leader))
    }

    pub fn start(&mut self, now_ns: i64, out: &mut Vec<Command>) {
        match self {
            Self::Leader(leader) => leader.start(now_ns, out),
            Self::Follower(follower) => follower.start(now_ns, out),
        }
    }

    /// `read_ns` is when the frame was read from its connection.
    pub fn on_peer(
        &mut self,
        envelope: Envelope,
        read_ns: i64,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) {
        match self {
            Self::Leader(leader) => leader.on_peer(envelope, now_ns, out),
            Self::Follower(follower) => follower.on_peer(envelope, read_ns, now_ns, out),
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
        match self {
            Self::Leader(leader) => leader.on_client(client, envelope, read_ns, now_ns, out),
            Self::Follower(follower) => follower.on_client(client, envelope, now_ns, out),
        }
    }

    /// The first `count` appends not yet reported are durable.
    pub fn on_committed(&mut self, count: usize, now_ns: i64, out: &mut Vec<Command>) {
        match self {
            Self::Leader(leader) => leader.on_committed(count, now_ns, out),
            Self::Follower(follower) => follower.on_committed(count, now_ns, out),
        }
    }

    pub fn on_timer(&mut self, timer: Timer, now_ns: i64, out: &mut Vec<Command>) {
        match (self, timer) {
            (
                Self::Leader(leader),
                Timer::Attempt {
                    follower,
                    sequence,
                    generation,
                },
            ) => leader.on_attempt_timer(follower, sequence, generation, now_ns, out),
            (Self::Follower(follower), Timer::Digest) => follower.on_digest_timer(now_ns, out),
            (Self::Leader(leader), Timer::Progress) => leader.on_progress_timer(now_ns, out),
            (Self::Leader(_), Timer::Digest)
            | (Self::Follower(_), Timer::Attempt { .. } | Timer::Progress) => {}
        }
    }

    pub fn set_mode(&mut self, mode: Mode, now_ns: i64, out: &mut Vec<Command>) {
        match self {
            Self::Leader(leader) => leader.set_mode(mode, now_ns, out),
            Self::Follower(follower) => follower.set_mode(mode, now_ns, out),
        }
    }

    pub fn count_malformed(&mut self) {
        self.counters_mut().malformed += 1;
    }

    fn counters_mut(&mut self) -> &mut Counters {
        match self {
            Self::Leader(leader) => &mut leader.counters,
            Self::Follower(follower) => &mut follower.counters,
        }
    }

    /// The client will not be answered any more.
    pub fn on_client_gone(&mut self, client: ClientId, now_ns: i64, out: &mut Vec<Command>) {
        if let Self::Leader(leader) = self {
            leader.forget_client(client, now_ns, out);
        }
    }

    /// Nobody will be answered any more.
    pub fn on_stop(&mut self, now_ns: i64, out: &mut Vec<Command>) {
        if let Self::Leader(leader) = self {
            leader.end_writes(|_| true, now_ns, out);
        }
    }

    /// Sets the faults that concern decisions: a wrong clock.
    pub fn set_clock(&mut self, clock: WallClock) {
        if let Self::Leader(leader) = self {
            leader.clock = clock;
        }
    }

    /// Notes how many bytes wait for the replica at this position.
    pub fn note_waiting(&mut self, target: usize, bytes: u64) {
        if let Self::Leader(leader) = self {
            leader.note_waiting(target, bytes);
        }
    }

    /// What a key holds, or nothing where that is older than the reader wants.
    pub fn read(&mut self, key: &str, max_staleness_ns: Option<u64>, now_ns: i64) -> Reading {
        let (prefix, as_of_ns) = match self {
            Self::Leader(leader) => leader.position(now_ns),
            Self::Follower(follower) => follower.position(),
        };
        let staleness_ns = staleness_ns(now_ns, as_of_ns);
        let is_stale = max_staleness_ns.is_some_and(|limit_ns| staleness_ns > limit_ns);
        let state = match self {
            Self::Leader(leader) => &leader.state,
            Self::Follower(follower) => &follower.state,
        };
        let row = state.get(key).filter(|_| !is_stale);
        let found = row.map(|row| (row.sequence, row.payload.clone()));
        let counters = self.counters_mut();
        if is_stale {
            counters.stale_reads += 1;
        } else {
            counters.reads += 1;
        }
        Reading {
            found,
            is_stale,
            staleness_ns,
            as_of_ns,
            prefix,
        }
    }

    /// The entries of the gapless prefix.
    pub fn snapshot(&self) -> Snapshot {
        match self {
            Self::Leader(leader) => leader.snapshot(),
            Self::Follower(follower) => follower.snapshot(),
        }
    }

    /// A durable entry.
    pub fn entry(&self, sequence: u64) -> Option<Arc<Entry>> {
        match self {
            Self::Leader(leader) => leader.slot(sequence).map(|slot| slot.entry.clone()),
            Self::Follower(follower) => follower.entry(sequence),
        }
    }

    /// Puts right what the leader's entries show to be wrong; `None` at the leader.
    pub fn repair(
        &mut self,
        entries: Vec<Entry>,
        now_ns: i64,
        out: &mut Vec<Command>,
    ) -> Option<RepairOutcome> {
        match self {
            Self::Leader(_) => None,
            Self::Follower(follower) => Some(follower.correct(entries, now_ns, out)),
        }
    }

    pub fn measures(&self) -> &Measures {
        match self {
            Self::Leader(leader) => &leader.measures,
            Self::Follower(follower) => &follower.measures,
        }
    }

    pub fn status(&self) -> Status {
        match self {
            Self::Leader(leader) => leader.status(),
            Self::Follower(follower) => follower.status(),
        }
    }
}

/// The end of a wait that starts now.
pub fn after(now_ns: i64, wait_ns: u64) -> i64 {
    now_ns.saturating_add_unsigned(wait_ns)
}
